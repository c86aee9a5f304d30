"""Claims about confirmations, on simulated results whose truth is known."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_ind

from ablations.studies.conditions.confirmation_findings import ConfirmationFindings, confirm
from analysis.effects.intervals import welch_interval

Scores = Sequence[Sequence[float]]


def frame(scores: Scores, queries: Sequence[str], ids: Sequence[str], answers: str = "") -> pl.DataFrame:
    """Results of complete trials, one row of scores each; the first is the baseline."""
    trials, n = len(scores), len(queries)
    repeated = {
        "trial": list(range(trials)),
        "condition_id": list(ids),
        "label": [f"temperature={name}" for name in ids],
        "role": ["baseline"] + ["listed"] * (trials - 1),
    }
    columns = {name: [value for value in values for _ in range(n)] for name, values in repeated.items()}
    return pl.DataFrame(
        {
            **columns,
            "replicate": [0] * (trials * n),
            "state": ["complete"] * (trials * n),
            "failed_because": pl.Series([None] * (trials * n), dtype=pl.String),
            "query_id": list(queries) * trials,
            "turn": [1] * (trials * n),
            "judge": ["fake"] * (trials * n),
            "answer": [f"{answers}{trial}-{query}" for trial in range(trials) for query in queries],
            "score": [float(score) for row in scores for score in row],
        }
    )


def simulated(
    generator: np.random.Generator, conditions: int, n: int, lead: float = 0.0, best: int = 1
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A study of a baseline and `conditions` others, the last better by `lead`, and the follow-up of the `best`.

    A query is easier or harder for all, better or worse for one condition, and sampling adds noise.
    """
    difficulty = generator.normal(5, 2, 2 * n)
    suits = generator.normal(0, 0.7, (conditions + 1, 2 * n))
    suits[-1] += lead
    queries = [f"q{number}" for number in range(2 * n)]
    study = (difficulty + suits + generator.normal(0, 0.7, suits.shape))[:, :n]
    again = difficulty + suits + generator.normal(0, 0.7, suits.shape)
    order = [0, *(1 + np.argsort(-study[1:].mean(axis=1), kind="stable")[:best])]
    names = [f"c{number}" for number in order]
    # Of the study's conditions those that were not chosen change nothing.
    return frame(study[order], queries[:n], names), frame(again[order], queries, names, "again ")


@cache
def of_equal_conditions() -> pl.DataFrame:
    """The best of 50 equal conditions of 1,000 studies, confirmed."""
    generator = np.random.default_rng(5)
    return pl.concat(confirm(*simulated(generator, conditions=50, n=10)) for _ in range(1000))


@pytest.mark.slow
def test_of_equal_conditions_the_selected_lead_is_biased_upwards_and_the_held_back_one_is_not() -> None:
    rows = of_equal_conditions()
    spread = np.sqrt(2 * (0.7**2 + 0.7**2) / 10)  # of a lead, between conditions and studies
    selected, fresh, held_back = (rows[name].to_numpy().mean() for name in ("selected", "fresh", "held_back"))
    print(
        f"selected {selected:+.3f}, fresh seeds {fresh:+.3f}, held back {held_back:+.3f}, standard error {spread:.3f}"
    )
    assert selected > 1.4 * spread
    assert abs(held_back) < 3 * spread / np.sqrt(1000)
    assert 0.35 * selected < fresh < 0.65 * selected  # the queries' half of the luck stays
    assert rows["shrinkage"].to_numpy().mean() == pytest.approx(selected - held_back)


def test_held_back_intervals_cover_the_truth_about_95_times_in_100_and_selected_ones_do_not() -> None:
    rows = of_equal_conditions()
    covers = {name: (pl.col(f"{name}_low") <= 0) & (pl.col(f"{name}_high") >= 0) for name in ("selected", "held_back")}
    covered = rows.select(**{name: cover.sum() for name, cover in covers.items()}).row(0, named=True)
    print(covered)
    assert 930 <= covered["held_back"] <= 970
    assert covered["selected"] < 800
    assert rows.get_column("confirmed").sum() <= 40  # 2.5 % above 0 by chance


