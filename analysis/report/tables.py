"""Tables of a report: frames -> cells that a person reads.

Knows columns, neither HTML nor Markdown.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

Row = Mapping[str, Any]
Column = Callable[[Row], str]
Columns = dict[str, str | Column]
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
"""Where Markdown would see a tag of HTML."""


@dataclass(frozen=True)
class Table:
    """A table with a caption; `note` says what to mind, and `number` which columns are numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    note: str = ""

    def _repr_markdown_(self) -> str:
        """Return the table as Markdown, as a notebook shows it."""
        lines = [self.columns, tuple("---:" if number else "---" for number in self.numeric), *self.rows]
        body = "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines)
        return f"**{self.caption}**\n\n{body}\n" + (f"\n{self.note}\n" if self.note else "")


def make_table(caption: str, frame: pl.DataFrame, columns: Columns, note: str = "") -> Table:
    """Return the rows of a frame as text.

    Args:
        caption: what the table shows.
        frame: one row a line.
        columns: heading -> a column's name, or how a row is read.
        note: what to mind.
    """
    readers = [_plain(read) if isinstance(read, str) else read for read in columns.values()]
    rows = tuple(tuple(read(row) for read in readers) for row in frame.iter_rows(named=True))
    numeric = tuple(all(_starts_as_number(row[at]) for row in rows) for at in range(len(readers)))
    return Table(caption, tuple(columns), rows, numeric, note)


def signed(name: str) -> Column:
    """Return a reader of a difference in points, with its sign."""
    return lambda row: "–" if row[name] is None else f"{_rounded(row[name]):+.2f}"


def _rounded(value: float) -> float:
    return round(value, 2) + 0.0  # never -0.0


def number(name: str, digits: int = 2) -> Column:
    """Return a reader of a number."""
    return lambda row: "–" if row[name] is None else f"{row[name]:,.{digits}f}"


def share(name: str) -> Column:
    """Return a reader of a share as percent."""
    return lambda row: "–" if row[name] is None else f"{row[name]:.0%}"


def interval(low: str = "low", high: str = "high", sign: bool = True) -> Column:
    """Return a reader of a 95 % interval."""
    form = "+.2f" if sign else ".2f"
    return lambda row: "–" if row[low] is None else f"[{_rounded(row[low]):{form}}, {_rounded(row[high]):{form}}]"


def p_value(name: str) -> Column:
    """Return a reader of a p-value."""
    return lambda row: "–" if row[name] is None else "< 0.001" if row[name] < 0.001 else f"{row[name]:.3f}"


def outcomes(row: Row) -> str:
    """Return on how many queries the condition won, drew and lost."""
    return f"{row['wins']} / {row['draws']} / {row['losses']}"


def cell(text: str) -> str:
    """Return a text as a cell or on a line of Markdown, without tags of HTML.

    >>> cell("<b> x < 1")
    '&lt;b> x < 1'
    """
    line = text.replace("|", "\\|").replace("\r", " ").replace("\n", " ")
    return _TAG.sub("&lt;", line)


def _plain(name: str) -> Column:
    return lambda row: "–" if row[name] is None else str(row[name])


def _starts_as_number(text: str) -> bool:
    return text == "–" or text.lstrip("[<+-− ")[:1].isdigit()


EFFECT: Columns = {
    "change": signed("difference"),
    "95 % interval": interval(),
    "p": p_value("p_value"),
    "p (Holm)": p_value("p_holm"),
    "standardised": signed("standardised"),
    "win / draw / lose": outcomes,
    "queries": "n",
}
"""Columns that all tables of effects share."""


def rows_of(frame: pl.DataFrame, most: int, by: str) -> tuple[pl.DataFrame, str]:
    """Return the rows with the largest absolute value of a column, and a note where some are left out."""
    if len(frame) <= most:
        return frame, ""
    shown = frame.sort(pl.col(by).abs(), descending=True, nulls_last=True).head(most)
    return shown, f"The {most} largest of {len(frame)}; all are in the results and in MLflow."
