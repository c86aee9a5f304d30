"""Win rates: arithmetic by hand, simulated truth, and fits checked against two independent ones."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn import config_context
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold

from ablations.core.errors import UsageError
from analysis.published.win_rate import GAMED_WEIGHT, STRENGTHS, WinRate, win_rate

Floats = NDArray[np.float64]
N = 805


def frame(shares: Any, first: Any = None, second: Any = None, model: str = "model") -> pl.DataFrame:
    """Annotations with these shares (None where missing) and lengths in characters."""
    n = len(shares)
    lengths = (range(10, 10 + n) if first is None else first, [20] * n if second is None else second)
    return pl.DataFrame(
        {
            "index": range(n),
            "instruction": [f"instruction {number}" for number in range(n)],
            "output_1": ["a" * int(length) for length in lengths[0]],
            "output_2": ["b" * int(length) for length in lengths[1]],
            "generator_1": ["baseline"] * n,
            "generator_2": [model] * n,
            "preference": [None if share is None else 1 + float(share) for share in shares],
        },
        schema_overrides={"preference": pl.Float64},
    )


def logistic(values: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-values))
    return result


def simulated(
    model: float = 0.0, extra: int = 900, length: float = -1.5, seed: int = 0, n: int = N
) -> tuple[pl.DataFrame, pl.DataFrame, Floats]:
    """Annotations by a judge with these coefficients, the difficulties it used, and its length term."""
    generator = np.random.default_rng(seed)
    difficulty = np.random.default_rng(99).normal(0, 1.5, n)
    difficulty -= difficulty.mean()
    first = generator.integers(200, 3000, n)
    second = np.maximum(1, first + extra + generator.normal(0, 800, n)).astype(int)
    term = (first - second) / (first - second).std(ddof=1)
    shares = logistic(length * np.tanh(term) + difficulty + model + generator.normal(0, 0.5, n))
    given = pl.DataFrame({"index": range(n), "instruction_difficulty": difficulty})
    return frame(shares, first, second), given, term


def gamed_baselines(seed: int = 7, model: float = 0.0) -> pl.DataFrame:
    """A verbose and a concise baseline, as `read_gamed` returns them."""
    tables = []
    for number, extra in enumerate((500, -500)):
        annotations, difficulty, term = simulated(model=model, extra=extra, seed=seed + number)
        tables.append(
            difficulty.with_columns(
                preference=annotations.get_column("preference") - 1,
                std_delta_len=pl.Series(term),
                not_gamed_baseline=pl.lit(False),
            )
        )
    return pl.concat(tables)


def test_the_raw_rate_is_the_mean_share_of_what_has_a_preference() -> None:
    rate = win_rate(frame([1, 0, 0.5, 0.25, 0.5, None, None]))
    assert rate.win_rate == pytest.approx(45.0)
    assert rate.standard_error == pytest.approx(100 * np.sqrt(0.55 / 4) / np.sqrt(5))
    assert (rate.n, rate.n_missing) == (5, 2)
    assert (rate.n_wins, rate.n_draws, rate.n_losses) == (1, 2, 2)


def test_one_comparison_has_no_standard_error_and_none_is_an_error() -> None:
    rate = win_rate(frame([0.75]))
    assert (rate.win_rate, rate.standard_error, rate.length_controlled_win_rate) == (75.0, None, None)
    with pytest.raises(UsageError, match="none of 2 annotations has a preference"):
        win_rate(frame([None, None]))


@pytest.mark.parametrize("inputs", [0, 1, 2])
def test_a_model_whose_only_advantage_is_length_comes_to_50(inputs: int) -> None:
    rates = []
    for seed in range(5):
        annotations, difficulty, _ = simulated(model=0.0, extra=900, seed=seed)
        rates.append(win_rate(annotations, *(difficulty, gamed_baselines())[:inputs]))
    assert np.mean([rate.win_rate for rate in rates]) > 60
    controlled = [rate.length_controlled_win_rate or 0.0 for rate in rates]
    assert np.mean(controlled) == pytest.approx(50, abs=1)
    assert controlled == pytest.approx([50] * 5, abs=4)


def test_a_better_model_with_short_answers_is_found_better() -> None:
    annotations, difficulty, _ = simulated(model=0.8, extra=-900)
    rate = win_rate(annotations, difficulty, gamed_baselines())
    truth = 100 * logistic(difficulty.get_column("instruction_difficulty").to_numpy() + 0.8).mean()
    assert rate.win_rate < 55
    assert rate.length_controlled_win_rate == pytest.approx(truth, abs=2)


def training(annotations: pl.DataFrame, *given: pl.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Rows, shares and weights of the published fit, written out once more."""
    own = annotations.select(
        d=pl.col("output_1").str.len_chars().cast(pl.Float64) - pl.col("output_2").str.len_chars(),
        share=pl.col("preference") - 1,
        one=pl.lit(1.0),
    ).with_columns(d=(pl.col("d") / pl.col("d").std()).tanh(), weight=pl.lit(1.0))
    columns = ["d", "one", "share", "weight"]
    if given:
        own = own.with_columns(e=given[0].get_column("instruction_difficulty"))
        columns.insert(1, "e")
    parts = [own.drop_nulls().select(columns)]
    if len(given) == 2:
        gamed = given[1].select(
            d=pl.col("std_delta_len").tanh(),
            e="instruction_difficulty",
            one=pl.lit(0.0),
            share="preference",
            weight=pl.lit(0.1),
        )
        parts.insert(0, gamed.select(columns))
    table = pl.concat(parts).to_numpy()
    return table[:, :-2], table[:, -2], table[:, -1]


