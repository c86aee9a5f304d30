"""Claims about models side by side: which ways are compared, on which queries, and what is drawn."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from scipy.stats import t as student_t

from analysis.alignment import CHAT, IN_CONTEXT, Arm, alignment_gaps, alignment_table
from analysis.demonstrations.ways import ARM_MODEL, ARM_WAY, ZERO_SHOT
from analysis.plots import draw_alignment, new_figure
from analysis.scores import failed_trials

Scores = dict[str, tuple[float | None, float | None]]
ZERO: Scores = {"q1": (2.0, 4.0), "q2": (3.0, 5.0), "q3": (4.0, 6.0)}
SHOWN: Scores = {"q1": (4.0, 4.0), "q2": (5.0, 7.0), "q3": (6.0, 8.0)}
ALIGNED: Scores = {"q1": (8.0, 6.0), "q2": (9.0, None), "q3": (7.0, 9.0)}
ARMS = {ZERO_SHOT: ZERO, IN_CONTEXT: SHOWN, CHAT: ALIGNED}


def trial(way: str, scores: Scores | None = None, number: int | None = None, **more: Any) -> list[dict[str, Any]]:
    described = {"trial": list(ARMS).index(way) if number is None else number, "state": "complete", "replicate": 0}
    return [
        {**described, "arm.way": way, "query_id": query, "turn": turn, "score": score, **more}
        for query, turns in (scores or ARMS[way]).items()
        for turn, score in enumerate(turns, start=1)
    ]


def model(*trials: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([row for rows in trials for row in rows], schema_overrides={"score": pl.Float64})


BASE, CHATTY = model(trial(ZERO_SHOT), trial(IN_CONTEXT)), model(trial(CHAT), trial(IN_CONTEXT))


def study(frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Return one frame of several models' trials."""
    own = [
        frame.with_columns(pl.lit(name).alias("arm.model"), trial=pl.col("trial") + 100 * at)
        for at, (name, frame) in enumerate(frames.items())
    ]
    return pl.concat(own, how="diagonal_relaxed")


