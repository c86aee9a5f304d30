"""Claims about missing scores: when they are asked about, and what would change at either end of the scale."""

import numpy as np
import polars as pl
import pytest

from analysis.effects.missing import SENSITIVITY_SCHEMA, missing_share, sensitivity
from analysis.outcomes import contrasts
from analysis.report.outcomes import missing_sentence
from tests.support.simulated import SHARES, Floats, study


def graded(missing: int, of: int = 1) -> pl.DataFrame:
    """A baseline that is right in most of 40 queries, and one change that is right in as many but lacks some scores."""
    scores: Floats = np.ones((40, 2))
    scores[:6] = 0.0
    scores[10 : 10 + missing, of] = np.nan
    return study(scores, {"temperature": [0.0, 0.5]}, scale=SHARES)


@pytest.mark.parametrize("missing", [0, 1])
def test_few_missing_scores_and_an_unknown_scale_ask_nothing(missing: int) -> None:
    results = graded(missing)
    assert missing_share(results) == missing / 80
    assert sensitivity(results, contrasts).equals(pl.DataFrame(schema=SENSITIVITY_SCHEMA))
    assert missing_sentence(sensitivity(results, contrasts), missing_share(results)) == ""
    assert sensitivity(graded(12).drop("scale_low"), contrasts).is_empty()


def test_a_verdict_that_hangs_on_missing_scores_is_named() -> None:
    results = graded(12)
    (row,) = sensitivity(results, contrasts).to_dicts()
    assert (row["verdict"], row["at_bottom"], row["at_top"]) == ("within 0.1", "worse", "within 0.1")
    said = missing_sentence(sensitivity(results, contrasts), missing_share(results))
    assert said.startswith("15.0% of the scores are missing.")
    assert "1 of 1 verdicts would be others: temperature=0.5 (within 0.1; bottom: worse, top: within 0.1)." in said


def test_failed_trials_count_in_nothing() -> None:
    failed = study(np.full((10, 2), np.nan), states=["complete", "failed"], scale=SHARES)
    assert missing_share(failed) == 1.0
    assert missing_share(failed.filter(pl.col("state") == "failed")) == 0.0
