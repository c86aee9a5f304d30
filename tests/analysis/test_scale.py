"""Claims about whole studies scored from 0 to 1: no table of any kind of study has an interval beyond the scale."""

from pathlib import Path

import polars as pl
import pytest

from ablations.core.records import CONTENT
from ablations.studies.kind import Results
from ablations.studies.registry import find_kind
from ablations.studies.views.findings import findings
from ablations.studies.views.sources import open_study
from analysis.report.page import About
from tests.support.simulated import SHARES, read_against

MLRUNS = Path(__file__).parents[1] / "fixtures" / "mlruns"
KINDS = {
    "decoding": "ablation",
    "components-loo": "ablation",
    "many-shot": "ablation",
    "alignment": "alignment",
    "greedy-search": "greedy-search",
    "icl-vs-ift": "icl-vs-ift",
}
FREE = ("importance", "texts", "crossover", "losses", "planning", "outcome_agreement", "races")
"""Tables whose intervals are of something else than scores: shares, tokens, numbers of examples, correlations."""


def binary(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a study's results with 1 for a score above the middle and else 0: many queries at one end."""
    middle = frame.get_column("score").median()
    return read_against(frame.with_columns(score=(pl.col("score") > middle).cast(pl.Float64)), SHARES)


def study(name: str) -> Results:
    found = open_study(name, MLRUNS)
    other = binary(found.frame).with_columns(score=1 - pl.col("score"))
    return Results(name, binary(found.frame), tables=found.tables, outcomes={"content": other})


@pytest.mark.parametrize("name", KINDS)
def test_no_interval_of_a_study_leaves_the_scale(name: str) -> None:
    found = findings(find_kind(KINDS[name]), study(name))
    seen = 0
    for table, frame in found.tables().items():
        if table in FREE:
            continue
        for low in (column for column in frame.columns if column.endswith("low")):
            column = low.removesuffix("low").removesuffix("_")
            of_contrast = table == "interactions" or (table == "scaling" and column == "bend")
            ends = frame.select(low, low.removesuffix("low") + "high").drop_nulls()
            values = [end for row in ends.iter_rows() for end in row]
            seen += len(values)
            most = 4.0 if of_contrast else 1.0
            assert all(-most <= value <= most for value in values), (table, low)
            if "mean" in frame.columns and "difference" not in frame.columns and column == "":
                assert all(value >= 0 for value in values), (table, low)
    assert seen
    assert found.report(About(name)).sections


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_contrasts_of_its_own_by_each_outcome(name: str) -> None:
    results, kind = study(name), find_kind(KINDS[name])
    own = kind.contrasts(results.frame)
    assert len(own)
    assert own.get_column("change").is_unique().all()
    table = findings(kind, results).tables()["outcome_contrasts"]
    names = table.get_column("outcome").unique(maintain_order=True).to_list()
    assert names[1:] == [CONTENT]
    first, second = (table.filter(pl.col("outcome") == one) for one in names)
    flipped = first.select("change", "difference").join(second.select("change", other="difference"), on="change")
    assert len(flipped) == len(own)
    assert (flipped["difference"] + flipped["other"]).abs().max() < 1e-9  # type: ignore[operator]
