"""Forecasts: how many queries a study would take to see an effect, and what these would cost.

Knows the results of a finished study, from which spread, speed and cost come; runs nothing.
"""

from collections.abc import Iterable
from dataclasses import replace

import polars as pl

from ablations.core.errors import UsageError
from ablations.core.records import Price, TrialRecord, Usage
from ablations.judges.prices import format_money
from ablations.studies.kind import Results
from analysis.frames import ends_of, judge_name, scale_of
from analysis.planning import Level, needed_queries, observed_contrasts
from analysis.report.effects import planning_section
from analysis.report.page import About, Report, Section
from analysis.report.tables import Table

NOT_COVERED = (
    "Choose the number once. Raising --limit until something is decided is not covered by the error rates of any table."
)


def forecast(results: Results, record: pl.DataFrame, effect: float, power: float, price: Price | None) -> Report:
    """Return how many queries each comparison of a study takes, with completions, time and money for the whole study.

    Args:
        results: of the study.
        record: its results once more, with the rows of all judges.
        effect: to be seen, in percent of the judge's scale, above 0, up to 100.
        power: chance that it is, 0 to 1, both excluded.
        price: of the judge's model, or None where it costs nothing or that is not known.

    Raises:
        UsageError: effect or power is out of range, or the study compares nothing.
    """
    if not 0 < effect <= 100:
        raise UsageError(f"--effect {effect:g} is out of range; give percent of the judge's scale, above 0, up to 100")
    if not 0 < power < 1:
        raise UsageError(f"--power {power:g} is out of range; give a chance between 0 and 1, such as 0.8")
    frame, scale = results.frame, scale_of(results.frame)
    contrasts = observed_contrasts(frame)
    if not contrasts or scale is None:
        raise UsageError(
            f"the study {results.name!r} shows no spread, since no two of its conditions have scores on the same two "
            "queries; plan from another one"
        )
    points = effect / 100 * (scale.high - scale.low)
    level = Level(len(contrasts), ends_of(frame).differences())
    needed = needed_queries(contrasts, (points,), level, power=power)
    section = planning_section(needed, power)
    title = f"Queries for {points:g} points by the {judge_name(frame)} judge, seen in {power:.0%} of studies"
    costs = _costs(results, needed, price, _usage(record))
    said = (f"{len(contrasts)} comparisons share the level 0.05.", NOT_COVERED)
    tables = tuple(replace(one, short=None) for one in section.tables)
    return Report(About(results.name), "", (Section(title, (), said, tables=(costs, *tables), brief=True),))


def _costs(results: Results, needed: pl.DataFrame, price: Price | None, usage: Usage) -> Table:
    """Return what the whole study takes with the queries of the median, and of the widest comparison."""
    frame = results.frame
    turns, queries = len(frame), frame.get_column("query_id").n_unique()
    each = turns / queries  # completions a query, over all trials
    seconds = _seconds(results.records.values(), frame)
    single = needed.filter(pl.col("seeds") == 1).sort("spread")
    rows = []
    for name, row in (("median", single.row(len(single) // 2, named=True)), ("widest", single.row(-1, named=True))):
        counts = [row[one] for one in ("queries", "queries_low", "queries_high")]
        if (number := counts[0]) is None:
            rows.append((name, row["change"], "over 100,000", "–", "–", "–"))
            continue
        completions = round(number * each)
        low, high = ("over 100,000" if one is None else f"{one:,}" for one in counts[1:])
        minutes = "not measured" if seconds is None else f"{completions * seconds / 60:,.0f}"
        dollars = "0" if not usage.calls else "price unknown"
        if price is not None:
            dollars = format_money(price.cost(usage) / turns * completions)
        rows.append((name, row["change"], f"{number:,} ({low} to {high})", f"{completions:,}", minutes, dollars))
    columns = ("comparison", "", "queries", "completions", "minutes", "judging, USD")
    note = "Minutes are those of this machine and model, without the engine's start."
    return Table("The whole study", columns, tuple(rows), (False, False, True, True, True, True), note)


def _usage(record: pl.DataFrame) -> Usage:
    """Return what all judges took, whenever these judgments were made."""
    columns = ("judge_calls", "judge_prompt_tokens", "judge_completion_tokens")
    return Usage(*(int(record.get_column(name).sum()) for name in columns))


def _seconds(records: Iterable[TrialRecord], frame: pl.DataFrame) -> float | None:
    """Return how long a completion took, over the trials that the engine answered whole; None without any."""
    known = sorted((one.started, one.ended, one.number) for one in records if one.measured)
    busy, until = 0.0, float("-inf")
    for started, ended, _ in known:
        busy += max(ended - max(started, until), 0.0)
        until = max(until, ended)
    made = len(frame.filter(pl.col("trial").is_in([number for *_, number in known])))
    return busy / made if made else None
