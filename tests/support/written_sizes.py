"""A comparison of ICL with IFT on numbers written down."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student_t

from tests.support.simulated_sizes import arm, both_ways, sized

NAN = float("nan")
Row = dict[str, Any]
ICL_2, ICL_4, IFT_2, IFT_4 = both_ways((2, 4))
ARMS = (ICL_2, ICL_4, IFT_2, IFT_4, arm("zero-shot"), arm("urial", label="urial"))
ONE_TURN = np.array([[4.0, 6.0, 3.0, 8.0, 2.0, 5.0], [5.0, 6.0, 3.0, 9.0, 3.0, 5.0], [6.0, 6.0, 6.0, 7.0, 4.0, 5.0]])
"""Three queries by `ARMS`: IFT minus ICL is -1, -2, 0 with two examples and 2, 3, 1 with four."""


def rows(frame: pl.DataFrame, *keys: str) -> dict[tuple[Any, ...], Row]:
    found = {tuple(row[key] for key in keys): row for row in frame.to_dicts()}
    assert len(found) == len(frame)
    return found


def half(deviation: float, n: int = 3) -> float:
    """Half of Student's interval of a mean."""
    return float(student_t.ppf(0.975, n - 1) * deviation / n**0.5)


def failed_study() -> pl.DataFrame:
    why = {"state": "failed", "failed_because": "the loss is not a number"}
    return sized(ONE_TURN, [IFT_4 | why if one is IFT_4 else one for one in ARMS])


def steady(differences: Mapping[int, float], queries: int = 24, noise: float = 0.5, draws: int = 1) -> pl.DataFrame:
    """Return a study whose differences scatter evenly around these, by number of examples."""
    arms = both_ways(tuple(differences), draws)
    own = np.repeat(np.array(list(differences.values())), draws)
    scatter = noise * np.where(np.arange(queries)[:, None] % 2, 1.0, -1.0) * np.ones(len(own))
    return sized(np.hstack([np.full((queries, len(own)), 5.0), 5 + own + scatter]), arms)
