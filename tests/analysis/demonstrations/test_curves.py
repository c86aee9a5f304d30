"""Claims about curves by number and source of demonstrations, on numbers written down, and about what is drawn."""

from typing import Any

import polars as pl
import pytest
from matplotlib.axes import Axes
from scipy.stats import t as student_t

from analysis.demonstrations.curves import CONTRAST_SCHEMA, CURVE_SCHEMA, demonstration_curve, source_contrasts
from analysis.plots import draw_curve, draw_rounds, new_figure

BASE = {"q1": (4.0,), "q2": (5.0,), "q3": (6.0,)}
RANDOM = [{"q1": (6.0,), "q2": (5.0,), "q3": (7.0,)}, {"q1": (4.0,), "q2": (7.0,), "q3": (9.0,)}]
RETRIEVED = {"q1": (7.0,), "q2": (7.0,), "q3": (7.0,)}
Scores = dict[str, tuple[float | None, ...]]


def trial(number: int, scores: Scores, source: str, demonstrations: int, **more: Any) -> list[dict[str, Any]]:
    """Return the rows of a trial: a score a turn, by query."""
    described = {
        "trial": number,
        "condition_id": f"c{number}",
        "role": "baseline" if number == 0 else "fill",
        "replicate": 0,
        "varied": None,
        "reference": None,
        "label": f"trial {number}",
        "state": "complete",
        "failed_because": None,
        "active": ["shots", "source"] if demonstrations else ["shots"],
        "param.temperature": 0.0,
        "param.top_p": 1.0,
        "param.top_k": 0,
        "param.min_p": 0.0,
        "param.shots": demonstrations,
        "param.source": source,
        "prompt_tokens": 100 * number,
        "completion_tokens": 10,
        "truncated": False,
        "repetition": 0.0,
    }
    return [
        {**described, "query_id": query, "turn": turn, "score": score, **more}
        for query, turns in scores.items()
        for turn, score in enumerate(turns, start=1)
    ]


def frame(*trials: list[dict[str, Any]]) -> pl.DataFrame:
    kinds = {"active": pl.List(pl.String), "score": pl.Float64, **dict.fromkeys(("varied", "reference"), pl.String)}
    return pl.DataFrame(
        [row for rows in trials for row in rows], schema_overrides=kinds | {"failed_because": pl.String}
    )


def study(*more: list[dict[str, Any]], base: Scores = BASE) -> pl.DataFrame:
    """A baseline without demonstrations, two draws of three random ones, three retrieved ones."""
    return frame(
        trial(0, base, "random", 0),
        trial(1, RANDOM[0], "random", 3),
        trial(2, RANDOM[1], "random", 3),
        trial(3, RETRIEVED, "retrieved", 3),
        *more,
    )


def by_source(results: pl.DataFrame) -> dict[tuple[str, int], dict[str, Any]]:
    return {(row["source"], row["shots"]): row for row in demonstration_curve(results).iter_rows(named=True)}


def test_draws_are_averaged_for_each_query_before_the_query_is_paired_with_the_baseline() -> None:
    row = by_source(study())["random", 3]  # by query 5, 6, 8, against 4, 5, 6
    assert (row["draws"], row["n"], row["prompt_tokens"]) == (2, 3, 150.0)
    assert row["mean"] == pytest.approx(19 / 3)
    assert row["difference"] == pytest.approx(4 / 3)
    half = student_t.ppf(0.975, 2) / 3  # differences 1, 1, 2: their standard error is 1/3
    assert (row["low"], row["high"]) == pytest.approx((4 / 3 - half, 4 / 3 + half))
    assert (row["lowest_draw"], row["highest_draw"]) == (6.0, pytest.approx(20 / 3))


def test_a_source_that_draws_once_has_one_draw() -> None:
    row = by_source(study())["retrieved", 3]
    assert (row["draws"], row["mean"], row["difference"], row["prompt_tokens"]) == (1, 7.0, 2.0, 300.0)
    assert row["lowest_draw"] == row["highest_draw"] == 7.0


