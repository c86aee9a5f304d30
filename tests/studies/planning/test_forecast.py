"""Claims about forecasts: queries, completions, minutes and dollars of a study, from one that was run."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from ablations.core.errors import UsageError
from ablations.core.records import Price, Role, TrialRecord, TrialState
from ablations.core.statistics import Ends, Scale
from ablations.studies.kind import Results
from ablations.studies.planning.forecast import forecast
from analysis.planning import Level, observed_contrasts
from tests.support.simulated import SHARES, study

SCORES = (np.random.default_rng(0).random((40, 2, 3)) < 0.5).astype(float)
USED = {"judge_calls": [80] * 3, "judge_prompt_tokens": [1000] * 3, "judge_completion_tokens": [10] * 3}


FREE = dict.fromkeys(USED, [0] * 3)
Rows = list[tuple[str, ...]]


def frame(**more: Any) -> pl.DataFrame:
    return study(SCORES, {"temperature": [0.0, 0.0, 0.5]}, scale=SHARES, **(FREE | more))


def record(number: int, started: float, ended: float) -> TrialRecord:
    made = TrialRecord(number, f"c{number}", "t", "t", Role.FILL, TrialState.COMPLETE, {}, {}, 0.5)
    return replace(made, started=started, ended=ended, measured=True)


def rows(
    results: Results, effect: float = 20.0, power: float = 0.8, price: Price | None = None
) -> list[tuple[str, ...]]:
    return list(forecast(results, results.frame, effect, power, price).sections[0].tables[0].rows)


def test_queries_are_those_of_the_median_and_the_widest_comparison_and_completions_of_all_trials() -> None:
    results = Results("s", frame())
    level = Level(2, Ends.of(Scale(0.0, 1.0)).differences())
    wanted = sorted(level.queries(0.2, one.spread) or 0 for one in observed_contrasts(results.frame))
    median, widest = rows(results)
    assert [int(row[2].split()[0]) for row in (median, widest)] == [wanted[1], wanted[1]]
    assert int(median[3].replace(",", "")) == wanted[1] * 2 * 3  # two turns, three trials
    assert median[4:] == ("not measured", "0")
    assert int(rows(results, power=0.9)[0][2].split()[0]) > wanted[1]


def test_minutes_come_from_the_time_in_which_the_engine_was_busy_and_dollars_from_what_judging_took() -> None:
    records = {0: record(0, 0.0, 60.0), 1: record(1, 30.0, 90.0), 2: record(2, 1000.0, 1030.0)}
    results = Results("s", frame(**USED), records)
    (first, *_) = rows(results, price=Price(1.0, 10.0))
    completions = int(first[3].replace(",", ""))
    assert float(first[4].replace(",", "")) == pytest.approx(completions * 120 / 240 / 60, abs=0.5)
    per_turn = (1000 * 1.0 + 10 * 10.0) / 1e6  # tokens stand in every row
    assert float(first[5].removeprefix("$")) == pytest.approx(per_turn * completions, rel=0.01)
    assert rows(results)[0][5] == "price unknown"


@pytest.mark.parametrize(("effect", "power", "message"), [(0.0, 0.8, "--effect 0"), (10.0, 1.0, "--power 1")])
def test_what_cannot_be_is_refused(effect: float, power: float, message: str) -> None:
    with pytest.raises(UsageError, match=f"{message} is out of range"):
        rows(Results("s", frame()), effect, power)
    one = study(SCORES[:1], scale=SHARES)
    with pytest.raises(UsageError, match="shows no spread"):
        rows(Results("s", one))


def test_the_page_says_that_the_number_is_chosen_once() -> None:
    results = Results("s", frame())
    section = forecast(results, results.frame, 10.0, 0.8, None).sections[0]
    assert section.brief
    assert any("Raising --limit until something is decided is not covered" in text for text in section.statements)
