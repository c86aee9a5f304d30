"""Tables of a report: frames -> cells that a person reads.

Knows columns, neither HTML nor Markdown.
"""

import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import polars as pl

from analysis.frames import Row

Column = Callable[[Row], str]
Columns = dict[str, str | Column]
IDENTICAL = "identical scores"
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
"""Where Markdown would see a tag of HTML."""


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        caption: what it shows.
        columns: their headings.
        rows: a text for each column.
        numeric: which columns are numbers.
        note: what to mind.
        details: headings of columns that a page has room for and a terminal leaves out.
        short: places of the rows that a terminal shows; None for all, () for a table that is the page's alone.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    note: str = ""
    details: frozenset[str] = frozenset()
    short: tuple[int, ...] | None = None

    def brief(self) -> "Table":
        """Return the table as a terminal shows it: without details, its most important rows alone."""
        shown = [at for at, name in enumerate(self.columns) if name not in self.details]
        rows = self.rows if self.short is None else tuple(self.rows[at] for at in self.short)
        some = f", {len(rows)} of {len(self.rows)} rows (all in the report)" if len(rows) < len(self.rows) else ""
        return Table(
            f"{self.caption}{some}",
            tuple(self.columns[at] for at in shown),
            tuple(tuple(row[at] for at in shown) for row in rows),
            tuple(self.numeric[at] for at in shown),
            self.note,
        )

    def _repr_markdown_(self) -> str:
        """Return the table as Markdown, as a notebook shows it."""
        lines = [self.columns, tuple("---:" if number else "---" for number in self.numeric), *self.rows]
        body = "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines)
        return f"**{self.caption}**\n\n{body}\n" + (f"\n{self.note}\n" if self.note else "")


def make_table(
    caption: str,
    frame: pl.DataFrame,
    columns: Columns,
    note: str = "",
    details: Container[str] = (),
    short: Sequence[int] | None = None,
) -> Table:
    """Return the rows of a frame as text.

    Args:
        caption: what the table shows.
        frame: one row a line.
        columns: heading -> a column's name, or how a row is read.
        note: what to mind.
        details: headings of columns that a terminal leaves out.
        short: places of the rows that a terminal shows; None for all, an empty sequence for none.
    """
    readers = _readers(columns)
    rows = tuple(tuple(read(row) for read in readers) for row in frame.iter_rows(named=True))
    left_out = frozenset(name for name in columns if name in details)
    places = None if short is None else tuple(short)
    return Table(caption, tuple(columns), rows, _numeric(rows, len(columns)), note, left_out, places)


def side_by_side(
    caption: str,
    frame: pl.DataFrame,
    keys: Columns,
    across: str,
    shown: Column,
    last: Columns,
    note: str = "",
    short: Sequence[int] | None = None,
) -> Table:
    """Return a table with a line for each key and a column for each value of `across`.

    Args:
        caption: what the table shows.
        frame: one row for each key and value.
        keys: the columns to the left, which tell one line from another.
        across: the column whose values become columns.
        shown: how a row is read in the column of its value.
        last: the columns to the right, read from the last row of each line.
        note: what to mind.
        short: as in `make_table`.
    """
    values = frame.get_column(across).unique(maintain_order=True).to_list()
    left, right = _readers(keys), _readers(last)
    lines: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in frame.iter_rows(named=True):
        lines.setdefault(tuple(read(row) for read in left), {})[row[across]] = row
    rows = tuple(
        (
            *key,
            *(shown(own[value]) if value in own else "–" for value in values),
            *(read(own[max(own, key=values.index)]) for read in right),
        )
        for key, own in lines.items()
    )
    columns = (*keys, *values, *last)
    places = None if short is None else tuple(short)
    return Table(caption, columns, rows, _numeric(rows, len(columns)), note, short=places)


def _readers(columns: Columns) -> list[Column]:
    return [_plain(read) if isinstance(read, str) else read for read in columns.values()]


def _numeric(rows: tuple[tuple[str, ...], ...], columns: int) -> tuple[bool, ...]:
    return tuple(all(_starts_as_number(row[at]) for row in rows) for at in range(columns))


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


def effect_interval(row: Row) -> str:
    """Return the 95 % interval of a difference, or that all scores are equal."""
    equal = row["difference"] == 0 and row.get("wins") == 0 == row.get("losses")
    return IDENTICAL if equal else interval()(row)


def difference_interval(row: Row) -> str:
    """Return a difference with its 95 % interval and what that decides, or that all scores are equal."""
    if (shown := effect_interval(row)) == IDENTICAL:
        return IDENTICAL
    return f"{signed('difference')(row)} {shown}{'' if row.get('verdict') is None else ' ' + row['verdict']}"


def mean_interval(row: Row) -> str:
    """Return a mean with its 95 % interval."""
    return "–" if row["mean"] is None else f"{number('mean')(row)} {interval(sign=False)(row)}".removesuffix(" –")


def p_value(name: str) -> Column:
    """Return a reader of a p-value."""
    return lambda row: "–" if row[name] is None else "< 0.001" if row[name] < 0.001 else f"{row[name]:.3f}"


def outcomes(row: Row) -> str:
    """Return on how many queries the score is higher, equal and lower."""
    return "–" if row["wins"] is None else f"{row['wins']} / {row['draws']} / {row['losses']}"


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
    return text in ("–", IDENTICAL) or text.lstrip("[<+-− ")[:1].isdigit()


EFFECT: Columns = {
    "difference": signed("difference"),
    "95 % interval": effect_interval,
    "verdict": "verdict",
    "gained / equal / lost": outcomes,
    "p (family)": p_value("p_family"),
    "p alone": p_value("p_value"),
    "p (McNemar)": p_value("p_exact"),
    "standardised": signed("standardised"),
    "queries": "n",
}
"""Columns that all tables of effects share."""
EFFECT_DETAILS = ("p (family)", "p alone", "p (McNemar)", "standardised", "queries")
"""Those of them that a terminal leaves out."""


def largest(frame: pl.DataFrame, by: str, most: int) -> list[int]:
    """Return the places of the rows with the largest absolute value of a column, in the frame's order."""
    ranked = frame.with_row_index("place").sort(pl.col(by).abs(), descending=True, nulls_last=True)
    return sorted(ranked.get_column("place").head(most).to_list())


def filled(*tables: Table) -> tuple[Table, ...]:
    """Return the tables that have rows."""
    return tuple(table for table in tables if table.rows)


def rows_of(frame: pl.DataFrame, most: int, by: str) -> tuple[pl.DataFrame, str]:
    """Return the rows with the largest absolute value of a column, and a note where some are left out."""
    if len(frame) <= most:
        return frame, ""
    shown = frame.sort(pl.col(by).abs(), descending=True, nulls_last=True).head(most)
    return shown, f"The {most} largest of {len(frame)}; all are in the results and in MLflow."
