"""Claims about the page of a study of conditions: its sections, and what of them a terminal shows."""

import json
from functools import cache

import polars as pl
import pytest

from ablations.studies.conditions.confirmation_findings import ConfirmationFindings
from ablations.studies.conditions.findings import ConditionFindings, summarise
from ablations.studies.kind import Results
from analysis.report.page import About, Report
from analysis.report.tables import IDENTICAL
from tests.support.recorded import recorded, results
from tests.support.temperatures import make_results

pytestmark = pytest.mark.usefixtures("whole_findings")
ABOUT = About("s")


@cache
def components() -> Report:
    """The page of a real study, small enough that importances are withheld."""
    return summarise(results("components-loo")).report(ABOUT)


def some_trials() -> pl.DataFrame:
    return recorded("decoding").filter(pl.col("trial").is_in([0, 1, 2, 3, 4, 11, 12]))


def page(results: pl.DataFrame, confirmed: pl.DataFrame | None = None) -> Report:
    return ConditionFindings.of(results, confirmed).report(ABOUT)


def test_a_figure_of_the_tables_is_that_of_the_findings() -> None:
    single, every = components()["Effects"].tables[:2]
    assert single.columns[4] == every.columns[3] == "difference"
    alone = {f"{row[0]}={row[2]}": row[4:6] for row in single.rows}
    assert {row[0]: row[3:5] for row in every.rows if row[0] in alone} == alone
    assert len(alone) > 3
    assert components()["Components"].tables == ()  # components taken away one at a time have no Shapley values


def test_too_few_conditions_say_why_there_is_no_importance() -> None:
    importance = components()["Importance"]
    (said,) = importance.statements
    assert said.startswith("No fANOVA or permutation importance: single changes around a baseline measure the design")
    assert importance.tables[0].columns[4] == "moves at least"
    assert "importance" not in importance.figures


def test_a_confirmation_is_on_the_page_of_its_study() -> None:
    results = some_trials()
    confirmed = recorded("decoding.confirmation")
    section = page(results, confirmed)["Confirmation"]
    assert "confirmation" in section.figures
    assert section.tables[0].rows[0][1].startswith("+0.29")
    assert page(results)["Confirmation"].tables == ()


def test_the_audit_of_the_judge_is_on_the_page_where_there_is_one() -> None:
    audit = {
        "control": ["empty", "shuffled words"],
        "wins": [9, 3],
        "pairs": [10, 10],
        "low": [0.6, 0.1],
        "high": [1.0, 0.6],
        "least": [0.8, 0.8],
        "passed": [True, False],
    }
    results = recorded("components-loo")
    section = ConditionFindings.of(results).report(About("s", (), audit))["Audit of the judge"]
    assert "judge_audit" in section.figures
    assert section.tables[0].rows == (
        ("empty", "9 of 10", "[60%, 100%]", "80%", "yes"),
        ("shuffled words", "3 of 10", "[10%, 60%]", "80%", "no"),
    )
    assert components()["Audit of the judge"].tables == ()


def test_a_confirmed_study_has_the_confirmations_headline() -> None:
    results = some_trials()
    report = page(results, recorded("decoding.confirmation"))
    assert "on 8 held-back queries" in report.headline
    assert "of 4 single changes are decided" in page(results).headline


def test_one_number_of_a_condition_stands_on_the_whole_page() -> None:
    """The condition temperature=0.6 has a replicate with other seeds."""
    results = some_trials()
    report = page(results)
    own = next(row for row in report["Effects"].tables[1].rows if row[0] == "temperature=0.6")
    base = next(row for row in report["Length, form and cost"].tables[1].rows if row[0] == "baseline")
    raw = next(row for row in report["Length, form and cost"].tables[0].rows if row[0] == "temperature=0.6")
    assert own[3] == raw[1]
    assert float(own[1]) - float(base[3]) == pytest.approx(float(own[3]), abs=0.011)


def test_a_terminal_is_shown_effects_scores_coverage_and_what_is_needed() -> None:
    report = page(make_results())
    brief = {section.title for section in report.brief}
    assert {"Effects", "Importance", "Scores", "Coverage", "How many queries would show it"} <= brief
    assert not brief & {"Scores by category", "Answers side by side", "Method and limits"}
    assert report["Effects"].statements[0].startswith("Baseline (temperature=0): mean score ")
    one, every, again = (table.brief() for table in report["Effects"].tables)
    assert {"parameter", "from", "to", "around", "difference", "95 % interval", "verdict"} <= set(one.columns)
    assert every.rows == ()
    assert again.rows
    (by_turn,) = report["Scores"].tables
    assert by_turn.columns == ("", "turn 1", "turn 2", "average", "scored")
    assert {row[-1] for row in by_turn.rows} == {"24 of 24"}


