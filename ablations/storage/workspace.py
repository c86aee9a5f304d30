"""Where a study keeps its results: the folder `mlruns` and the databases in it.

Knows addresses and whether they can be written, not what is in them.
"""

import os
import re
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ablations.core.errors import StorageError, UsageError, reason

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_FOLDER = REPOSITORY / "mlruns"
CONFIRMATION = ".confirmation"
"""Suffix of a confirmation's name, after that of the study it confirms."""
PROMPT_FILE, SELECTION_FILE = "prompt.txt", "selection.json"
"""In the results folder of a greedy search: the chosen prompt, and the ids of the queries that it was chosen by."""
STUDY_NAME = re.compile(r"\w[\w.-]*")
"""A study's name: it is also that of files, and leads out of no folder."""


def is_server(url: str) -> bool:
    """Whether an SQLAlchemy URL names a server that several machines can share.

    >>> is_server("postgresql://db/ablations"), is_server("sqlite:///mlruns/store.db")
    (True, False)
    """
    return not url.startswith("sqlite")


def sqlite_path(url: str) -> Path | None:
    """Return the file of an SQLite database, or None where the URL names a server.

    >>> sqlite_path("sqlite:///mlruns/store.db"), sqlite_path("postgresql://db/ablations")
    (PosixPath('mlruns/store.db'), None)
    """
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def follow_up_name(study: str) -> str:
    """Return the name of a study's follow-up."""
    return f"{study}{CONFIRMATION}"


def follow_up_account(study_id: str) -> str:
    """Return the account that a follow-up's judging is paid from, the same whenever the follow-up is run again."""
    return f"{study_id}{CONFIRMATION}"


@dataclass(frozen=True)
class Places:
    """The folder and the three addresses of a study's results.

    Attributes:
        folder: where results files, logs and, by default, all databases lie.
        store, storage, tracking_uri: SQLAlchemy URLs of the store and Optuna, and MLflow's address.
    """

    folder: Path
    store: str
    storage: str
    tracking_uri: str

    @classmethod
    def choose(cls, folder: str | None, store: str | None, storage: str | None, tracking_uri: str | None) -> "Places":
        """Return the given addresses, with SQLite files in the folder for those left out.

        Raises:
            UsageError: two of them share a database.
        """
        chosen = Path(folder).expanduser().resolve() if folder else DEFAULT_FOLDER
        store = store or f"sqlite:///{chosen / 'store.db'}"
        storage = storage or f"sqlite:///{chosen / 'optuna.db'}"
        tracking_uri = tracking_uri or f"sqlite:///{chosen / 'mlflow.db'}"
        files = (sqlite_path(url) for url in (store, storage, tracking_uri))
        named = [
            url if path is None else str(path.resolve())
            for url, path in zip((store, storage, tracking_uri), files, strict=True)
        ]
        if len(set(named)) < len(named):
            raise UsageError(
                "--store, --storage and --tracking-uri name the same database, whose tables would get mixed up; "
                "give each one of its own, on the same server if you like"
            )
        return cls(chosen, store, storage, tracking_uri)

    @property
    def stored(self) -> bool:
        """Whether there is a store yet; of one on a server nothing is known before it is asked."""
        path = sqlite_path(self.store)
        return path is None or path.exists()

    @property
    def artifacts(self) -> Path | None:
        """Where MLflow keeps files, or None where its server decides that."""
        return None if self.tracking_uri.startswith("http") else self.folder / "artifacts"

    def results(self, study: str) -> Path:
        """Where a study's results of record are exported to."""
        return self.folder / "results" / _checked(study) / "results.parquet"

    @property
    def exported(self) -> list[str]:
        """Names of the studies that have results, in alphabetical order."""
        return sorted(found.parent.name for found in (self.folder / "results").glob("*/results.parquet"))

    def lock_file(self, study: str) -> Path:
        """The file that who runs a study has locked."""
        return self.folder / "locks" / f"{_checked(study)}.lock"

    def engine_log(self, study: str) -> Path:
        """Where everything goes that the engine prints."""
        return self.folder / "logs" / f"{_checked(study)}.vllm.log"

    def tuning_log(self, study: str) -> Path:
        """Where everything goes that fine-tuning prints."""
        return self.folder / "logs" / f"{_checked(study)}.tuning.log"

    @property
    def tuned(self) -> Path:
        """Where tuned weights are stored, each in a folder named by what it was made from."""
        return self.folder / "tuned"

    def prepare(self) -> None:
        """Make the folder and check that it and its databases can be used.

        Raises:
            StorageError: the folder cannot be written, or a database is damaged.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                probe.write(b"writable")
        except OSError as error:
            raise StorageError(
                f"the results folder {self.folder} cannot be written: {reason(error)}; "
                "correct its permissions, or name another with --mlruns"
            ) from error
        for name in ("store.db", "optuna.db", "mlflow.db"):
            check_sqlite(self.folder / name)


def child_environment() -> dict[str, str]:
    """Return the environment of a process that runs this package, wherever it is started from."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def _checked(study: str) -> str:
    """Return a study's name; raise `StorageError` for one that no study has, wherever it was read."""
    if STUDY_NAME.fullmatch(study):
        return study
    raise StorageError(f"{study!r} is no study's name, which has letters, digits, '_', '-' and '.' alone")


def check_sqlite(path: Path) -> None:
    """Raise `StorageError` if an SQLite file exists and cannot be read or written."""
    if not path.exists():
        return
    try:
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA schema_version").fetchone()
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
    except sqlite3.Error as error:
        if "locked" in str(error):
            return
        raise StorageError(
            f"{path} cannot be used: {error}; correct its permissions, move a damaged file away, "
            "or name another folder with --mlruns"
        ) from error