def test_a_condition_that_is_better_is_confirmed() -> None:
    generator = np.random.default_rng(6)
    rows = pl.concat(confirm(*simulated(generator, conditions=20, n=30, lead=1.5)) for _ in range(60))
    assert set(rows.get_column("condition_id")) == {"c20"}
    assert rows.get_column("confirmed").sum() >= 57
    assert rows["held_back"].to_numpy().mean() == pytest.approx(1.5, abs=0.1)


def test_leads_are_paired_with_the_baseline_of_the_same_run() -> None:
    study = frame([[1, 2], [3, 5]], ["a", "b"], ["base", "one"])
    follow_up = frame([[1, 1, 4, 4], [2, 3, 5, 9]], ["a", "b", "x", "y"], ["base", "one"], "again ")
    (row,) = confirm(study, follow_up).to_dicts()
    assert (row["selected"], row["fresh"], row["held_back"]) == (2.5, 1.5, 3.0)
    assert (row["n_selected"], row["n_fresh"], row["n_held_back"]) == (2, 2, 2)
    assert (row["shrinkage_fresh"], row["shrinkage"]) == (1.0, -0.5)
    assert row["shrinkage_fresh_low"] == row["shrinkage_fresh_high"] == 1.0  # one point less on both queries
    assert not row["same_answers"]


def test_the_shrinkage_between_different_queries_has_welchs_interval() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.5, 1, 9), generator.normal(0, 3, 14)
    ours = welch_interval(first, second)
    theirs = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert (ours.value, ours.n) == (pytest.approx(first.mean() - second.mean()), 23)
    study = frame([np.zeros(9), first], [f"q{number}" for number in range(9)], ["base", "one"])
    names = [f"q{number}" for number in range(23)]
    again = frame([np.zeros(23), [*first, *second]], names, ["base", "one"])
    (row,) = confirm(study, again).to_dicts()
    assert (row["shrinkage"], row["shrinkage_low"]) == (pytest.approx(ours.value), pytest.approx(ours.low))


def test_values_without_spread_or_number_have_no_wider_interval_than_they_should() -> None:
    assert (welch_interval(np.ones(3), np.zeros(4)).low, welch_interval(np.ones(3), np.zeros(1)).low) == (1.0, None)


def test_a_condition_whose_id_changed_with_the_queries_is_found_by_its_label() -> None:
    study = frame([[1, 2], [3, 5]], ["a", "b"], ["base", "one"])
    follow_up = frame([[1, 2, 1], [3, 5, 2]], ["a", "b", "x"], ["base", "one"])
    moved = follow_up.with_columns(condition_id=pl.col("condition_id") + "-of-more-queries")
    columns = ["selected", "n_selected", "fresh", "held_back", "label", "same_answers"]
    assert confirm(study, moved).select(columns).equals(confirm(study, follow_up).select(columns))


def test_what_has_no_score_is_null_and_one_query_has_no_interval() -> None:
    study = frame([[1, 2], [3, 5], [2, 2]], ["a", "b"], ["base", "one", "two"])
    follow_up = frame([[1, 2, 1], [3, 5, 2], [2, 2, 2]], ["a", "b", "x"], ["base", "one", "two"])
    failed = pl.when(pl.col("trial") == 2).then(pl.lit("failed")).otherwise(pl.col("state")).alias("state")
    first, second = confirm(study, follow_up.with_columns(failed)).to_dicts()
    assert (first["held_back"], first["held_back_low"], first["confirmed"]) == (1.0, None, None)
    assert (second["selected"], second["fresh"], second["held_back"], second["n_fresh"]) == (0.5, None, None, 0)
    baseline = pl.when(pl.col("trial") == 0).then(pl.lit("failed")).otherwise(pl.col("state")).alias("state")
    assert confirm(study, follow_up.with_columns(baseline)).is_empty()


