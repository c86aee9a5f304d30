"""Length-controlled effects on simulated studies whose true effects are known."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from analysis.effects.intervals import paired_interval
from analysis.effects.length_control import length_controlled_effects
from analysis.frames import trial_scores

EFFECTS = (0.0, 0.4, 0.0, -0.3)
LENGTHS = (0.0, 0.6, -0.6, 0.3)


def study(
    effects: Sequence[float] = EFFECTS,
    lengths: Sequence[float] = LENGTHS,
    queries: int = 30,
    slope: float = 1.0,
    missing: float = 0.0,
    seed: int = 0,
) -> pl.DataFrame:
    """Results in which conditions change the score by `effects` and, through log-length, by the judge's `slope`."""
    generator = np.random.default_rng(seed)
    shape = (queries, 2, len(effects))
    difficulty = generator.normal(5, 1, (queries, 2, 1))
    usual = generator.normal(0, 0.3, (queries, 2, 1))
    characters = np.round(400 * np.exp(np.array(lengths) + usual + generator.normal(0, 0.3, shape)))
    excess = characters - characters.mean(axis=2, keepdims=True)
    scores = difficulty + np.array(effects) + slope * np.tanh(excess / excess.std()) + generator.normal(0, 0.5, shape)
    unscored = generator.random(shape) < missing
    rows = [
        {
            "trial": trial,
            "label": f"trial {trial}",
            "role": "fill" if trial else "baseline",
            "condition_id": f"c{trial}",
            "replicate": 0,
            "state": "complete",
            "query_id": f"q{query:03d}",
            "turn": turn + 1,
            "score": None if unscored[query, turn, trial] else float(scores[query, turn, trial]),
            "answer": "é" * int(characters[query, turn, trial]),
        }
        for query, turn, trial in np.ndindex(*shape)
    ]
    return pl.DataFrame(rows, schema_overrides={"score": pl.Float64})


@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_the_controlled_effect_is_the_true_one_where_length_misleads_the_raw_one(missing: float) -> None:
    effects = length_controlled_effects(study(queries=400, missing=missing), draws=200)
    truth = np.array(EFFECTS[1:])
    assert effects.get_column("controlled").to_numpy() == pytest.approx(truth, abs=0.12)
    assert (np.abs(effects.get_column("raw").to_numpy() - truth) > 0.25).all()
    assert effects.get_column("slope").to_numpy() == pytest.approx(np.ones(3), abs=0.1)


def test_without_a_taste_for_length_both_effects_are_the_true_one() -> None:
    effects = length_controlled_effects(study(queries=400, slope=0.0), draws=200)
    for name in ("raw", "controlled"):
        assert effects.get_column(name).to_numpy() == pytest.approx(np.array(EFFECTS[1:]), abs=0.12)


def test_intervals_cover_the_truth_about_95_times_in_100_and_raw_ones_do_not() -> None:
    covered = {"controlled": 0, "raw": 0}
    for seed in range(1000, 1060):
        effects = length_controlled_effects(study(seed=seed), seed=seed, draws=200)
        for name in covered:
            low, high = (effects.get_column(f"{name}_{edge}").to_numpy() for edge in ("low", "high"))
            covered[name] += int(((low <= EFFECTS[1:]) & (high >= EFFECTS[1:])).sum())
    print({name: f"{count / 1.8:.1f} %" for name, count in covered.items()})
    assert 0.9 <= covered["controlled"] / 180 <= 0.98
    assert covered["raw"] / 180 < 0.3


def design_fit(results: pl.DataFrame) -> tuple[dict[int, float], float]:
    """The same model by one large design matrix: trials' terms against the baseline's, and the slope."""
    scored = results.filter(pl.col("score").is_not_null())
    cells = scored.get_column("query_id") + "/" + scored.get_column("turn").cast(pl.String)
    trials = sorted(set(scored.get_column("trial")))
    characters = scored.get_column("answer").str.len_chars().cast(pl.Float64)
    excess = characters - characters.to_frame("c").select(pl.col("c").mean().over(cells)).to_series()
    spread = np.sqrt((excess.to_numpy() ** 2).mean())
    dummies = [
        *((cells == cell).cast(pl.Float64) for cell in cells.unique().sort()),
        *((scored.get_column("trial") == trial).cast(pl.Float64) for trial in trials[1:]),
        (excess / spread).tanh(),
    ]
    matrix = np.column_stack([column.to_numpy() for column in dummies])
    fitted = np.linalg.lstsq(matrix, scored.get_column("score").to_numpy(), rcond=None)[0]
    return dict(zip(trials[1:], fitted[-len(trials) : -1], strict=True)), float(fitted[-1])


