"""The page of several models that answered the same queries."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analysis.alignment import alignment_gaps, alignment_table, missing_arms
from analysis.plots import draw_alignment, new_figure
from analysis.report import prose
from analysis.report.page import About, Report, Section
from analysis.report.tables import Columns, interval, make_table, number, signed


def models_report(frames: Mapping[str, pl.DataFrame], about: About) -> Report:
    """Return the report of several models that answered the same queries; `frames` are results by model."""
    table, gaps = alignment_table(frames), alignment_gaps(frames)
    with new_figure(height=1.2 + 0.35 * len(table.filter(pl.col("group") == "average"))) as (figure, axes):
        draw_alignment(table, axes)
    scores = make_table(
        "Scores",
        table,
        {
            "model": "model",
            "asked": "way",
            "": "group",
            "mean": number("mean"),
            "95 % interval": interval(sign=False),
            "scored": lambda row: f"{row['n_scored']} of {row['n_judged']}",
        },
        " ".join(f"Not in the table: {text}." for text in missing_arms(frames)),
    )
    columns: Columns = {
        "": "better",
        "minus": "worse",
        "on": "group",
        "gap": signed("difference"),
        "95 % interval": interval(),
    }
    differences = make_table("Gaps, paired over queries", gaps, {**columns, "queries": "n"})
    clear = [
        row for row in gaps.iter_rows(named=True) if row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    ]
    found = "; ".join(f"{row['better']} minus {row['worse']}, {row['group']}: {_in_words(row)}" for row in clear)
    headline = f"Gaps whose interval excludes 0: {found or 'none'}."
    body = Section("Models side by side", (prose.MODELS,), {"models": figure}, (scores, differences))
    return Report(about, headline, (body, Section("Method and limits", prose.METHOD)))


def _in_words(row: dict[str, Any]) -> str:
    return f"{signed('difference')(row)} {interval()(row)}"
