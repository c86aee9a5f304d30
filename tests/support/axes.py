"""Numbers and texts drawn on axes, and frames to draw."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes

Row = dict[str, Any]


def table(schema: dict[str, Any], *rows: Row) -> pl.DataFrame:
    """Return a frame with these rows; columns that a row lacks are null."""
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema, orient="row")


def bars(axes: Axes, along: str = "x") -> list[tuple[float, float]]:
    """Return the ends of all drawn intervals, in the order in which they were drawn."""
    at = 0 if along == "x" else 1
    drawn = [lines for one in axes.containers if hasattr(one, "has_xerr") for lines in one.lines[2]]
    ends = [
        (float(segment[0][at]), float(segment[1][at]))
        for lines in drawn
        for segment in lines.get_segments()
        if len(segment)
    ]
    return [(low, high) for low, high in ends if low == low]


def points(axes: Axes) -> list[tuple[float, float]]:
    """Return where the points that have an interval, or lack one, stand."""
    lines = [one.lines[0] for one in axes.containers if hasattr(one, "has_xerr") and one.lines[0] is not None]
    return [(float(x), float(y)) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def widths(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]


def heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]


def names(axes: Axes, which: str = "y") -> list[str]:
    return [label.get_text() for label in (axes.get_yticklabels() if which == "y" else axes.get_xticklabels())]


def legend(axes: Axes) -> list[str]:
    found = next(iter(axes.figure.legends), axes.get_legend())
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def title(axes: Axes) -> str:
    return axes.get_title(loc="left")


def written(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]
