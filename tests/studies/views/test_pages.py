"""Claims about what MLflow's pages show of a study: names, descriptions, inputs, prompts, traces and metrics."""

import re
import threading
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import optuna
import pytest

from ablations.core.errors import StudyMismatchError, TrackingError
from ablations.core.records import Completion, JudgedTurn, Judgment, Role, Score, TrialRecord, TrialState
from ablations.core.statistics import summarise
from ablations.prompts.render import render_prompt
from ablations.studies.engine.trial import readable_name
from ablations.studies.views.checks import log_audit
from ablations.studies.views.pages import TRACED_TURNS, Recorded, traced_trials
from ablations.tracking import tracker as tracker_module
from ablations.tracking.client import open_client
from ablations.tracking.inputs import DataInput
from ablations.tracking.traces import TracedTrial
from ablations.tracking.tracker import Tracker
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import changed
from tests.support.texts import documented
from tests.support.world import TRIALS, World, pages, places_of, run, spec_of

pytestmark = pytest.mark.pages


def parent_of(folder: Path) -> dict[str, Any]:
    (page,) = (page for page in pages(folder) if page["under"] is None)
    return page


def children_of(folder: Path) -> list[dict[str, Any]]:
    return [page for page in pages(folder) if page["under"]]


def test_a_runs_name_begins_with_what_differs_from_the_baseline() -> None:
    baseline = {"temperature": 0.0, "top_p": 1.0, "stop": "headings"}
    named = readable_name({"temperature": 0.7, "top_p": 0.9, "stop": "headings"}, baseline)
    assert named == "temperature=0.7 top_p=0.9 stop=headings"
    assert readable_name({"temperature": 0.0, "stop": ("a", "b")}, baseline) == 'stop=["a", "b"] temperature=0'


def test_a_long_name_keeps_all_that_differs_and_says_that_more_was_left_out() -> None:
    baseline = {f"parameter_{number}": "a quite long value" for number in range(8)}
    named = readable_name(baseline | {"parameter_7": "another"}, baseline, "A/A: ")
    assert named.startswith("A/A: parameter_7=another parameter_0=")
    assert named.endswith(" …")
    assert len(named) <= 100
    changed = readable_name(dict.fromkeys(baseline, "another quite long value"), baseline)
    assert all(f"{name}=" in changed for name in baseline)


def test_every_trial_has_a_name_of_its_own_that_marks_baseline_and_replicate(finished: Path) -> None:
    names = [page["name"] for page in children_of(finished)]
    assert len(set(names)) == TRIALS
    assert sum(name.startswith("baseline: temperature=0 ") for name in names) == 1
    assert any(name.startswith("A/A: ") for name in names)


def test_the_description_begins_with_the_headline_and_says_what_was_studied(finished: Path) -> None:
    parent = parent_of(finished)
    note = parent["tags"]["mlflow.note.content"]
    assert note.splitlines()[0] == parent["tags"]["ablations.headline"]
    assert re.match(r"By the fake judge \d+ of \d+ single changes are decided", note)
    for part in (
        "fake-model",
        "**Judge**: fake",
        "4 of instructions, 8 turns",
        "results/s/results.parquet",
        "A/A",
        "**Varied**",
    ):
        assert part in note
    assert parent["tags"]["ablations.headline"] in parent["experiment"][1]


def test_the_queries_are_an_input_of_the_study_once(finished: Path, tmp_path: Path) -> None:
    (own,) = parent_of(finished)["inputs"]
    assert own == ("instructions", parent_of(finished)["parameters"]["queries_hash"])
    client = open_client(places_of(finished).tracking_uri)
    (study,) = client.search_runs(["1"], "tags.`ablations.kind` = 'study'")
    assert '"rows": 4' in study.inputs.dataset_inputs[0].dataset.profile


