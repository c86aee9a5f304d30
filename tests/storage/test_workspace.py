"""Claims about where results lie: addresses that get along, and files that they name."""

from pathlib import Path

import pytest

from ablations.core.errors import UsageError
from ablations.storage.workspace import Places


@pytest.mark.parametrize(
    ("store", "storage", "tracking"),
    [
        ("sqlite:///{0}/one.db", "sqlite:///{0}/one.db", None),
        ("sqlite:///{0}/optuna.db", None, None),
        (None, None, "sqlite:///{0}/deeper/../store.db"),
        ("postgresql://me@db/one", None, "postgresql://me@db/one"),
    ],
)
def test_two_addresses_of_one_database_are_refused(
    store: str | None, storage: str | None, tracking: str | None, tmp_path: Path
) -> None:
    given = [None if one is None else one.format(tmp_path) for one in (store, storage, tracking)]
    with pytest.raises(UsageError, match="--store, --storage and --tracking-uri name the same database"):
        Places.choose(str(tmp_path), *given)


def test_databases_of_their_own_are_taken_as_they_are(tmp_path: Path) -> None:
    places = Places.choose(str(tmp_path), "postgresql://me@db/one", "postgresql://me@db/two", "http://mlflow:5000")
    assert (places.store, places.storage) == ("postgresql://me@db/one", "postgresql://me@db/two")
    assert places.artifacts is None
    assert Places.choose(str(tmp_path), None, None, None).store == f"sqlite:///{tmp_path / 'store.db'}"
