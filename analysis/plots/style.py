"""The house style: colours, sizes, intervals, short names. Loads nothing, computes nothing, shows nothing.

Colours are from Okabe and Ito's colour-blind safe palette.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.frames import Row

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.dpi": 120,
    "savefig.bbox": "tight",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.parse_math": False,  # labels hold stop strings and file names
}


@contextmanager
def new_figure(width: float = 7.0, height: float = 3.6) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure of the house style, in inches, without touching matplotlib's global state."""
    with new_grid(1, 1, width, height) as (figure, (axes,)):
        yield figure, axes


@contextmanager
def new_grid(rows: int, columns: int, width: float = 7.0, height: float = 3.6) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure of the house style with several axes, row by row."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def draw_intervals(
    axes: Axes,
    places: Sequence[float],
    rows: Sequence[Row],
    value: str = "mean",
    ends: tuple[str, str] = ("low", "high"),
    along: str = "x",
    **style: Any,
) -> None:
    """Draw a point for each row with its interval; `along` is the axis of the values.

    A row without a value is left out, one without an interval is a bare point.
    """
    shown = [(place, row) for place, row in zip(places, rows, strict=True) if row[value] is not None]
    if not shown:
        return
    at, values = [place for place, _ in shown], [row[value] for _, row in shown]
    # Rounding may put a bound on the wrong side of its value.
    below = [float("nan") if row[ends[0]] is None else max(row[value] - row[ends[0]], 0.0) for _, row in shown]
    above = [float("nan") if row[ends[1]] is None else max(row[ends[1]] - row[value], 0.0) for _, row in shown]
    style = {"fmt": "o", "capsize": 3, "color": BLUE, "markersize": 5, **style}
    if along == "x":
        axes.errorbar(values, at, xerr=(below, above), **style)
    else:
        axes.errorbar(at, values, yerr=(below, above), **style)


def shades(number: int) -> list[tuple[float, float, float, float]]:
    """Return colours of an ordered quantity, light to dark; told apart by the colour-blind and in grey."""
    colours = mpl.colormaps["viridis_r"]
    return [colours(0.12 + 0.88 * at / max(number - 1, 1)) for at in range(number)]


def short(text: str, length: int = 18) -> str:
    """Return a text cut to a length, with an ellipsis where something is lacking."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def legend_below(axes: Axes, columns: int = 3) -> None:
    """Put the legend under the axes, which make room for it."""
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns)
