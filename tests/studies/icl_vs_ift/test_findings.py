"""Claims about the findings of ICL against IFT: the headline, the metrics and the tables."""

import numpy as np
import polars as pl
import pytest
from mlflow.utils.validation import _validate_metric_name

from ablations.studies.icl_vs_ift.findings import TuningFindings
from ablations.tracking.metrics import metric_name
from analysis.report.page import About
from tests.support.simulated_sizes import simulated_losses, sized
from tests.support.written_sizes import ARMS, ICL_2, IFT_4, ONE_TURN, failed_study, half, steady


def test_a_headline_says_the_difference_at_the_largest_common_size_and_who_leads() -> None:
    found = TuningFindings.of(steady({2: -1.0, 4: 2.0}), None)
    row = found.frames["differences"].row(by_predicate=(pl.col("examples") == 4) & (pl.col("group") == "turn 1"))
    low, high = (f"{row[place]:+.2f}" for place in (4, 5))
    assert found.headline.startswith("With the same 4 examples, tuning on them (IFT) scores against showing them in")
    assert f"+2.00 [{low}, {high}] points on turn 1 (95 % over 24 queries, for these examples alone)" in found.headline
    assert found.headline.endswith("IFT is clearly ahead on turn 1.")
    open_one = TuningFindings.of(steady({2: -1.0, 4: 0.01}), None)
    assert open_one.headline.endswith("this decides nothing.")


def test_a_headline_decides_nothing_on_few_queries() -> None:
    found = TuningFindings.of(sized(np.repeat(ONE_TURN, 2, axis=0)[:5], ARMS), None)
    assert found.headline.endswith(": 5 queries are too few to decide anything, which takes 6 at the least.")


def test_ways_that_decode_otherwise_are_said_to() -> None:
    results = sized(ONE_TURN, ARMS)
    assert TuningFindings.of(results, None).unlike == ""
    hotter = pl.when(pl.col("arm.way") == "ift").then(0.7).otherwise(0.0)
    found = TuningFindings.of(results.with_columns(hotter.alias("param.temperature")), None)
    assert found.unlike.endswith("which is part of their difference: temperature 0.0 against 0.7")
    assert set(found.frames["settings"].filter(way="ift").get_column("temperature")) == {0.7}


def test_metrics_of_pools_by_their_paths_have_names_that_mlflow_takes() -> None:
    places = ("/data/good pool.jsonl", f"/{'long/' * 60}name.jsonl")
    ours = [[one | {"arm.pool": place} for one in ARMS[:4]] for place in places]
    metrics = TuningFindings.of(sized(np.hstack([ONE_TURN[:, :4]] * 2), [*ours[0], *ours[1]]), None).metrics()
    assert "ift_minus_icl/data-good-pool-jsonl/4/turn 1" in metrics
    for name in metrics:
        _validate_metric_name(metric_name(name, "/"))
        assert metric_name(name, "/") == name


def test_a_headline_tells_the_turns_apart() -> None:
    second = ONE_TURN.copy()
    second[:, 3] = [6, 7, 5]  # against 6, 6, 6
    results = sized(np.repeat(np.stack([ONE_TURN, second], axis=1), 5, axis=0), ARMS)
    assert TuningFindings.of(results, None).headline.endswith("IFT is clearly ahead on turn 1; turn 2 decides nothing.")


def test_without_a_common_size_there_is_no_headline() -> None:
    found = TuningFindings.of(sized(ONE_TURN[:, [0, 3]], [ICL_2, IFT_4]), None)
    assert found.headline == "No headline: no number of examples was scored both in the prompt and in the weights."
    assert found.frames["crossover"].is_empty()
    assert list(found.report(About("s")).figures) == ["size_curve"]


def test_metrics_have_both_ends_and_the_pool_where_there_are_several() -> None:
    metrics = TuningFindings.of(sized(ONE_TURN, ARMS), None).metrics()
    assert metrics["ift_minus_icl/4/turn 1"] == 2.0
    assert metrics["ift_minus_icl_low/4/turn 1"] == pytest.approx(2 - half(1))
    assert {
        "ift_minus_icl_high/2/average",
        "crossover/turn 1",
        "crossover_low/average",
        "crossover_high/average",
    } <= set(metrics)
    assert metrics["break_even/2"] == 6
    other = [one | {"arm.pool": "other"} for one in ARMS[:4]]
    several = TuningFindings.of(sized(np.hstack([ONE_TURN, ONE_TURN[:, :4]]), [*ARMS, *other]), None).metrics()
    assert {"ift_minus_icl/other/4/turn 1", "crossover/pool/average", "break_even/other/2"} <= set(several)


def test_findings_have_the_tables_that_hold_something() -> None:
    found = TuningFindings.of(failed_study(), simulated_losses(np.random.default_rng(0), (2,)))
    assert list(found.tables()) == ["curve", "references", "differences", "crossover", "costs", "losses", "settings"]
    assert found.failed == ["ift pool 4: the loss is not a number"]
    first_failed = failed_study().sort("state", "trial", descending=[True, False])
    assert TuningFindings.of(first_failed, None).judge == found.judge == "fake"
    assert "losses" not in TuningFindings.of(failed_study(), None).tables()