def cases() -> list[Any]:
    annotations, difficulty, _ = simulated(model=-1.0, extra=300, seed=4)
    preferences = annotations.get_column("preference").to_list()
    annotations = annotations.with_columns(
        preference=pl.Series([None if number % 97 == 5 else value for number, value in enumerate(preferences)])
    )
    gamed = gamed_baselines()
    return [
        pytest.param((annotations,), id="neither"),
        pytest.param((annotations, difficulty), id="difficulty"),
        pytest.param((annotations, difficulty, gamed), id="both"),
    ]


@pytest.mark.parametrize("case", cases())
def test_the_fit_minimises_the_penalised_likelihood_at_the_chosen_strength(case: tuple[pl.DataFrame, ...]) -> None:
    """Directly: |b| + C × weighted log-loss, with b split into its positive and its negative part."""
    rows, shares, weights = training(*case)
    rate = win_rate(*case)
    assert rate.coefficients is not None
    k, strength = rows.shape[1], rate.coefficients.strength

    def objective(parts: Floats) -> tuple[float, Floats]:
        scores = rows @ (parts[:k] - parts[k:])
        loss = weights @ (np.logaddexp(0, -scores) * shares + np.logaddexp(0, scores) * (1 - shares))
        slope = strength * rows.T @ (weights * (logistic(scores) - shares))
        return parts.sum() + strength * loss, 1 + np.concatenate([slope, -slope])

    best = minimize(
        objective,
        np.zeros(2 * k),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * k),
        options={"ftol": 1e-15, "gtol": 1e-8, "maxiter": 5000},
    )
    fitted = best.x[:k] - best.x[k:]
    found = [rate.coefficients.length, rate.coefficients.difficulty, rate.coefficients.model]
    assert [value for value in found if value is not None] == pytest.approx(fitted.tolist(), abs=0.02)
    ease = case[1].get_column("instruction_difficulty").to_numpy() if len(case) > 1 else np.zeros(N)
    controlled = 100 * logistic(ease * (fitted[1] if k == 3 else 0) + fitted[-1]).mean()
    assert rate.length_controlled_win_rate == pytest.approx(controlled, abs=0.05)


@pytest.mark.parametrize("case", cases())
def test_the_fit_is_that_of_scikit_learns_cross_validated_regression(case: tuple[pl.DataFrame, ...]) -> None:
    """The estimator that upstream calls, with its settings, but for rounding."""
    rows, shares, weights = training(*case)

    def log_loss(y: Floats, chance: Floats, chances: Floats, of_rows: Floats) -> float:
        target = np.where(y == 1, chances, 1 - chances)
        return float(-np.mean(of_rows * (target * np.log(chance) + (1 - target) * np.log(1 - chance))))

    doubled, chances = np.concatenate([weights, weights]), np.concatenate([shares, 1 - shares])
    scorer = make_scorer(log_loss, response_method="predict_proba", greater_is_better=False)
    with config_context(enable_metadata_routing=True):
        model = LogisticRegressionCV(
            Cs=10,
            l1_ratios=(1.0,),
            solver="liblinear",
            fit_intercept=False,
            random_state=123,
            cv=GroupKFold(5),
            scoring=scorer.set_score_request(chances=True, of_rows=True),
            use_legacy_attributes=False,
        ).set_fit_request(sample_weight=True)
        model.fit(
            np.concatenate([rows, rows]),
            np.repeat([1, 0], len(rows)),
            sample_weight=doubled * chances,
            groups=np.tile(np.arange(len(rows)), 2),
            chances=chances,
            of_rows=doubled,
        )
    coefficients = win_rate(*case).coefficients
    assert coefficients is not None
    found = [coefficients.length, coefficients.difficulty, coefficients.model]
    assert [value for value in found if value is not None] == pytest.approx(model.coef_[0].tolist(), rel=1e-12)
    assert coefficients.strength == float(model.C_)
    assert coefficients.strength in STRENGTHS