def test_both_turns_of_a_query_are_one_unit() -> None:
    results = frame(
        trial(0, {"q1": (4.0, 2.0), "q2": (5.0, 5.0)}, "first", 0),
        trial(1, {"q1": (8.0, 4.0), "q2": (6.0, None)}, "first", 3),
    )
    (row,) = demonstration_curve(results).to_dicts()
    # the missing turn counts 22 / 3, which is what query, turn and trial lead to expect
    assert (row["mean"], row["difference"], row["n"]) == (pytest.approx(19 / 3), pytest.approx(7 / 3), 2)


def test_points_are_sorted_by_source_and_number_and_the_zero_has_no_source() -> None:
    more = trial(4, RETRIEVED, "random", 10), trial(5, RETRIEVED, "random", 1)
    assert list(by_source(study(*more))) == [("random", 1), ("random", 3), ("random", 10), ("retrieved", 3)]


def test_one_query_has_a_difference_and_no_interval() -> None:
    results = frame(trial(0, {"q1": (4.0,)}, "first", 0), trial(1, {"q1": (6.0,)}, "first", 1))
    (row,) = demonstration_curve(results).to_dicts()
    assert (row["difference"], row["low"], row["high"], row["n"]) == (2.0, None, None, 1)


def test_a_query_that_one_side_did_not_score_is_left_out_of_the_pair() -> None:
    rows = by_source(study(base={**BASE, "q3": (None,)}))
    assert (rows["random", 3]["difference"], rows["random", 3]["n"]) == (1.0, 2)
    assert (rows["retrieved", 3]["difference"], rows["retrieved", 3]["n"]) == (2.5, 2)
    (row,) = (
        source_contrasts(study(trial(4, {"q1": (9.0,), "q2": (None,)}, "diverse", 3)))
        .filter((pl.col("against") == "diverse") & (pl.col("source") == "retrieved"))
        .to_dicts()
    )
    assert (row["difference"], row["n"], row["low"]) == (-2.0, 1, None)


def test_replicates_and_failed_trials_count_nowhere() -> None:
    ten = {"q1": (10.0,), "q2": (10.0,), "q3": (10.0,)}
    more = trial(4, ten, "random", 3, replicate=1), trial(5, ten, "retrieved", 3, state="failed")
    assert demonstration_curve(study(*more)).equals(demonstration_curve(study()))
    assert source_contrasts(study(*more)).equals(source_contrasts(study()))


def test_sources_are_compared_on_their_queries_where_as_many_were_asked_for() -> None:
    table = source_contrasts(study(trial(4, BASE, "diverse", 10)))
    (row,) = table.to_dicts()
    assert (row["source"], row["against"], row["shots"], row["n"]) == ("retrieved", "random", 3, 3)
    assert row["difference"] == pytest.approx(2 / 3)  # 7, 7, 7 against 5, 6, 8
    half = student_t.ppf(0.975, 2) * (7 / 3) ** 0.5 / 3**0.5  # differences 2, 1, -1: their variance is 7/3
    assert (row["low"], row["high"]) == pytest.approx((2 / 3 - half, 2 / 3 + half))


def test_every_two_sources_are_compared_once() -> None:
    table = source_contrasts(study(trial(4, BASE, "diverse", 3)))
    pairs = {frozenset(pair) for pair in table.select("source", "against").iter_rows()}
    assert len(table) == len(pairs) == 3


def test_without_a_baseline_there_is_no_curve_but_sources_are_compared() -> None:
    results = study().filter(pl.col("trial") > 0)
    assert demonstration_curve(results).is_empty()
    assert source_contrasts(results).equals(source_contrasts(study()))


def test_a_study_that_does_not_vary_the_source_has_neither() -> None:
    results = study().with_columns(active=pl.lit(["shots"], dtype=pl.List(pl.String)))
    assert demonstration_curve(results).equals(pl.DataFrame(schema=CURVE_SCHEMA))
    assert source_contrasts(results).equals(pl.DataFrame(schema=CONTRAST_SCHEMA))


def drawn_bars(axes: Axes) -> list[tuple[float, float]]:
    """Return the ends of all vertical error bars, in the order in which they were drawn."""
    segments = [segment for one in axes.containers for bars in one.lines[2] for segment in bars.get_segments()]
    segments = [segment for segment in segments if len(segment)]
    return [(float(segment[0][1]), float(segment[1][1])) for segment in segments]


