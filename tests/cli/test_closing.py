"""Claims about what the person at the terminal sees."""

import io
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
from ablations.cli.closing import show_confirmation, show_findings
from ablations.cli.plan import show_plan
from rich.console import Console

from ablations.studies.conditions.findings import find
from tests.analysis.test_statistics import found, make_results
from tests.studies.conditions.test_confirmation_findings import findings
from tests.support.fakes import FakeJudge
from tests.support.specs import BASELINE, make_spec


def shown(width: int = 160) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=width, soft_wrap=True), text


def test_stop_strings_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    space = BASELINE + 'stop = "headings"\n[parameters.stop]\nchoices = ["headings", ["[/INST]"], ["[end]"]]\n'
    console, text = shown()
    show_plan(console, make_spec(tmp_path, space), "a model", FakeJudge(), list_conditions=True)
    assert text.getvalue().count('["[/INST]"]') >= 2
    assert text.getvalue().count('["[end]"]') >= 2


def test_the_closing_tables_show_effects_intervals_and_coverage() -> None:
    console, text = shown()
    show_findings(console, found())
    for expected in ("Baseline (temperature=0): mean score", "coverage 100%", "95 % interval", "the baseline"):
        assert expected in text.getvalue()


def test_equal_scores_are_called_identical_and_never_minus_zero() -> None:
    console, text = shown()
    show_findings(console, find(make_results(effect=0.0, noise=0.0, trials=4)))
    assert "identical scores" in text.getvalue()
    assert "-0.00" not in text.getvalue()


def test_scores_are_shown_by_turn_with_how_many_were_scored() -> None:
    console, text = shown()
    show_findings(console, found())
    for expected in ("Scores by turn", "turn 1", "turn 2", "average", "24/24"):
        assert expected in text.getvalue()


def test_the_lead_at_equal_length_stands_beside_the_raw_one() -> None:
    console, text = shown()
    show_findings(console, find(make_results(effect=-1.0, trials=4)))
    assert "Best against baseline at equal length: " in text.getvalue()
    assert "; raw " in text.getvalue()


def test_a_confirmation_is_shown_with_three_leads_the_shrinkage_and_what_lacks_scores() -> None:
    console, text = shown()
    show_confirmation(console, replace(findings(lead=1.0), failed=("top_p=[1]: coverage 50%",)))
    for expected in ("as selected", "fresh seeds", "held back", "shrinkage", "20 queries as before and 20 held back"):
        assert expected in text.getvalue()
    assert "Counts for nothing: top_p=[1]: coverage 50%" in text.getvalue()
    assert "whatever the seed" not in text.getvalue()  # every answer is fresh


def test_wins_draws_losses_and_position_bias_are_shown_with_intervals() -> None:
    console, text = shown()
    details = {"win": 1.0, "draw": 0.0, "loss": 0.0, "first_twice": 0.0, "second_twice": 0.0}
    compared = make_results(trials=4).with_columns(judge_details=pl.lit(json.dumps(details)))
    show_findings(console, find(compared))
    assert "100% [76%, 100%]" in text.getvalue()  # 12 of 12 queries
    assert "first twice" in text.getvalue()
