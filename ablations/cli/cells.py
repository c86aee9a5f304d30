"""Cells: means, differences and their intervals as tables at the terminal show them.

Knows rows with the columns `mean`, `difference`, `low` and `high`; not what they measure.
"""

from typing import Any

IDENTICAL = "identical scores"


def shown_mean(row: dict[str, Any]) -> str:
    """Return a mean, or that there is none."""
    return "none" if row["mean"] is None else f"{row['mean']:.2f}"


def shown_bounds(row: dict[str, Any]) -> str:
    """Return the ends of a mean's interval, or nothing where there is none; markup is escaped."""
    return "" if row["low"] is None else f"\\[{row['low']:.2f}, {row['high']:.2f}]"


def shown_signed(value: float) -> str:
    """Return a difference with its sign."""
    return f"{round(value, 2) + 0.0:+.2f}"  # never -0.00


def shown_interval(row: dict[str, Any]) -> str:
    """Return the interval of a difference, or why there is none; markup is escaped."""
    if row["difference"] == row["low"] == row["high"] == 0:
        return IDENTICAL
    return "too few queries" if row["low"] is None else f"\\[{shown_signed(row['low'])}, {shown_signed(row['high'])}]"
