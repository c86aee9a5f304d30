"""Claims about views that are rebuilt from the results of record, also of a folder that was moved."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from ablations.cli.main import main
from ablations.core.errors import BackendError, StorageError, TrackingError, UsageError
from ablations.judges.base import audit_key
from ablations.storage.locks import study_lock
from ablations.storage.store import Store
from ablations.studies.views import rebuild
from ablations.tracking.cleanup import moved_experiments
from ablations.tracking.client import open_client
from tests.support.fakes import ColdJudge, FakeBackend, TelltaleBackend, make_queries
from tests.support.specs import BASELINE, changed, make_spec
from tests.support.world import TRIALS, NeverAsked, World, pages, places_of, rebuilt, run, spec_of

pytestmark = pytest.mark.pages

LISTS = '[parameters.stop]\nchoices = ["headings", ["\\n\\n", "###"]]\n'


def optuna_trials(folder: Path, name: str) -> list[tuple[Any, ...]]:
    """Optuna's view of finished trials, in the order of the study's own numbers."""
    trials = World(folder).optuna_trials(name)
    return [(t.state, t.values, t.params, t.distributions, t.intermediate_values, t.user_attrs) for t in trials]


def test_a_moved_folder_shows_the_same_again_and_its_files_can_be_read(finished: Path, moved: Path) -> None:
    said = rebuilt(moved)
    assert "s: 8 trials in MLflow\n" in said
    assert pages(moved) == pages(finished)
    client = open_client(places_of(moved).tracking_uri)
    for experiment in client.search_experiments():
        for one in client.search_runs([experiment.experiment_id]):
            assert one.info.artifact_uri.startswith((moved / "artifacts").as_uri())


def test_missing_databases_are_rebuilt_and_the_study_is_finished(finished: Path, moved: Path, tmp_path: Path) -> None:
    before = optuna_trials(moved, "s")
    for name in ("mlflow.db", "optuna.db"):
        (moved / name).unlink()
    shutil.rmtree(moved / "artifacts")
    rebuilt(moved)
    assert optuna_trials(moved, "s") == before
    assert pages(moved) == pages(finished)
    shown = run(spec_of(tmp_path), moved, NeverAsked())
    assert "8 of 8 trials are finished already" in shown
    assert pages(moved) == pages(finished)


def test_what_stood_there_is_moved_and_nothing_is_left_beside(moved: Path) -> None:
    before = {name: (moved / name).read_bytes() for name in ("mlflow.db", "optuna.db")}
    said = rebuilt(moved)
    (replaced,) = moved.glob("replaced-*")
    assert str(replaced) in said
    assert {name: (replaced / name).read_bytes() for name in before} == before
    assert (replaced / "artifacts" / "space").is_dir()
    names = {path.name for path in moved.iterdir()}
    assert names - {replaced.name} == {"artifacts", "locks", "mlflow.db", "optuna.db", "results", "store.db"}
    assert len(list((moved / "artifacts").iterdir())) == 1


def test_rebuilding_again_doubles_nothing(finished: Path, moved: Path) -> None:
    rebuilt(moved)
    rebuilt(moved)
    assert pages(moved) == pages(finished)
    assert len(list(moved.glob("replaced-*"))) == 2


def test_a_failure_leaves_the_old_views(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TrackingError("the disk is full")

    before = sorted((path, path.read_bytes()) for path in moved.rglob("*") if path.is_file())
    monkeypatch.setattr(rebuild, "log_study", fail)
    with pytest.raises(TrackingError, match="the disk is full"):
        rebuilt(moved)
    after = sorted((path, path.read_bytes()) for path in moved.rglob("*") if path.is_file())
    assert [path for path, _ in after if path.parent.name != "locks"] == [
        path for path, _ in before if path.parent.name != "locks"
    ]
    assert dict(after)[moved / "mlflow.db"] == dict(before)[moved / "mlflow.db"]
    assert dict(after)[moved / "optuna.db"] == dict(before)[moved / "optuna.db"]


@pytest.mark.parametrize("mode", ["ablation", "search"])
def test_an_interrupted_study_goes_on_where_it_was(mode: str, tmp_path: Path, empty_tracking: Path) -> None:
    changes = {} if mode == "ablation" else {"mode": "search", "sampler": "random"}
    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copy(empty_tracking, folder / "mlflow.db")
    spec = spec_of(tmp_path, **changes)
    broken = FakeBackend(fail_after=30)
    with pytest.raises(BackendError):
        run(spec, folder, broken)
    whole = optuna_trials(folder, "s")
    (folder / "optuna.db").unlink()
    rebuilt(folder)
    told = optuna_trials(folder, "s")
    assert all(trial in told for trial in whole)
    assert {page["status"] for page in pages(folder) if page["under"] is None} == {"KILLED"}
    again = FakeBackend()
    shown = run(spec, folder, again)
    assert f"{len(told)} of 8 trials are finished already" in shown
    assert len(set(broken.requests) & set(again.requests)) == broken.in_flight or mode == "search"
    assert {page["status"] for page in pages(folder)} == {"FINISHED"}
    assert len([page for page in pages(folder) if page["under"] == "s"]) == TRIALS


def test_trials_that_a_search_stopped_are_pruned_again(tmp_path: Path, empty_tracking: Path) -> None:
    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copy(empty_tracking, folder / "mlflow.db")
    search = spec_of(tmp_path, mode="search", sampler="random", queries=make_queries(16))
    run(search, folder, TelltaleBackend(), ColdJudge())
    before, shown = optuna_trials(folder, "s"), pages(folder)
    assert optuna.trial.TrialState.PRUNED in {trial[0] for trial in before}
    for name in ("optuna.db", "mlflow.db"):
        (folder / name).unlink()
    rebuilt(folder)
    assert optuna_trials(folder, "s") == before
    assert pages(folder) == shown


def test_one_study_alone_is_rebuilt_and_the_others_stay(moved: Path, tmp_path: Path) -> None:
    rebuilt(moved)  # so that the artifacts lie in this folder
    run(changed(spec_of(tmp_path), name="other", trials=2), moved)
    before = pages(moved)
    client = open_client(places_of(moved).tracking_uri)
    (experiment,) = [one for one in client.search_experiments() if one.name == "space"]
    ids = {one.info.run_id for one in client.search_runs([experiment.experiment_id])}
    rebuilt(moved, "other")
    assert pages(moved) == before
    after = {one.info.run_id for one in open_client(places_of(moved).tracking_uri).search_runs(["1"])}
    assert len(ids - after) == 3  # the other study and its two trials
    assert len(optuna_trials(moved, "s")) == TRIALS
    assert len(optuna_trials(moved, "other")) == 2


def test_one_study_alone_of_a_folder_that_was_moved_is_refused(moved: Path) -> None:
    before = (moved / "mlflow.db").read_bytes()
    with pytest.raises(UsageError, match="because it was moved; rebuild all studies: leave --name out"):
        rebuilt(moved, "s")
    assert (moved / "mlflow.db").read_bytes() == before


def test_a_study_of_which_only_the_results_file_is_left_is_shown(moved: Path, finished: Path) -> None:
    for name in ("store.db", "mlflow.db", "optuna.db"):
        (moved / name).unlink()
    said = rebuilt(moved)
    assert "the store does not hold it" in said
    assert not (moved / "store.db").exists()
    shown, known = ([page for page in pages(folder) if page["under"]] for folder in (moved, finished))
    for metric in ("score", "score_turn_2"):  # by size, since a name that was not stored is the label
        own, other = (sorted(page["metrics"][metric] for page in those) for those in (shown, known))
        assert own == pytest.approx(other)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "holds no results of a study"),
        (lambda folder: (folder / "store.db").write_bytes(b"no database" * 100), "store.db cannot be used"),
    ],
)
def test_where_nothing_can_be_read_that_is_said(moved: Path, spoil: Callable[[Path], Any], message: str) -> None:
    for path in moved.glob("store.db-*"):
        path.unlink()
    spoil(moved)
    with pytest.raises((UsageError, StorageError), match=message):
        rebuilt(moved)


def test_an_unknown_study_is_refused_with_the_known_ones(moved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rebuild", "--mlruns", str(moved), "--name", "nobody"]) == 2
    assert "there are: s" in capfd.readouterr().err


def test_a_study_that_runs_is_not_rebuilt(moved: Path) -> None:
    with study_lock(places_of(moved), "s"), pytest.raises(StorageError, match="is being run by another process"):
        rebuilt(moved)


def test_a_damaged_view_is_replaced(moved: Path, finished: Path) -> None:
    (moved / "mlflow.db").write_bytes(b"damaged")
    rebuilt(moved)
    assert pages(moved) == pages(finished)
    (replaced,) = moved.glob("replaced-*")
    assert (replaced / "mlflow.db").read_bytes() == b"damaged"


def test_audits_are_shown_again(moved: Path) -> None:
    store = Store(places_of(moved).store)
    counts = {"wins": [9], "ties": [0], "pairs": [9], "unscored": [0]}
    table = {"control": ["empty"], **counts, "low": [0.7], "high": [1.0], "least": [0.9], "passed": [True]}
    audit = {"id": "a" * 32, "name": "rubric m", "judge": {"judge": "rubric"}, "metrics": {"passed": 1.0}}
    store.add_audit(audit_key({"judge": "rubric"}), audit | {"verdict": "passed", "table": table})
    store.close()
    rebuilt(moved)
    (shown,) = (page for page in pages(moved) if page["experiment"][0] == "judge-audits")
    assert (shown["name"], shown["metrics"], shown["status"]) == ("rubric m", {"passed": 1.0}, "FINISHED")


def test_stop_lists_and_conditional_parameters_come_back_typed(tmp_path: Path, empty_tracking: Path) -> None:
    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copy(empty_tracking, folder / "mlflow.db")
    spec = changed(make_spec(tmp_path, BASELINE + 'stop = "headings"\n' + LISTS), trials=4)
    run(spec, folder)
    before = optuna_trials(folder, "s")
    (folder / "optuna.db").unlink()
    rebuilt(folder)
    assert optuna_trials(folder, "s") == before
    run(spec, folder, NeverAsked())


def test_a_folder_with_a_space_in_its_path_was_not_moved(tmp_path: Path, empty_tracking: Path) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    shutil.copy(empty_tracking, folder / "mlflow.db")
    places = places_of(folder)
    assert places.artifacts is not None
    open_client(places.tracking_uri).create_experiment("e", artifact_location=(places.artifacts / "e").as_uri())
    assert moved_experiments(places.tracking_uri, folder) == []
    assert moved_experiments(places.tracking_uri, tmp_path / "elsewhere") == ["e"]