def test_equal_scores_are_called_identical_and_never_minus_zero() -> None:
    texts = [
        text
        for section in page(make_results(effect=0.0, noise=0.0, trials=4)).brief
        for table in section.tables
        for row in table.rows
        for text in row
    ]
    assert IDENTICAL in texts
    assert not any("-0.00" in text for text in texts)


def test_at_equal_length_a_terminal_is_shown_the_best_condition_alone() -> None:
    found = ConditionFindings.of(make_results(effect=-1.0, trials=4))
    table = found.report(ABOUT)["Length, form and cost"].tables[0]
    changes = dict(found.frames["trials"].select("trial", "change").iter_rows())
    assert found.best is not None
    assert [row[0] for row in table.brief().rows] == [changes[found.best]]
    assert table.columns[1::2] == ("as it is", "at equal length", "characters more")


def test_wins_draws_losses_and_position_bias_are_shown_with_intervals() -> None:
    details = {"win": 1.0, "draw": 0.0, "loss": 0.0, "first_twice": 0.0, "second_twice": 0.0}
    compared = make_results(trials=4).with_columns(judge_details=pl.lit(json.dumps(details)))
    table = page(compared)["Scores"].tables[1]
    assert {"wins", "draws", "losses", "first twice", "second twice"} <= set(table.columns)
    assert table.rows[0][1:3] == ("100%", "[76%, 100%]")  # 12 of 12 queries
    assert 1 <= len(table.brief().rows) < len(table.rows)


def test_a_failed_trial_and_missing_scores_are_said_with_their_reasons() -> None:
    made = make_results(trials=6)
    lost = (pl.col("trial") == 5) & (pl.col("query_id") == "q0")
    failed = made.with_columns(
        state=pl.when(pl.col("trial") == 5).then(pl.lit("failed")).otherwise("state"),
        failed_because=pl.when(pl.col("trial") == 5).then(pl.lit("coverage 92% is below 95%")),
        score=pl.when(~lost).then("score"),
        unscored=pl.when(lost).then(pl.lit("no [rating]")),
    )
    coverage = page(failed)["Coverage"]
    assert "Trial 5 failed: coverage 92% is below 95%." in coverage.statements
    assert coverage.tables[0].rows == (("no [rating]", "2", "1"),)
    assert dict(page(failed).about.facts)["trials"] == "6: 5 conditions and 1 A/A replicate, 1 failed"


def test_a_confirmation_has_a_page_of_its_own_with_three_leads_and_the_shrinkage() -> None:
    found = summarise(Results("c", recorded("decoding.confirmation"), parent=recorded("decoding")))
    assert isinstance(found, ConfirmationFindings)
    section = found.report(ABOUT)["Confirmation"]
    assert section.brief
    assert section.tables[0].columns[1::2] == ("as selected", "fresh seeds", "held-back queries", "shrinkage")
    assert section.statements[0].startswith("8 queries again and 8 held back")
    assert any("whatever the seed" in text for text in section.statements)


def test_trials_worth_reading_are_the_baseline_the_best_and_the_worst_whatever_failed() -> None:
    made = make_results(trials=6)
    assert page(made).reading[0] == "baseline and best"
    assert set(page(made).reading.values()) == {"baseline and best", "worst"}
    (worst,) = (trial for trial, why in page(made).reading.items() if why == "worst")
    failed = made.with_columns(
        state=pl.when(pl.col("trial") == worst).then(pl.lit("failed")).otherwise("state"),
        failed_because=pl.when(pl.col("trial") == worst).then(pl.lit("why")),
    )
    assert worst not in page(failed).reading


def test_the_table_of_a_confirmation_is_an_audits_neighbour_only_where_the_judge_was_asked() -> None:
    about = About("s", judging=("Judging: 3 calls.",))
    section = ConditionFindings.of(make_results(trials=4)).report(about)["Audit of the judge"]
    assert (section.statements, section.tables, section.brief) == (("Judging: 3 calls.",), (), True)