def gaps(frames: dict[str, pl.DataFrame]) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = alignment_gaps(study(frames)).to_dicts()
    found = {(row["better"], row["worse"], row["group"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_a_table_has_the_means_of_each_turn_and_of_both() -> None:
    rows = {(row["way"], row["group"]): row for row in alignment_table(study({"base": BASE})).iter_rows(named=True)}
    assert list(rows) == [(way, group) for way in (ZERO_SHOT, IN_CONTEXT) for group in ("turn 1", "turn 2", "average")]
    assert [rows[ZERO_SHOT, group]["mean"] for group in ("turn 1", "turn 2", "average")] == [3.0, 5.0, 4.0]
    assert {row["model"] for row in rows.values()} == {"base"}
    half = student_t.ppf(0.975, 2) / 3**0.5  # 2, 3, 4; and the queries' means 3, 4, 5: both have a deviation of 1
    for group, mean in (("turn 1", 3.0), ("average", 4.0)):
        row = rows[ZERO_SHOT, group]
        assert (row["low"], row["high"]) == pytest.approx((mean - half, mean + half))
    assert (rows[ZERO_SHOT, "turn 1"]["n_judged"], rows[ZERO_SHOT, "average"]["n_judged"]) == (3, 6)


def test_an_unscored_answer_is_judged_and_in_no_mean() -> None:
    rows = {row["group"]: row for row in alignment_table(study({"chatty": model(trial(CHAT))})).iter_rows(named=True)}
    assert (rows["turn 2"]["mean"], rows["turn 2"]["n_scored"], rows["turn 2"]["n_judged"]) == (7.5, 2, 3)
    assert (rows["average"]["mean"], rows["average"]["n_scored"]) == (pytest.approx(39 / 5), 5)


def test_a_group_without_a_score_has_no_mean_and_one_without_an_answer_no_row() -> None:
    unscored = alignment_table(study({"m": model(trial(CHAT, {"q1": (8.0, None)}))}))
    (row,) = unscored.filter(pl.col("group") == "turn 2").to_dicts()
    assert (row["mean"], row["low"], row["high"], row["n_scored"], row["n_judged"]) == (None, None, None, 0, 1)
    (alone,) = unscored.filter(pl.col("group") == "turn 1").to_dicts()
    assert (alone["mean"], alone["low"], alone["high"]) == (8.0, None, None)
    one_turn = alignment_table(study({"m": model(trial(CHAT)).filter(pl.col("turn") == 1)}))
    assert one_turn.get_column("group").to_list() == ["turn 1", "average"]


def test_a_gap_within_a_model_is_paired_over_its_queries() -> None:
    found = gaps({"base": BASE})
    names = (str(Arm("base", IN_CONTEXT, IN_CONTEXT)), str(Arm("base", ZERO_SHOT, ZERO_SHOT)))
    assert list(found) == [(*names, group) for group in ("turn 1", "turn 2", "average")]
    first, second, average = found.values()
    assert (first["difference"], first["low"], first["high"], first["n"]) == (2.0, 2.0, 2.0, 3)
    assert second["difference"] == pytest.approx(4 / 3)  # 0, 2, 2: standard error 2/3
    half = student_t.ppf(0.975, 2) * 2 / 3
    assert (second["low"], second["high"]) == pytest.approx((4 / 3 - half, 4 / 3 + half))
    assert average["difference"] == pytest.approx(5 / 3)


def test_between_models_only_in_context_and_aligned_are_compared() -> None:
    found = gaps({"base": BASE, "chatty": CHATTY})
    assert {(better, worse) for better, worse, _ in found} == {
        ("base, in context", "base, zero-shot"),
        ("chatty, aligned (chat template)", "base, in context"),
        ("chatty, aligned (chat template)", "chatty, in context"),
    }
    assert len(found) == 9


def test_a_gap_is_the_aligned_score_minus_the_other_whichever_model_comes_first() -> None:
    aligned = model(trial(CHAT))
    key = ("chatty, aligned (chat template)", "base, in context", "turn 1")
    for frames in ({"base": BASE, "chatty": aligned}, {"chatty": aligned, "base": BASE}):
        assert gaps(frames)[key]["difference"] == 3.0  # 8, 9, 7 against 4, 5, 6


def test_a_query_that_one_arm_did_not_score_is_left_out_of_the_pair() -> None:
    found = gaps({"base": BASE, "chatty": model(trial(CHAT))})
    key = ("chatty, aligned (chat template)", "base, in context")
    assert (found[*key, "turn 2"]["difference"], found[*key, "turn 2"]["n"]) == (1.5, 2)  # 6, 9 against 4, 8
    # q2 has its first turn alone there, so it is compared on that: 7, 9, 8 against 4, 5, 7
    assert (found[*key, "average"]["difference"], found[*key, "average"]["n"]) == (pytest.approx(8 / 3), 3)


def test_one_query_has_a_gap_without_interval_and_no_common_query_no_gap() -> None:
    one = gaps({"m": model(trial(ZERO_SHOT), trial(IN_CONTEXT, {"q1": (9.0, None)}))})
    row = one["m, in context", "m, zero-shot", "turn 1"]
    assert (row["difference"], row["low"], row["high"], row["n"]) == (7.0, None, None, 1)
    assert ("m, in context", "m, zero-shot", "turn 2") not in one
    assert gaps({"m": model(trial(ZERO_SHOT), trial(IN_CONTEXT, {"other": (9.0, 9.0)}))}) == {}


def test_replicates_and_failed_trials_are_left_out() -> None:
    ten: Scores = {"q1": (10.0, 10.0)}
    more = trial(ZERO_SHOT, ten, 7, replicate=1), trial(IN_CONTEXT, ten, 8, state="failed")
    with_more = model(trial(ZERO_SHOT), trial(IN_CONTEXT), *more)
    assert alignment_table(study({"base": with_more})).equals(alignment_table(study({"base": BASE})))
    assert alignment_gaps(study({"base": with_more})).equals(alignment_gaps(study({"base": BASE})))
    assert alignment_table(study({"m": model(trial(CHAT, state="failed"))})).is_empty()


def points(axes: Axes) -> list[tuple[float, float, float]]:
    """Return where each point stands, and the width of its interval (0 where there is none)."""
    found = []
    for one in axes.containers:
        (line, _, (bars,)) = one.lines
        for value, place, segment in zip(line.get_xdata(), line.get_ydata(), bars.get_segments(), strict=True):
            width = float(segment[1][0] - segment[0][0]) if len(segment) else 0.0
            found.append((float(value), float(place), 0.0 if np.isnan(width) else width))
    return sorted(found, key=lambda point: point[1])


def test_the_figure_shows_both_turns_of_every_arm() -> None:
    long = "a-model-whose-name-does-not-fit"
    table = alignment_table(study({"base": BASE, long: model(trial(CHAT, {"q1": (8.0, None)}))}))
    with new_figure() as (_, axes):
        draw_alignment(table, axes)
    half = student_t.ppf(0.975, 2) / 3**0.5
    second = table.filter((pl.col("way") == IN_CONTEXT) & (pl.col("group") == "turn 2")).to_dicts()[0]
    expected = [
        (3.0, -0.12, 2 * half),
        (5.0, 0.88, 2 * half),
        (8.0, 1.88, 0.0),
        (5.0, 0.12, 2 * half),
        (second["mean"], 1.12, second["high"] - second["low"]),
    ]
    assert points(axes) == [pytest.approx(point) for point in sorted(expected, key=lambda point: point[1])]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "base\nzero-shot",
        "base\nin context",
        "a-model-whose-name-does…\naligned (chat template)",
    ]
    assert "3 queries" in axes.get_title(loc="left")
    assert {line.get_label() for line in axes.lines} >= {"turn 1", "turn 2"}


def test_two_conditions_of_one_way_keep_their_own_rows() -> None:
    more = trial(IN_CONTEXT, number=7, label="m, in context: shots=10")
    named = [row | {"label": "m, in context: shots=3"} for row in trial(IN_CONTEXT)]
    table = alignment_table(study({"m": model(named, more)}))
    assert table.get_column("way").unique(maintain_order=True).to_list() == [
        IN_CONTEXT,
        f"{IN_CONTEXT}: shots=10",
    ]


def test_a_way_whose_trial_failed_is_named_with_its_reason() -> None:
    failed = trial(CHAT, state="failed", failed_because="coverage 50% is below 90%: 3 x no rating")
    fine = [row | {"failed_because": None} for row in trial(ZERO_SHOT)]
    frames = {"m": model(fine, failed)}
    named = failed_trials(study(frames), (ARM_MODEL, ARM_WAY))
    assert named == ["m, aligned (chat template): coverage 50% is below 90%: 3 x no rating"]
    assert set(alignment_table(study(frames)).get_column("way")) == {ZERO_SHOT}