def test_each_trial_shows_the_exact_prompt_of_the_first_query(finished: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    client = open_client(places_of(finished).tracking_uri)
    expected = render_prompt(spec.queries[0], spec.baseline.prompt).text
    runs = client.search_runs(["1"])
    assert len(runs) == TRIALS + 1
    for one in runs:
        path = Path(client.download_artifacts(one.info.run_id, "first_prompt.txt"))
        assert path.read_text(encoding="utf-8") == expected


def test_baseline_best_and_worst_have_a_trace_for_each_turn_with_the_judges_score(finished: Path) -> None:
    shown = {page["name"]: page for page in children_of(finished) if page["traces"]}
    assert 2 <= len(shown) <= 3
    scores = {page["name"]: page["metrics"]["score"] for page in children_of(finished) if "A/A" not in page["name"]}
    assert {max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)} <= set(shown)
    for page in shown.values():
        assert len(page["traces"]) == 8
        values = [value for _, _, value in page["traces"]]
        assert sum(values) / 8 == pytest.approx(page["metrics"]["score"])
    client = open_client(places_of(finished).tracking_uri)
    trace = client.search_traces(locations=["1"], max_results=1)[0]
    (span,) = trace.data.spans
    assert span.inputs["prompt"].endswith("```\n")
    assert {"finish_reason", "seed", "condition_id", "prompt_tokens", "completion_tokens"} <= set(span.attributes)
    assert trace.info.assessments[0].name == "fake"
    assert trace.info.assessments[0].rationale.startswith("Rating: ")
    assert trace.info.trace_metadata["mlflow.trace.tokenUsage"]


def test_a_finished_study_run_again_doubles_no_trace_and_leaves_no_thread(
    finished: Path,
    tmp_path: Path,
) -> None:
    before = pages(finished)
    run(spec_of(tmp_path), finished)
    assert pages(finished) == before
    names = [thread.name.lower() for thread in threading.enumerate()]
    assert not [name for name in names if "trac" in name or "span" in name]


def test_a_study_that_is_refused_leaves_no_thread(tmp_path: Path, empty_tracking: Path) -> None:
    world = World(tmp_path / "mlruns", empty_tracking)
    optuna.create_study(study_name="s", storage=world.places.storage)
    before = set(threading.enumerate())
    with pytest.raises(StudyMismatchError, match="not one of this toolkit's"):
        world.run(spec_of(tmp_path))
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name.startswith("mlflow")] == []


@pytest.fixture
def tracker(tmp_path: Path, empty_tracking: Path) -> Tracker:
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty_tracking.read_bytes())
    return Tracker(f"sqlite:///{path}", tmp_path / "artifacts", "experiment", "study")


RECORD = TrialRecord(
    0, "c", "temperature=0", "temperature=0", Role.BASELINE, TrialState.COMPLETE, {"temperature": 0.0}, {}, 5.0
)


def turns_of(*scores: Score) -> list[JudgedTurn]:
    queries = make_queries(len(scores), turns=1)
    made = Completion("an answer", 3, 2, "stop", 7)
    return [
        JudgedTurn(query, 1, made, Judgment("fake", score, ("the reply",)))
        for query, score in zip(queries, scores, strict=True)
    ]


async def traced(tracker: Tracker, role: str, turns: list[JudgedTurn]) -> list[Any]:
    from ablations.core.statistics import summarise

    await tracker.start("id", "about", {}, {}, [DataInput("q", "d", "evaluation")])
    if not tracker.knows(0):
        await tracker.log_trial(RECORD, summarise(turns), turns)
    await tracker.log_traces([TracedTrial(0, role, "t", "c", turns, {}, 1.0)])
    return list(open_client(tracker._uri).search_traces(locations=["1"], max_results=100))


async def in_turn(tracker: Tracker) -> None:
    no_score, score = Score(None, "no rating"), Score(4.0)
    shown = await traced(tracker, "baseline", turns_of(no_score, score))
    by_query = {trace.info.tags["mlflow.traceName"]: trace.info.assessments[0] for trace in shown}
    unscored = by_query["baseline: q0, turn 1"]
    assert unscored.value is None
    assert (unscored.error.error_code, unscored.error.error_message) == ("UNSCORED", "no rating")
    assert unscored.rationale == "the reply"
    assert by_query["baseline: q1, turn 1"].value == 4.0
    again = await traced(tracker, "baseline", turns_of(no_score, score))
    assert {t.info.trace_id for t in again} == {t.info.trace_id for t in shown}
    judged = await traced(tracker, "baseline and best", turns_of(Score(6.0), score))
    assert sorted(t.info.assessments[0].value for t in judged) == [4.0, 6.0]
    assert {t.info.tags["ablations.role"] for t in judged} == {"baseline and best"}
    (study,) = open_client(tracker._uri).search_runs(["1"], "tags.`ablations.kind` = 'study'")
    assert len(study.inputs.dataset_inputs) == 1
    await tracker.finish("FINISHED")


def test_an_unscored_judgment_is_an_error_and_what_is_outdated_is_replaced(tracker: Tracker) -> None:
    import asyncio

    asyncio.run(in_turn(tracker))


