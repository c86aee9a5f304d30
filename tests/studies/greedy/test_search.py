"""Claims about greedy search, around a model that is as good as the demonstrations it is shown."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from ablations.core.errors import BackendError, StudyMismatchError, UsageError, UserError
from ablations.core.prompt import Demonstration
from ablations.core.records import Completion, Judgment, Query, Score
from ablations.datasets.pools import Pool
from ablations.datasets.prepare import Prepared
from ablations.datasets.selection import Chooser, TokenLimits
from ablations.judges.base import REFUSED_REQUEST
from ablations.prompts.components import built_in_demonstrations
from ablations.studies.greedy.found import Gain
from ablations.studies.greedy.plan import (
    ALL_ROUNDS,
    NO_CANDIDATE,
    NO_GAIN,
    Halves,
    SearchPlan,
    longest_condition,
    race_settings,
    with_first,
)
from ablations.tracking.client import open_client
from tests.support.fakes import make_queries
from tests.support.searches import FILE, WORDS, NeverStarted, PromptedBackend, WorthJudge, make_spec, pool_of, search
from tests.support.specs import changed, load
from tests.support.world import World


def test_the_best_demonstrations_are_put_in_front_one_by_one(world: World, tmp_path: Path) -> None:
    done = search(world, make_spec(tmp_path, *WORDS))
    start = built_in_demonstrations()[0].query
    queries = [one.query for one in done.prompt.demonstrations]
    assert queries == ["Ask for a good example?", "Ask for a better example?", start]
    assert "Added better, good: +3.00 [+1.99, +3.96] points" in done.text
    assert "a clear gain" in done.text
    assert ALL_ROUNDS in done.text


def test_held_back_queries_choose_nothing_and_score_only_the_start_and_the_chosen_prompt(
    world: World, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path, *WORDS)
    done = search(world, spec)
    held_back = {query.id for query in spec.queries} - set(done.selection)
    assert len(held_back) == len(done.selection) == 6
    seen = done.frame.group_by("role").agg(pl.col("query_id").unique())
    by_role = {role: set(ids) for role, ids in seen.iter_rows()}
    assert by_role == {"baseline": set(done.selection), "candidate": set(done.selection), "held-back": held_back}
    assert done.frame.filter(pl.col("role") == "held-back").get_column("trial").n_unique() == 2


@pytest.mark.pages
def test_a_search_run_again_asks_for_nothing_and_finds_the_same(world: World, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, *WORDS)
    first = search(world, spec)
    runs = len(world.runs())
    again = search(world, spec, NeverStarted())
    assert (again.requests, again.judged, again.prompt) == (0, 0, first.prompt)
    assert again.frame.equals(first.frame)
    assert len(world.runs()) == runs


@pytest.mark.parametrize("after", [3, 9, 20, 33])
def test_a_search_that_broke_off_goes_on_where_it_was(world: World, tmp_path: Path, after: int) -> None:
    whole = search(World(tmp_path / "whole"), make_spec(tmp_path, *WORDS))
    spec = make_spec(tmp_path, *WORDS)
    broken = PromptedBackend(fail_after=after)
    with pytest.raises(BackendError):
        search(world, spec, broken)
    again = search(world, spec)
    assert broken.answered + again.requests == whole.requests
    assert again.prompt == whole.prompt
    assert again.frame.equals(whole.frame)


@pytest.mark.pages
def test_every_round_is_a_run_with_its_race_and_the_prompts_are_runs_too(world: World, tmp_path: Path) -> None:
    search(world, make_spec(tmp_path, *WORDS))
    runs = world.runs()
    names = sorted(run.info.run_name for run in runs)
    assert names == [
        "greedy",
        "held back: the chosen prompt",
        "held back: the start prompt",
        "round 1: better of 4",
        "round 2: good of 3",
        "the start prompt",
    ]
    rounds = {run.info.run_name: run.data.metrics for run in runs if run.data.tags["ablations.kind"] == "round"}
    assert rounds["round 1: better of 4"]["gain"] == pytest.approx(2.0)
    assert 0 < rounds["round 1: better of 4"]["racing_share"] <= 1
    parent = next(run for run in runs if run.info.run_name == "greedy")
    assert parent.data.metrics["held_back_gain"] == pytest.approx(3.0)
    assert parent.data.tags["mlflow.note.content"].startswith("Added better, good")
    client = open_client(world.places.tracking_uri)
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files >= {"prompt.txt", "first_prompt.txt", "selection.json", "pool.txt", "results.parquet"}
    names = ("prompt.txt", "first_prompt.txt")
    chosen, first = (Path(client.download_artifacts(parent.info.run_id, name)).read_text() for name in names)
    assert "Ask for a better example?" in chosen
    assert "Ask for a better example?" not in first


def test_without_a_gain_a_search_may_stop_and_keep_the_prompt(world: World, tmp_path: Path) -> None:
    done = search(world, make_spec(tmp_path, "plain", "harmful", stop="no-gain"))
    assert NO_GAIN in done.text
    assert "No demonstration was added" in done.text
    assert [one.query for one in done.prompt.demonstrations] == [built_in_demonstrations()[0].query]


def test_a_search_ends_when_the_pool_is_used_up(world: World, tmp_path: Path) -> None:
    done = search(world, make_spec(tmp_path, "good", rounds=3))
    assert NO_CANDIDATE in done.text
    assert len(done.prompt.demonstrations) == 2


def test_hopeless_candidates_stop_early_unless_racing_is_off(tmp_path: Path, empty_tracking: Path) -> None:
    words = [f"plain {number}" for number in range(20)]
    spec = make_spec(tmp_path, *words, "better", rounds=1, queries=24)
    raced = search(World(tmp_path / "raced", empty_tracking), spec)
    full = search(World(tmp_path / "full", empty_tracking), changed(spec, racing=False))
    assert raced.prompt == full.prompt
    candidates = {
        name: done.frame.filter(pl.col("role") == "candidate") for name, done in {"raced": raced, "full": full}.items()
    }
    assert len(candidates["full"]) == 21 * 12
    assert len(candidates["raced"]) * 3 <= 21 * 12
    assert set(candidates["raced"].get_column("state")) == {"complete", "stopped"}
    assert set(candidates["full"].get_column("state")) == {"complete"}


def test_a_candidate_that_the_prompt_shows_does_not_race(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, "good")
    shown = built_in_demonstrations()[0]
    pool = Pool("test", (shown, *pool_of("good").demonstrations))
    spec = replace(spec, prepared=Prepared(Chooser(pool), (), False, ()))
    assert [one.id for one in SearchPlan.of(spec).candidates] == ["good"]
    alone = Pool("test", (shown,))
    with pytest.raises(UsageError, match="shows every candidate already; give a larger pool"):
        SearchPlan.of(replace(spec, prepared=Prepared(Chooser(alone), (), False, ())))


def test_a_seeded_sample_of_the_pool_can_race(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(30)]
    plan = SearchPlan.of(make_spec(tmp_path, *words, search="candidates = 7\n"))
    again = SearchPlan.of(make_spec(tmp_path, *words, search="candidates = 7\n"))
    assert len(plan.candidates) == 7
    assert plan.candidates == again.candidates
    assert plan.evaluations == 6 + (7 + 6) * 6 + 2 * 6
    assert replace(plan, rounds=100).evaluations == 6 + sum(range(8)) * 6 + 2 * 6


def test_the_longest_prompt_holds_the_longest_candidates_of_all_rounds(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, "a", "abc", "ab")
    shown = longest_condition(spec).prompt.shots
    assert {one.id for one in shown[:2]} == {"ab", "abc"}


def test_too_few_queries_for_two_halves_are_refused() -> None:
    with pytest.raises(UsageError, match=r"3 are too few; give at least 4: raise --limit"):
        Halves.split(make_queries(3), 0)


def test_the_halves_share_no_query_and_hold_all_of_them() -> None:
    queries = make_queries(11)
    halves = Halves.split(queries, 5)
    assert (len(halves.selection), len(halves.held_back)) == (6, 5)
    assert {query.id for query in (*halves.selection, *halves.held_back)} == {query.id for query in queries}
    assert halves == Halves.split(queries, 5)


def test_a_gain_is_paired_and_leaves_out_what_lacks_a_score() -> None:
    gain = Gain.between([3.0, None, 5.0, 4.0], [1.0, 2.0, 4.0, None])
    assert (gain.value, gain.n) == (1.5, 2)
    assert gain.low is not None
    assert gain.low < 0
    assert Gain.between([None], [1.0]) == Gain(None, None, None, 0)


@pytest.mark.parametrize(("candidates", "share"), [(50, 1 / 3), (20, 1 / 3), (10, 2 / 3), (5, 1.0)])
def test_fewer_candidates_may_cost_a_larger_share(candidates: int, share: float) -> None:
    assert race_settings(candidates, 24, True).share == pytest.approx(share)


def test_a_new_demonstration_stands_between_the_system_prompt_and_the_others(tmp_path: Path) -> None:
    parts = make_spec(tmp_path, "good").baseline.prompt
    more = with_first(parts, pool_of("good").demonstrations[0])
    assert [one.id for one in more.shots] == ["good", *(one.id for one in parts.shots)]
    assert more.values()["shots"] == 2


def test_a_search_with_and_without_racing_are_two_studies(world: World, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, *WORDS)
    search(world, spec)
    with pytest.raises(StudyMismatchError, match=r"search\.racing: was True, now False"):
        search(world, changed(spec, racing=False))


class RefusedJudge(WorthJudge):
    """Has no score for one query, for a reason that a later run could ask about again."""

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        judged = await super().judge(query, completions)
        refused = Score(None, f"{REFUSED_REQUEST}: too long")
        return replace(judged, score=refused) if query.id == "q1" else judged


def test_a_finished_search_asks_no_judge_again(world: World, tmp_path: Path) -> None:
    spec = changed(make_spec(tmp_path, *WORDS), min_coverage=0.5)
    first = search(world, spec, judge=RefusedJudge())
    again = search(world, spec, NeverStarted(), WorthJudge())
    assert (again.judged, again.prompt) == (0, first.prompt)


def test_held_back_queries_without_enough_scores_give_no_verdict(world: World, tmp_path: Path) -> None:
    unscored = [f"q{number}" for number in range(0, 12, 2)]
    done = search(world, make_spec(tmp_path, *WORDS), judge=UnscoredJudge(unscored))
    assert "No verdict: " in done.text
    assert "is below 90%" in done.text
    assert "failed" in done.frame.get_column("state").unique().to_list()


class UnscoredJudge(WorthJudge):
    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        judged = await super().judge(query, completions)
        return replace(judged, score=Score(None, "no rating")) if query.id in self._unscored else judged


@pytest.mark.parametrize("headings", ["question", "chat"])
def test_headings_that_no_prompt_file_can_hold_are_refused(tmp_path: Path, headings: str) -> None:
    text = FILE.format(rounds=1, stop="rounds").replace("shots = 1", f'template = "{headings}"')
    (tmp_path / "greedy.toml").write_text(text)
    with pytest.raises(UserError, match=f"template = '{headings}' has no form of it; choose one of urial, "):
        load(tmp_path / "greedy.toml")


@pytest.mark.parametrize("headings", ["urial", "urial-v5", "urial-v6", "user-assistant"])
def test_the_chosen_prompt_can_be_read_back_whatever_its_headings(world: World, tmp_path: Path, headings: str) -> None:
    spec = make_spec(tmp_path, "good", rounds=1)
    path = tmp_path / "greedy.toml"
    path.write_text(path.read_text().replace("shots = 1", f'shots = 1\ntemplate = "{headings}"'))
    done = search(world, replace(spec, config=load(path)))
    assert len(done.prompt.demonstrations) == 2
    assert done.prompt.demonstrations[0].query == "Ask for a good example?"


def test_a_candidate_that_a_prompt_file_could_not_hold_does_not_race(tmp_path: Path) -> None:
    odd = Demonstration("odd", "Show a prompt.", "# Query:\n```\nHi?\n```\n")
    pool = Pool("test", (*pool_of("good").demonstrations, odd))
    plan = SearchPlan.of(replace(make_spec(tmp_path, "good"), prepared=Prepared(Chooser(pool), (), False, ())))
    assert ([one.id for one in plan.candidates], plan.unreadable) == (["good"], ("odd",))


def test_a_limit_on_all_demonstrations_keeps_no_candidate_away(tmp_path: Path) -> None:
    pool = pool_of(*WORDS)
    chooser = Chooser(pool, limits=TokenLimits(total=15), lengths={one.id: 10 for one in pool.demonstrations})
    plan = SearchPlan.of(replace(make_spec(tmp_path, "good"), prepared=Prepared(chooser, (), False, ())))
    assert len(plan.candidates) == 4
