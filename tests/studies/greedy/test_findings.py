"""Claims about the findings of a greedy search, from its results and from what it noted of its rounds."""

from functools import cache

import polars as pl

from ablations.core.prompt import Demonstration, PromptParts
from ablations.prompts.templates import TEMPLATES
from ablations.studies.greedy.findings import SearchFindings, summarise
from ablations.studies.greedy.found import FOUND_NOTE, Found, Gain, Round
from ablations.studies.greedy.racing import RaceResult, Stopped
from ablations.studies.kind import Results
from analysis.report.page import About, Report
from tests.support.recorded import recorded

ABOUT = About("a search")
WINNERS = ("example-57-ashoka-inscriptions", "example-29-parcel-order")
SCORES: dict[int, dict[int, float | None]] = {0: {1: 5.0, 0: 4.0}, 1: {0: 3.0, 1: 3.0}, 2: {0: 1.0}}
"""Of a winner, the runner-up, and one that was stopped."""


def page(results: pl.DataFrame) -> Report:
    return summarise(Results("a search", results)).report(ABOUT)


def test_a_greedy_search_reports_its_races_and_the_held_back_queries() -> None:
    report = page(recorded("greedy-search"))
    assert report.headline.startswith("Added example-57-ashoka-inscriptions, example-29-parcel-order: -0.20 ")
    assert "[-1.10, +0.71] points over the start prompt on 8 held-back queries" in report.headline
    assert set(report["Races"].figures) == {"race_1", "race_2"}
    assert len(report["Races"].tables[0].rows) == 23
    assert report["Answers side by side"].examples


def test_a_search_whose_held_back_trial_failed_has_no_verdict() -> None:
    results = recorded("greedy-search")
    failed = (
        pl.when(pl.col("label") == "held back: the chosen prompt").then(pl.lit("failed")).otherwise(pl.col("state"))
    )
    why = pl.lit("2 of 8 replies lacked a score")
    report = page(results.with_columns(state=failed, failed_because=why))
    assert report.headline == "No verdict: held back: the chosen prompt: 2 of 8 replies lacked a score."
    assert report["Races"].figures


@cache
def noted() -> Found:
    """The recorded search's note of its rounds, with gains that are made up."""
    start = PromptParts(system_prompt="", template=next(iter(TEMPLATES.values())), shots=())
    rounds = []
    for number, winner in enumerate(WINNERS, start=1):
        race = RaceResult(0, 2, SCORES, (Stopped(2, 1, "behind the leader"),))
        shown = Demonstration(winner, "a query", "an answer")
        rounds.append(Round(number, (winner, "another", "a third"), shown, Gain(0.5, 0.1, 0.9, 8), True, race))
    return Found(tuple(rounds), "all rounds were run", start, start, (3.3, 3.2), (3.9, 3.7))


def test_with_its_note_a_search_says_what_each_round_gained_and_the_same_headline() -> None:
    bare = summarise(Results("s", recorded("greedy-search")))
    found = summarise(Results("s", recorded("greedy-search"), notes={FOUND_NOTE: noted().to_dict()}))
    assert isinstance(found, SearchFindings)
    assert found.headline == bare.headline
    assert set(found.tables()) == {"rounds", "stopped", "scores", "races"}
    assert found.tables()["rounds"].get_column("winner").to_list() == list(WINNERS)
    assert set(bare.metrics()) < set(found.metrics())
    assert found.metrics()["held_back_score"] == 3.7
    report = found.report(ABOUT)
    assert {"rounds", "race_1", "race_2"} == set(report.figures)
    assert "The search ended because all rounds were run." in report["Rounds"].statements
    assert [row[-1] for row in report["Rounds"].tables[0].rows] == ["added", "added"]
    lead = report["Rounds"].tables[0].rows[0][5]  # of differences 1 and 2: mean 1.5, t of one degree 12.7062, error 0.5
    assert lead == "+1.50 [-4.85, +7.85]"
    assert "no-gain" in report["The chosen prompt"].statements[0]  # 3.2 is below 3.3


def test_the_prompts_before_and_after_are_worth_reading() -> None:
    assert dict(page(recorded("greedy-search")).reading) == {25: "start prompt", 26: "chosen prompt"}


def test_a_search_that_added_nothing_says_so() -> None:
    results = recorded("greedy-search")
    unmoved = pl.when(pl.col("trial") == 26).then(3).otherwise(pl.col("param.shots"))
    assert page(results.with_columns(unmoved.alias("param.shots"))).headline == "No demonstration was added."