async def found_again(tracker: Tracker) -> None:
    await tracker.start("id", "about", {}, {}, [])
    for metrics in ({"crossover": 8.0, "gain": 1.0}, {"crossover": None, "gain": 2.0, "never": None}):
        await tracker.log_findings(metrics, "found", {}, {}, {})
    (study,) = open_client(tracker._uri).search_runs(["1"])
    assert study.data.metrics.keys() == {"crossover", "gain"}
    assert study.data.metrics["gain"] == 2.0
    assert isnan(study.data.metrics["crossover"])
    await tracker.finish("FINISHED")


def test_a_number_that_an_extended_study_has_no_more_does_not_stay(tracker: Tracker) -> None:
    import asyncio

    asyncio.run(found_again(tracker))


async def failing_audit(tracker: Tracker) -> None:
    lacking = {
        "id": "a" * 32,
        "judge": {"judge": "rubric"},
        "metrics": {},
        "verdict": "passed",
        "table": {"pairs": [9]},
    }
    with pytest.raises(KeyError, match="wins"):
        await log_audit(tracker, lacking)
    (audit,) = open_client(tracker._uri).search_runs(["1"])
    assert audit.info.status == "FAILED"


def test_the_run_of_an_audit_that_cannot_be_logged_has_failed(tracker: Tracker) -> None:
    import asyncio

    asyncio.run(failing_audit(tracker))


async def confirmed_twice(tracker: Tracker) -> None:
    await tracker.start("id", "about", {}, {}, [])
    await tracker.log_findings({}, "Best of all.\n\nDetails.", {}, {}, {})
    client, notes = open_client(tracker._uri), list[str]()
    for headline in ("Confirmed.", "Confirmed.", "Not confirmed."):
        await tracker.log_confirmation("id", headline)
        (study,) = client.search_runs(["1"])
        notes.append(study.data.tags["mlflow.note.content"])
    selected = "As selected: Best of all.\n\nDetails."
    assert notes == [f"{headline}\n\n{selected}" for headline in ("Confirmed.", "Confirmed.", "Not confirmed.")]
    await tracker.finish("FINISHED")


def test_a_confirmation_that_is_logged_again_takes_the_place_of_its_headline(tracker: Tracker) -> None:
    import asyncio

    asyncio.run(confirmed_twice(tracker))


async def cut_before_steps(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk gone")

    await tracker.start("id", "about", {}, {}, [])
    turns = turns_of(Score(4.0))
    monkeypatch.setattr(tracker_module, "log_steps", fail)
    await tracker.log_trial(RECORD, summarise(turns), turns, None, {"loss": [(1, 2.0)]})
    assert not tracker.knows(RECORD.number)
    with pytest.raises(TrackingError, match="disk gone"):
        tracker.check()
    monkeypatch.undo()
    await tracker.look_again()
    assert not tracker.knows(RECORD.number)
    await tracker.log_trial(RECORD, summarise(turns), turns, None, {"loss": [(1, 2.0)]})
    assert tracker.knows(RECORD.number)
    await tracker.finish("FINISHED")


def test_a_trial_whose_steps_could_not_be_written_is_logged_again(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    asyncio.run(cut_before_steps(tracker, monkeypatch))


def test_whole_queries_are_traced_up_to_the_limit() -> None:
    queries = make_queries(30, turns=2)
    made, judgment = Completion("a", 1, 1, "stop", 0), Judgment("fake", Score(1.0))
    turns = [JudgedTurn(query, turn, made, judgment) for query in queries for turn in (1, 2)]
    (shown,) = traced_trials(Recorded({0: RECORD}, {0: turns}, lambda number: {}), {0: "baseline", 7: "unrecorded"})
    assert shown.role == "baseline"
    assert len(shown.turns) == TRACED_TURNS
    assert {turn.query.id for turn in shown.turns} == {query.id for query in queries[: TRACED_TURNS // 2]}


def test_every_metric_of_a_study_is_in_the_readme(tmp_path: Path, empty_tracking: Path) -> None:
    folder = tmp_path / "mlruns"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_tracking.read_bytes())

    class DetailedJudge(FakeJudge):
        async def judge(self, query: Any, completions: Any) -> Judgment:
            return replace(await super().judge(query, completions), details={"win": 1.0})

    spec = changed(spec_of(tmp_path), trials=12, min_coverage=0.5)
    run(spec, folder, FakeBackend(), DetailedJudge(unscored=["q3"]))
    logged = {name for page in pages(folder) for name in page["metrics"]}
    assert {"score", "judge/win", "unscored/no rating", "largest_effect/temperature"} <= logged
    assert [name for name in sorted(logged) if not documented(name)] == []