def test_the_figure_of_a_curve_shows_the_numbers_of_its_frame() -> None:
    more = trial(4, {"q1": (8.0,)}, "random", 10), trial(5, RETRIEVED, "retrieved", 1)
    curve = demonstration_curve(study(*more))
    rows = curve.to_dicts()
    with new_figure() as (_, axes):
        draw_curve(curve, 5.0, axes, "fake")
    lines = {str(line.get_label()): line for line in axes.lines}
    drawn = lines["random, mean of 2 draws"]
    assert list(drawn.get_ydata()) == [row["mean"] for row in rows if row["source"] == "random"]
    assert list(drawn.get_xdata()) == [1.0, 2.0]  # 3 and 10 of 1, 3, 10
    assert list(lines["retrieved"].get_ydata()) == [7.0, 7.0]
    assert list(lines["retrieved"].get_xdata()) == [0.08, 1.08]  # beside the first source's
    assert list(lines["baseline"].get_ydata()) == [5.0, 5.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3", "10"]
    assert "n = 3 queries" in axes.get_title(loc="left")
    assert "fake judge" in axes.get_ylabel()
    with_interval = [row for row in rows if row["low"] is not None]
    assert len(with_interval) == 3  # ten random ones were scored on one query
    for row, (low, high) in zip(with_interval, drawn_bars(axes), strict=True):
        zero = row["mean"] - row["difference"]
        assert (low, high) == pytest.approx((zero + row["low"], zero + row["high"]))


def test_a_curve_without_a_baselines_mean_has_no_line_for_it() -> None:
    with new_figure() as (_, axes):
        draw_curve(demonstration_curve(study()), None, axes, "fake")
    assert "baseline" not in {line.get_label() for line in axes.lines}


def test_a_curve_is_drawn_where_every_query_gained_the_same() -> None:
    zero, shown = 7.769230769230769, 8.26923076923077
    results = frame(
        trial(0, {f"q{number}": (zero,) for number in range(20)}, "first", 0),
        trial(1, {f"q{number}": (shown,) for number in range(20)}, "first", 1),
    )
    with new_figure() as (_, axes):
        draw_curve(demonstration_curve(results), zero, axes, "fake")
    assert drawn_bars(axes) == [pytest.approx((shown, shown))]


ROUNDS = pl.DataFrame(
    {
        "round": [1, 2, 3],
        "winner": ["example-11", "a-name-that-is-longer-than-its-place", None],
        "gain": [0.5, -0.25, None],
        "low": [0.125, None, None],
        "high": [0.875, None, None],
        "n": [12, 12, 0],
        "added": [True, False, False],
    },
    schema_overrides=dict.fromkeys(("gain", "low", "high"), pl.Float64),
)


def drawn_points(axes: Axes) -> list[tuple[float, float]]:
    lines = [one.lines[0] for one in axes.containers]
    return [(float(x), float(y)) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def test_the_figure_of_a_search_shows_each_rounds_gain_and_the_held_back_one() -> None:
    held_back = {"difference": 4 / 3, "low": -0.125, "high": 2.75, "n": 3}
    with new_figure() as (_, axes):
        draw_rounds(ROUNDS, held_back, axes)
    assert drawn_points(axes) == [(0.5, 0.0), (-0.25, 1.0), (pytest.approx(4 / 3), 2.0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "round 1: example-11",
        "round 2: a-name-that-is-longer-tha… (not added)",
        "all rounds, held-back queries",
    ]
    bars = [bar for one in axes.containers for lines in one.lines[2] for bar in lines.get_segments() if len(bar)]
    ends = [(float(bar[0][0]), float(bar[1][0])) for bar in bars]
    assert ends == [(0.125, 0.875), (-0.125, 2.75)]
    assert "12 queries choose, 3 held back" in axes.get_title(loc="left")


def test_a_search_without_a_held_back_score_draws_its_rounds_alone() -> None:
    with new_figure() as (_, axes):
        draw_rounds(ROUNDS, None, axes)
    assert len(drawn_points(axes)) == len(axes.get_yticklabels()) == 2


def test_a_study_that_varies_more_than_the_demonstrations_has_no_curve() -> None:
    hot = [row | {"active": [*row["active"], "temperature"]} for row in trial(4, RETRIEVED, "retrieved", 3)]
    assert not demonstration_curve(study()).is_empty()
    assert demonstration_curve(study(hot)).is_empty()
    assert source_contrasts(study(hot)).is_empty()
