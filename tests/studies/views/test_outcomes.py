"""Claims about a study with several outcomes: completions once, a score each, in one file, on every page and again."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from ablations.core.errors import JudgeError, StudyMismatchError
from ablations.core.records import Check, Completion, Judgment, Query, Score
from ablations.judges.base import NO_REPLY
from ablations.judges.checks.judge import ChecksJudge
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.panel import Panel
from ablations.studies.conditions.confirmation import Confirmation, HeldBack
from ablations.studies.conditions.confirmation_findings import ConfirmationFindings
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.views.report import report_study
from ablations.studies.views.reproduction import StoredTrial
from ablations.studies.views.sources import open_results, open_study
from analysis.frames import deciding, load_results
from tests.support.fakes import FakeBackend, FakeJudge
from tests.support.rows import row_counts
from tests.support.world import NeverAsked, World, spec_of

pytestmark = pytest.mark.pages

LETTERS = Check("keywords:letter_frequency", {"letter": "a", "let_frequency": 5, "let_relation": "at least"})
QUERIES = tuple(
    Query(f"q{number}", "math", (f"question {number}", f"and {number}?"), ("an answer", None), ((LETTERS,), (LETTERS,)))
    for number in range(5)
)


class Second(FakeJudge):
    """A further judge, which leaves second turns without a score."""

    name = "second"
    scale = (1.0, 10.0)

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        made = await super().judge(query, completions)
        return Judgment(self.name, Score(None, "one turn alone") if len(completions) > 1 else made.score)


def panel(score: str = "graded") -> Panel:
    return Panel([ChecksJudge(JudgeSettings(checks_score=score)), Second()])


class Done(NamedTuple):
    world: World
    spec: ConditionsSpec
    shown: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, empty_tracking: Path) -> Done:
    folder = tmp_path_factory.mktemp("outcomes")
    world, spec = World(folder / "mlruns", empty_tracking), replace(spec_of(folder), queries=QUERIES)
    return Done(world, spec, world.run(spec, judge=panel()))  # type: ignore[arg-type]


def test_one_file_holds_a_row_for_each_judge_and_says_which_decides(done: Done) -> None:
    record = load_results(done.world.places.results("s"))
    keys = ["trial", "query_id", "turn", "judge"]
    assert len(record) == 8 * 10 * 2 == len(record.unique(keys))
    by_judge = record.group_by("judge").agg(pl.col("decides").unique(), pl.col("scale_high").unique())
    assert dict(by_judge.select("judge", pl.col("decides").list.first()).iter_rows()) == {
        "checks": True,
        "second": False,
    }
    assert dict(by_judge.select("judge", pl.col("scale_high").list.first()).iter_rows()) == {"checks": 1, "second": 10}
    assert record.filter(pl.col("judge") == "second").get_column("score").null_count() == 8 * 5


def test_completions_are_asked_for_once(done: Done) -> None:
    rows = row_counts(done.world.store)
    distinct = load_results(done.world.places.results("s")).select("answer").n_unique()
    assert rows["completions"] == distinct
    assert rows["judgments"] == 2 * distinct


def test_every_outcome_has_frames_of_its_own(done: Done) -> None:
    results = open_study("s", done.world.places)
    assert list(results.outcomes) == ["content", "finished", "second"]
    assert results.frame.equals(deciding(load_results(done.world.places.results("s"))))
    content = results.outcomes["content"]
    graded = dict(
        zip(results.frame.select("trial", "query_id", "turn").iter_rows(), results.frame["score"], strict=True)
    )
    for *key, score in content.select("trial", "query_id", "turn", "score").iter_rows():
        assert score == float(graded[tuple(key)] > 0)
    assert set(results.outcomes["finished"]["score"]) == {1.0}
    assert open_results("s", done.world.places).equals(results.frame)


def test_each_trial_has_every_outcome_with_interval_and_coverage(done: Done) -> None:
    (run,) = done.world.runs(trial="0")
    metrics = run.data.metrics
    for name, coverage in (("content", 1.0), ("finished", 1.0), ("second", 0.5)):
        low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
        assert low <= metrics[name] <= high
        assert metrics[f"{name}_coverage"] == coverage
    assert metrics["finished"] == metrics["finished_high"] == 1.0
    assert 0 <= metrics["score_low"] <= metrics["score"] <= metrics["score_high"] <= 1
    assert metrics["score"] != metrics["second"]


def test_the_study_says_what_each_outcome_makes_of_changes_and_what_the_floor_is(done: Done) -> None:
    (run,) = done.world.runs(kind="study")
    metrics = set(run.data.metrics)
    assert {"floor", "floor_of_empty", "rank_correlation/second"} <= metrics
    changes = {name.rpartition("/")[2] for name in metrics if name.startswith("effect/checks/")}
    assert len(changes) > 3
    for outcome in ("checks", "content", "finished", "second"):
        for end in ("", "_low", "_high"):
            assert {f"effect{end}/{outcome}/{change}" for change in changes} <= metrics
    assert "Outcomes side by side" in done.shown
    assert "Floor: the best constant answer" in done.shown
    html, _ = report_study("s", done.world.places, done.world.folder)
    assert html.read_text().count("Changes by the outcome") == 3


def test_rebuilt_pages_are_those_of_the_study(done: Done, tmp_path: Path) -> None:
    moved = World(Path(shutil.copytree(done.world.folder, tmp_path / "moved")))
    for name in ("mlflow.db", "optuna.db"):
        (moved.folder / name).unlink()
    moved.rebuild()
    assert moved.pages() == done.world.pages()


def test_a_finished_study_is_looked_up_and_another_panel_is_refused_by_name(done: Done, tmp_path: Path) -> None:
    world = World(Path(shutil.copytree(done.world.folder, tmp_path / "again")))
    assert "8 of 8 trials are finished already" in world.run(done.spec, NeverAsked(), panel())  # type: ignore[arg-type]
    with pytest.raises(StudyMismatchError, match="second"):
        world.run(done.spec, FakeBackend(), panel().members[0])  # type: ignore[arg-type]
    backend = FakeBackend()
    world.run(done.spec, backend, panel("strict"), fresh=True)  # type: ignore[arg-type]
    assert backend.requests == []  # another score of the same completions


def test_a_trial_is_asked_again_with_the_judge_that_decides(done: Done) -> None:
    stored = StoredTrial.read(done.world.store, "s", 0)
    assert len(stored.requests) == 10
    assert {one.judgment.judge for one in stored.requests} == {"checks"}


def test_without_a_store_the_results_folder_says_the_same_of_outcomes(done: Done, tmp_path: Path) -> None:
    alone = World(tmp_path / "alone")
    shutil.copytree(done.world.folder / "results", alone.folder / "results")
    markdown = [report_study("s", world.places, tmp_path)[1].read_text() for world in (done.world, alone)]
    parts = [text[text.index("Outcomes side by side") : text.index("Importance")] for text in markdown]
    assert parts[0] == parts[1]


def test_the_table_of_completions_shows_every_outcome(done: Done) -> None:
    (run,) = done.world.runs(trial="0")
    path = next(done.world.folder.glob(f"artifacts/**/{run.info.run_id}/artifacts/completions.json"))
    table = json.loads(path.read_text())
    assert {"score", "content", "finished", "second"} <= set(table["columns"])
    assert [row[table["columns"].index("second")] is None for row in table["data"]] == [False, True] * 5


class Silent(Second):
    """A further judge whose server gives no reply at first."""

    def __init__(self, silent: bool) -> None:
        super().__init__()
        self.silent = silent

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        if self.silent:
            return Judgment(self.name, Score(None, NO_REPLY))
        return Judgment(self.name, Score(5.0))


def test_a_further_judge_without_replies_stops_the_study_and_is_asked_again(
    tmp_path: Path, empty_tracking: Path
) -> None:
    world, spec = World(tmp_path / "mlruns", empty_tracking), replace(spec_of(tmp_path), queries=QUERIES)
    checks = ChecksJudge(JudgeSettings())
    with pytest.raises(JudgeError, match="because the second judge's server gave no reply"):
        world.run(spec, judge=Panel([checks, Silent(True)]))  # type: ignore[arg-type]
    backend = FakeBackend()
    shown = world.run(spec, backend, Panel([checks, Silent(False)]))  # type: ignore[arg-type]
    assert "Turns without a value" not in shown
    assert open_study("s", world.places).outcomes["second"]["score"].to_list() == [5.0] * 80


def test_what_a_further_judge_leaves_without_a_value_is_said(done: Done) -> None:
    assert "Turns without a value by second, of all trials: 40 x one turn alone." in " ".join(done.shown.split())


def test_a_confirmation_has_the_same_judges_and_stays_on_the_scale(tmp_path: Path, empty_tracking: Path) -> None:
    world, spec = World(tmp_path / "mlruns", empty_tracking), replace(spec_of(tmp_path), queries=QUERIES)
    more = tuple(replace(query, id=f"more {query.id}") for query in QUERIES)
    for _ in range(2):  # the second time everything is looked up
        world.run(spec, judge=panel(), confirmation=Confirmation(2, HeldBack(more, ())))  # type: ignore[arg-type]
    again = open_study("s.confirmation", world.places)
    assert list(again.outcomes) == ["content", "finished", "second"]
    table = ConfirmationFindings.of(open_results("s", world.places), again.frame).table
    leads = [name for name in table.columns if name.endswith(("_low", "_high"))]
    for name in leads:
        most = 2 if name.startswith("shrinkage") else 1
        assert table.get_column(name).drop_nulls().abs().max() <= most, name  # type: ignore[operator]
