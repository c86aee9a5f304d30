"""Claims about a trial that is asked for again: what is compared, and what is said of it."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from ablations.cli.main import main
from ablations.core.condition import DecodingParams
from ablations.core.errors import StorageError, UsageError
from ablations.core.records import Completion, Judgment, Prompt, Query, Score
from ablations.models.base import BackendIdentity
from ablations.storage import provenance as environments
from ablations.storage.provenance import changes, environment
from ablations.storage.store import Store
from ablations.studies.views.checks import reproduction_report
from ablations.studies.views.reproduction import Reproduction, StoredTrial, reproduce
from ablations.tracking.client import open_client, trial_of_run
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import changed
from tests.support.world import places_of, run, spec_of

pytestmark = pytest.mark.pages

TRIALS, TRIAL = 6, 5


class OutOfOrder(FakeBackend):
    """Answers in another order than it is asked."""

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        await asyncio.sleep(random.Random(repr((prompt.text, decoding, seed))).random() / 50)
        return await super().generate(prompt, decoding, seed)


class Done(NamedTuple):
    folder: Path
    stored: StoredTrial


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A finished study, and one of its trials."""
    folder = tmp_path_factory.mktemp("reproduced")
    run(changed(spec_of(folder), trials=TRIALS), folder)
    store = Store(places_of(folder).store)
    stored = StoredTrial.read(store, "s", TRIAL)
    store.close()
    return Done(folder, stored)


class OtherEngine(FakeBackend):
    """Answers one query otherwise, and says what it is."""

    @property
    def identity(self) -> BackendIdentity:
        return BackendIdentity(self.name, "fake-model", {"dtype": "bfloat16"})

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        made = await super().generate(prompt, decoding, seed)
        return replace(made, text=made.text[:6] + "[b]" + made.text[6:]) if prompt.query_id == "q1" else made


def again(stored: StoredTrial, backend: FakeBackend, limit: int | None = None, judged: bool = True) -> Reproduction:
    return asyncio.run(reproduce(stored, backend, FakeJudge() if judged else None, limit))


def said(stored: StoredTrial, found: Reproduction) -> list[str]:
    """Everything that the report says."""
    report = reproduction_report(stored, found)
    rows = (row for section in report.sections for table in section.tables for row in table.rows)
    sentences = (sentence for section in report.sections for sentence in section.statements)
    return [report.headline, *sentences, *(" ".join(row) for row in rows)]


def test_the_same_engine_gives_the_same_answers_and_scores(done: Done) -> None:
    backend = FakeBackend()
    found = again(done.stored, backend)
    assert len(found.turns) == len(backend.requests) == 8
    assert (found.differing, found.changes, found.environment) == ((), (), {})
    assert [turn.score for turn in found.turns] == [turn.request.judgment.score.value for turn in found.turns]
    headline, *sentences = said(done.stored, found)
    assert "8 of 8 answers are the same, character for character" in headline
    assert "Versions, machine and code are those of that time." in sentences


def test_requests_are_those_that_were_sent(done: Done) -> None:
    backend, fresh = FakeBackend(), FakeBackend()
    again(done.stored, backend)
    run(changed(spec_of(done.folder), trials=TRIALS), done.folder / "second", fresh)
    assert set(backend.requests) <= set(fresh.requests)


def test_another_answer_is_shown_from_where_it_differs(done: Done) -> None:
    found = again(done.stored, OtherEngine())
    assert {turn.request.query_id for turn in found.differing} == {"q1"}
    assert {turn.first_difference for turn in found.turns if not turn.same} == {6}
    assert found.changes == ("engine.dtype: was None, now 'bfloat16'",)
    headline, *sentences = said(done.stored, found)
    assert "6 of 8 answers are the same" in headline
    assert any("[b]" in sentence for sentence in sentences)
    assert any("engine.dtype" in sentence for sentence in sentences)