def test_what_is_lacking_is_named() -> None:
    annotations, difficulty, _ = simulated()
    gamed = gamed_baselines()
    assert win_rate(annotations).lacking == ("instruction_difficulty", "gamed")
    assert win_rate(annotations, difficulty).lacking == ("gamed",)
    assert win_rate(annotations, difficulty, gamed).lacking == ()
    without = win_rate(annotations).coefficients
    assert without is not None
    assert without.difficulty is None


def test_gamed_baselines_bring_the_difficulties_along() -> None:
    annotations, difficulty, _ = simulated()
    gamed = gamed_baselines()
    assert win_rate(annotations, None, gamed) == win_rate(annotations, difficulty, gamed)


def test_gamed_baselines_pull_the_length_coefficient_and_their_missing_preferences_do_nothing() -> None:
    annotations, difficulty, _ = simulated(length=-0.3)
    gamed = gamed_baselines()
    alone, pulled = win_rate(annotations, difficulty), win_rate(annotations, difficulty, gamed)
    assert alone.coefficients is not None
    assert pulled.coefficients is not None
    assert pulled.coefficients.length < alone.coefficients.length - 0.05
    more = pl.concat([gamed, gamed.head(3).with_columns(preference=pl.lit(None, dtype=pl.Float64))])
    assert win_rate(annotations, difficulty, more) == pulled
    assert pytest.approx(0.1) == GAMED_WEIGHT


def test_instructions_without_a_preference_count_in_the_prediction() -> None:
    """As upstream: the prediction is averaged over every instruction, whether it taught the fit or not."""
    annotations, difficulty, _ = simulated()
    hard = pl.Series(np.where(difficulty.get_column("instruction_difficulty").to_numpy() > 1, np.nan, 0.0))
    fewer = annotations.with_columns(preference=(pl.col("preference") + hard).fill_nan(None))
    rate = win_rate(fewer, difficulty)
    assert rate.coefficients is not None
    assert rate.coefficients.difficulty is not None
    ease = difficulty.get_column("instruction_difficulty").to_numpy()
    everything = logistic(ease * rate.coefficients.difficulty + rate.coefficients.model)
    assert rate.length_controlled_win_rate == pytest.approx(100 * everything.mean())
    assert rate.length_controlled_standard_error == pytest.approx(100 * everything.std(ddof=1) / np.sqrt(N))


def test_the_order_of_difficulties_does_not_matter_and_a_lacking_one_is_named() -> None:
    annotations, difficulty, _ = simulated()
    assert win_rate(annotations, difficulty.reverse()) == win_rate(annotations, difficulty)
    with pytest.raises(UsageError, match="row 801: instruction 800 has no difficulty"):
        win_rate(annotations, difficulty.head(800))


def test_a_model_against_itself_is_at_50_by_construction() -> None:
    rate = win_rate(frame([0.5] * 6, model="baseline"))
    assert (rate.length_controlled_win_rate, rate.reason) == (50.0, None)


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        (frame([1, 0, 1, 0, None]), "at least 5 preferences, not 4"),
        (frame([1, 0, 1, 0, 1], first=[10] * 5), "by the same length"),
        (frame([1] * 9), "ended alike"),
        (frame([0] * 8 + [1]), "ended alike"),
        (frame([1, 0, 1, 0, 1]), "shrank every coefficient"),
    ],
)
def test_where_no_regression_fits_the_reason_stands_in_its_place(annotations: pl.DataFrame, reason: str) -> None:
    rate: WinRate = win_rate(annotations)
    assert rate.length_controlled_win_rate is None
    assert rate.coefficients is None
    assert rate.reason is not None
    assert reason in rate.reason