def test_effects_are_those_of_the_joint_regression() -> None:
    results = study(queries=20)
    terms, slope = design_fit(results)
    effects = length_controlled_effects(results, draws=10)
    assert dict(effects.select("trial", "controlled").iter_rows()) == pytest.approx(terms)
    assert effects.get_column("slope").to_list() == pytest.approx([slope] * 3)


def test_with_missing_scores_the_slope_is_still_that_of_the_joint_regression() -> None:
    results = study(queries=20, missing=0.2)
    _, slope = design_fit(results)
    assert length_controlled_effects(results, draws=10).get_column("slope").to_list() == pytest.approx([slope] * 3)


def test_raw_effects_are_those_of_the_paired_comparison() -> None:
    results = study()
    for row in length_controlled_effects(results, draws=10).iter_rows(named=True):
        interval = paired_interval(*trial_scores(results).of([row["trial"], 0]).T)
        assert (row["raw"], row["raw_low"], row["raw_high"], row["n"]) == pytest.approx(
            (interval.value, interval.low, interval.high, interval.n)
        )


def test_extra_characters_are_those_of_the_shared_queries() -> None:
    results = study()
    means = results.group_by("trial").agg(pl.col("answer").str.len_chars().mean())
    by_trial: dict[int, float] = dict(means.iter_rows())
    extra = length_controlled_effects(results, draws=10).get_column("extra_characters").to_list()
    assert extra == pytest.approx([by_trial[trial] - by_trial[0] for trial in (1, 2, 3)])


def test_the_same_seed_gives_the_same_intervals_and_another_one_others() -> None:
    results = study()
    first = length_controlled_effects(results, seed=1, draws=50)
    assert first.equals(length_controlled_effects(results, seed=1, draws=50))
    assert not first.equals(length_controlled_effects(results, seed=2, draws=50))


def test_no_score_under_both_leaves_a_row_with_its_reason() -> None:
    results = study().with_columns(score=pl.when(pl.col("trial") != 1).then("score"))
    first, second, _ = length_controlled_effects(results, draws=10).to_dicts()
    assert (first["raw"], first["controlled"], first["n"]) == (None, None, 0)
    assert first["reason"] == "no query was scored under both this trial and the baseline"
    assert second["reason"] is None


@pytest.mark.parametrize("answer", [pl.lit("same"), pl.lit("x").repeat_by(pl.col("trial") + 1).list.join("")])
def test_lengths_that_trials_explain_leave_the_raw_effect_alone(answer: pl.Expr) -> None:
    for row in length_controlled_effects(study().with_columns(answer=answer), draws=10).iter_rows(named=True):
        assert row["raw_low"] is not None
        assert (row["controlled"], row["slope"]) == (None, None)
        assert row["reason"] == "trial and query explain all differences in length"


def test_few_queries_give_an_estimate_without_an_interval() -> None:
    for row in length_controlled_effects(study(queries=11), draws=10).iter_rows(named=True):
        assert row["controlled"] is not None
        assert (row["controlled_low"], row["controlled_high"]) == (None, None)
        assert row["reason"] == "an interval of a controlled effect needs 12 queries"


def test_without_a_baseline_every_trial_says_so() -> None:
    failed = pl.when(pl.col("trial") == 0).then(pl.lit("failed")).otherwise("state")
    effects = length_controlled_effects(study().with_columns(state=failed), draws=10)
    assert effects.get_column("reason").to_list() == ["the baseline did not complete"] * 3


def test_a_study_without_anything_to_compare_gives_no_rows() -> None:
    results = study()
    for empty in (results.head(0), results.filter(pl.col("trial") == 0), results.with_columns(state=pl.lit("failed"))):
        assert length_controlled_effects(empty, draws=10).is_empty()
    unscored = results.with_columns(score=pl.lit(None, dtype=pl.Float64))
    assert length_controlled_effects(unscored, draws=10).get_column("n").to_list() == [0, 0, 0]