def test_each_of_several_conditions_has_a_smaller_chance_to_be_called_confirmed() -> None:
    held_back = [1.0, 0.3, 1.2, 0.6, 0.2]
    queries = ["a", "b", *"vwxyz"]
    study = frame([[0, 0]] * 2, queries[:2], ["base", "c0"])
    alone = confirm(study, frame([[0] * 7, [0, 0, *held_back]], queries, ["base", "c0"]))
    names = ["base", *(f"c{number}" for number in range(9))]
    among_nine = confirm(study, frame([[0] * 7, *[[0, 0, *held_back]] * 9], queries, names))
    assert alone.get_column("confirmed").to_list() == [True]
    assert among_nine.get_column("confirmed").to_list() == [False] * 9
    assert among_nine["held_back_low"][0] == alone["held_back_low"][0] > 0  # shown at 95 % all the same


def findings(lead: float, best: int = 2, held_back: bool = True) -> ConfirmationFindings:
    study, follow_up = simulated(np.random.default_rng(3), conditions=12, n=20, lead=lead, best=best)
    if not held_back:
        follow_up = follow_up.filter(pl.col("query_id").is_in(study.get_column("query_id").unique().to_list()))
    return ConfirmationFindings.of(study, follow_up)


def test_the_headline_says_what_is_confirmed_with_the_held_back_lead() -> None:
    found = findings(lead=3.0)
    assert found.headline.startswith("Confirmed: temperature=c12: held-back lead +3.")
    assert "1 of 2 by the fake judge, corrected for 2 conditions" in found.headline


def test_the_headline_says_that_nothing_is_confirmed() -> None:
    assert findings(lead=0.0).headline.startswith("Not confirmed: ")
    assert "none of 2 conditions is clearly better there" in findings(lead=0.0).headline


def test_without_held_back_queries_there_is_no_verdict_on_other_queries() -> None:
    found = findings(lead=3.0, held_back=False)
    assert "Not confirmed on other queries, because none was held back" in found.headline
    assert found.table.get_column("confirmed").to_list() == [None, None]
    assert found.metrics()["held_back_lead/1"] is None
    assert found.section().figures["confirmation"].axes[0].get_title(loc="left").endswith("(20 queries, 0 held back)")


def test_numbers_and_figure_are_those_of_the_table() -> None:
    found = findings(lead=1.0)
    metrics, row = found.metrics(), found.table.row(0, named=True)
    assert metrics["selected_lead/1"] == row["selected"]
    assert metrics["held_back_lead_low/2"] == found.table.row(1, named=True)["held_back_low"]
    assert metrics["shrinkage_high/1"] == row["shrinkage_high"]
    assert metrics["confirmed"] == found.table.get_column("confirmed").sum()
    axes = found.section().figures["confirmation"].axes[0]
    drawn = {round(float(value), 6) for line in axes.lines for value in line.get_xdata()}  # type: ignore[union-attr]
    assert {round(row[name], 6) for name in ("selected", "fresh", "held_back")} <= drawn
    assert "12 queries" not in axes.get_title(loc="left")
    assert "fake judge" in axes.get_xlabel()


def test_conditions_that_lack_scores_are_named_with_the_reason() -> None:
    study = frame([[1, 2], [3, 5]], ["a", "b"], ["base", "one"])
    follow_up = frame([[1, 2, 1], [3, 5, 2]], ["a", "b", "x"], ["base", "one"])
    lost = pl.col("trial") == 1
    failed = follow_up.with_columns(
        state=pl.when(lost).then(pl.lit("failed")).otherwise("state"),
        failed_because=pl.when(lost).then(pl.lit("coverage 50% is below 90%")).otherwise("failed_because"),
    )
    found = ConfirmationFindings.of(study, failed)
    assert found.failed == ("temperature=one: coverage 50% is below 90%",)
    assert "(no scores) on 1 held-back queries" in found.headline


def test_without_the_baselines_scores_there_is_no_verdict() -> None:
    study = frame([[1, 2], [3, 5]], ["a", "b"], ["base", "one"])
    found = ConfirmationFindings.of(study, study.with_columns(state=pl.lit("failed")))
    assert found.headline.startswith("No verdict")
    assert (found.tables(), dict(found.section().figures), found.metrics()) == ({}, {}, {"confirmed": None})