class NoisyJudge(FakeJudge):
    """Scores otherwise by so much."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self._noise = noise

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        made = await super().judge(query, completions)
        assert made.score.value is not None
        return replace(made, score=Score(made.score.value + self._noise))


@pytest.mark.parametrize(("noise", "differing"), [(2e-7, 0), (0.01, 8)])
def test_a_score_differs_by_more_than_numerical_noise(done: Done, noise: float, differing: int) -> None:
    found = asyncio.run(reproduce(done.stored, FakeBackend(), NoisyJudge(noise)))
    assert len(found.differing) == differing


def test_a_paid_judge_is_not_asked_and_the_first_queries_are_enough(done: Done) -> None:
    found = again(done.stored, FakeBackend(), limit=2, judged=False)
    assert [turn.score for turn in found.turns] == [None] * 4
    assert found.differing == ()
    assert any("The judge was not asked again" in sentence for sentence in said(done.stored, found))


def test_another_environment_is_named(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_commit", lambda: "abc+changes")
    found = again(done.stored, FakeBackend(), limit=1)
    assert found.environment is not None
    assert list(found.environment) == ["code"]
    (changed,) = (sentence for sentence in said(done.stored, found) if sentence.startswith("code: "))
    assert changed.endswith("abc+changes now.")
    assert changes({"torch": "1"}, {"torch": "2", "vllm": "3"}) == {"torch": ("1", "2"), "vllm": ("absent", "3")}


def test_the_environment_names_what_results_depend_on() -> None:
    found = environment()
    assert {"python", "processor", "code", "torch", "optuna", "mlflow", "polars"} <= set(found)
    assert all(found.values())


def test_a_run_of_a_trial_is_found_and_others_are_refused(done: Done) -> None:
    client = open_client(places_of(done.folder).tracking_uri)
    (experiment,) = (one for one in client.search_experiments() if one.name == "space")
    runs = client.search_runs([experiment.experiment_id])
    by_kind = {run.data.tags["ablations.kind"]: run.info.run_id for run in runs}
    trials = {
        run.info.run_id: int(run.data.tags["ablations.trial"]) for run in runs if "ablations.trial" in run.data.tags
    }
    uri = places_of(done.folder).tracking_uri
    assert {trial_of_run(uri, run_id) for run_id in trials} == {("s", number) for number in range(TRIALS)}
    with pytest.raises(UsageError, match="is no trial; copy the id from a trial's page"):
        trial_of_run(uri, by_kind["study"])
    with pytest.raises(StorageError, match="MLflow has no run 'nope'"):
        trial_of_run(uri, "nope")


def test_what_the_store_does_not_hold_is_said(done: Done, tmp_path: Path) -> None:
    store = Store(places_of(done.folder).store)
    with pytest.raises(StorageError, match="the store holds no trial 77 of a study 's'"):
        StoredTrial.read(store, "s", 77)
    store.close()
    folder = Path(shutil.copytree(done.folder, tmp_path / "damaged"))
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        connection.execute("DELETE FROM completions WHERE key IN (SELECT completion_key FROM results WHERE trial = 1)")
        connection.commit()
    store = Store(places_of(folder).store)
    with pytest.raises(StorageError, match="damaged answers of trial 1 of the study 's'; the study's command run"):
        StoredTrial.read(store, "s", 1)
    store.close()
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        connection.execute("UPDATE completions SET request = substr(request, 1, 40)")
        connection.commit()
    store = Store(places_of(folder).store)
    with pytest.raises(StorageError, match=r"a request of trial 2 of the study 's' that cannot be read \(query 'q0'"):
        StoredTrial.read(store, "s", 2)
    store.close()
    with pytest.raises(UsageError, match="has no stored answer"):
        again(replace(done.stored, requests=()), FakeBackend())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "MLflow has no run 'nope'"),
        (["nope", "--limit", "0"], "--limit 0 leaves no query"),
        (["nope", "--mlruns", "elsewhere"], "store.db does not exist"),
    ],
)
def test_wrong_input_is_one_message(
    done: Done, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done.folder)
    given = [] if "--mlruns" in arguments else ["--mlruns", str(done.folder)]
    assert main(["reproduce", *arguments, *given]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file_at_any_concurrency(tmp_path: Path, empty_tracking: Path) -> None:
    files = set()
    for concurrency in (1, 3, 8):
        folder = tmp_path / str(concurrency)
        folder.mkdir()
        shutil.copy(empty_tracking, folder / "mlflow.db")
        run(spec_of(tmp_path, queries=make_queries(4), concurrency=concurrency), folder, OutOfOrder())
        files.add(places_of(folder).results("s").read_bytes())
    assert len(files) == 1  # byte for byte
