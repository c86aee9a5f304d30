"""Sections on what scores are read against: further outcomes side by side with the one that decides, and the floor.

Knows the tables of findings, neither how they were computed nor how a page is written.
"""

import polars as pl

from ablations.core.errors import listed
from ablations.core.statistics import Scale
from analysis.effects.intervals import Interval
from analysis.figures import outcome_figures
from analysis.outcomes import both_support
from analysis.report import prose
from analysis.report.effects import MOST_BRIEF, MOST_ROWS
from analysis.report.page import Section
from analysis.report.scores import scored
from analysis.report.tables import (
    EFFECT,
    EFFECT_DETAILS,
    Columns,
    difference_interval,
    filled,
    interval,
    largest,
    make_table,
    mean_interval,
    number,
    rows_of,
    side_by_side,
)

OUTCOMES = "Outcomes side by side"
MOST_SUPPORTED = 6
"""Changes that two outcomes both support, as named at most."""


def outcomes_section(contrasts: pl.DataFrame, means: pl.DataFrame, agreement: pl.DataFrame) -> Section:
    """Return the section on what a study found by each of its outcomes.

    Takes the frames of `analysis.outcomes`: `outcome_contrasts`, `outcome_means` and `outcome_agreement`.
    """
    names = contrasts.get_column("outcome").unique(maintain_order=True).to_list()
    by_first = contrasts.filter(pl.col("outcome").is_in(names[:1]))
    kept, note = rows_of(by_first, MOST_ROWS, "difference")
    shown = contrasts.filter(pl.col("change").is_in(kept.get_column("change").implode()))
    some, cut = rows_of(means, MOST_ROWS * max(len(names), 1), "mean")
    columns: Columns = {
        "outcome": "against",
        "changes": "changes",
        "rank correlation": number("rank_correlation"),
        "95 % interval": interval(sign=False),
        "both support": "both",
        "opposite": "opposite",
    }
    alone: Columns = {"the deciding one alone": "first_alone", "this one alone": "second_alone"}
    named = [
        f"{names[0]} and {other} both support: {listed(both, MOST_SUPPORTED)}."
        for other in names[1:]
        if (both := both_support(contrasts, names[0], other))
    ]
    beside = side_by_side(
        "Changes by each outcome",
        shown,
        {"change": "change"},
        "outcome",
        difference_interval,
        {"queries": "n"},
        note,
        largest(kept, "difference", MOST_BRIEF),
    )
    tables = [
        beside,
        make_table(
            "Agreement with the outcome that decides",
            agreement,
            {**columns, **alone},
            " ".join([prose.AGREEMENT, *named]),
        ),
        side_by_side(
            "Conditions by each outcome",
            some,
            {"condition": "change"},
            "outcome",
            mean_interval,
            {"scored": scored},
            cut,
            (),
        ),
    ]
    tables += [
        make_table(
            f"Changes by the outcome {name!r} alone",
            shown.filter(pl.col("outcome") == name),
            {"what changes": "change", **EFFECT},
            details=EFFECT_DETAILS,
            short=(),
        )
        for name in names[1:]
    ]
    return Section(OUTCOMES, prose.OUTCOMES, (), outcome_figures(shown), filled(*tables), brief=True)


def outcomes_sentence(contrasts: pl.DataFrame) -> str:
    """Say how many changes each outcome decides; takes the frame of `outcomes.outcome_contrasts`, "" without rows."""
    low, high = pl.col("low"), pl.col("high")
    by_outcome = contrasts.group_by("outcome", maintain_order=True)
    counts = by_outcome.agg(decided=((low > 0) | (high < 0)).sum(), n=pl.len())
    said = ", ".join(f"{name} {decided} of {n}" for name, decided, n in counts.iter_rows())
    corrected = contrasts.get_column("verdict").is_not_null().any()
    how = "decided" if corrected else "whose own interval excludes 0, not corrected for their number,"
    return f"Comparisons {how} by each outcome: {said}." if said else ""


def missing_sentence(sensitivity: pl.DataFrame, share: float) -> str:
    """Say what missing scores could change; takes the frame of `missing.sensitivity`, "" where that is empty."""
    if sensitivity.is_empty():
        return ""
    moved = sensitivity.filter(
        pl.col("verdict").ne_missing(pl.col("at_bottom")) | pl.col("verdict").ne_missing(pl.col("at_top"))
    )
    rows = [
        f"{row['change']} ({row['verdict']}; bottom: {row['at_bottom']}, top: {row['at_top']})"
        for row in moved.head(MOST_BRIEF).iter_rows(named=True)
    ]
    named = f": {'; '.join(rows)}" if rows else ""
    return (
        f"{share:.1%} of the scores are missing. If all of those were at the scale's bottom, or all at its top, "
        f"{len(moved)} of {len(sensitivity)} verdicts would be others{named}."
    )


def unscored_sentence(lacking: tuple[str, pl.DataFrame]) -> str:
    """Say of an outcome, by its name, why turns lack a value; takes the frame of `scores.unscored_reasons`."""
    name, reasons = lacking
    said = "; ".join(f"{count} x {reason}" for reason, count in reasons.select("reason", "n").iter_rows())
    return f"Turns without a value by {name}, of all trials: {said}."


def floor_sentence(scale: Scale | None, baseline: Interval | None) -> str:
    """Say what constant answers score, and whether the baseline is above that; "" where there is no such floor."""
    if scale is None or scale.floor is None or scale.empty is None:
        return ""
    above = "" if baseline is None else "The baseline is above it."
    return (
        f"Floor: the best constant answer, {scale.constant!r}, scores {scale.floor:.2f} on these queries, an empty one "
        f"{scale.empty:.2f}. {floor_verdict(scale, baseline) or above}"
    ).strip()


def floor_verdict(scale: Scale | None, baseline: Interval | None) -> str:
    """Say that a baseline's mean is not above the floor; "" where it is, or where nothing of this is known."""
    if scale is None or scale.floor is None or baseline is None:
        return ""
    own = f"The baseline's {baseline.value:.2f}"
    if baseline.value <= scale.floor:
        return f"{own} is no better than a constant answer's {scale.floor:.2f}."
    if baseline.low is None or baseline.low <= scale.floor:
        why = "one query has no interval" if baseline.low is None else f"the interval holds its {scale.floor:.2f}"
        return f"{own} is not shown to be better than a constant answer: {why}."
    return ""
