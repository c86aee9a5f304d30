"""Win rates: AlpacaEval 2.0's raw and length-controlled share of comparisons a model won.

Knows frames of annotations (`analysis.published.annotations`); neither judges nor where the files came from.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from ablations.core.errors import UsageError
from analysis.effects.intervals import Floats

FOLDS = 5
STRENGTHS: Floats = np.logspace(-4, 4, 10)
SEED = 123
GAMED_WEIGHT = 0.2 / 2
"""Of one gamed row: 0.2 in all, shared by the two gamed baselines."""


@dataclass(frozen=True)
class Coefficients:
    """The regression's weights, in log-odds of a win, as AlpacaEval publishes them per model.

    `length` goes with tanh((baseline's length - model's length) / standard deviation), so that it is negative
    where the judge likes length; `difficulty` (None where that input was lacking) with the instruction's
    difficulty; `model` is what is left to the model. `strength` is the C that cross-validation chose.
    """

    length: float
    difficulty: float | None
    model: float
    strength: float


@dataclass(frozen=True)
class WinRate:
    """How often the judge preferred a model to the baseline, in percent, raw and length-controlled.

    `standard_error` (of the raw mean) is None below two comparisons. `length_controlled_win_rate` is None where
    `reason` says why. `length_controlled_standard_error` is upstream's: the spread of the predictions over
    instructions, without the regression's own uncertainty, so no interval can be made from it. `n` comparisons
    have a preference; `n_missing` have none and count neither in the mean nor in the fit. `lacking` names the
    inputs that were not given and whose terms were left out; the published figure needs both.
    """

    win_rate: float
    standard_error: float | None
    length_controlled_win_rate: float | None
    length_controlled_standard_error: float | None
    reason: str | None
    n: int
    n_missing: int
    n_wins: int
    n_draws: int
    n_losses: int
    lacking: tuple[str, ...]
    coefficients: Coefficients | None


def win_rate(
    annotations: pl.DataFrame, difficulty: pl.DataFrame | None = None, gamed: pl.DataFrame | None = None
) -> WinRate:
    """Return the raw and the length-controlled win rate of one model.

    The raw rate is the mean of preference - 1, its error the sample standard deviation over √n, both in percent.
    The length-controlled rate is that of Dubois et al. (2024, arXiv:2404.04475), with the settings of
    `alpaca-eval` 0.6.6: a logistic regression on length, difficulty and model without intercept, under an L1
    penalty whose strength five folds choose by log-loss; what it predicts were both answers of the same length,
    averaged over all instructions, those without a preference included. Lengths are in characters.

    Args:
        annotations: as `annotations.read_annotations` returns them.
        difficulty: as `annotations.read_difficulty` returns it; where None, taken from `gamed`.
        gamed: as `annotations.read_gamed` returns it; its rows pull the fit with a fifth of a model's weight.

    Raises:
        UsageError: no row has a preference, or an instruction has no difficulty.
    """
    share = annotations.get_column("preference").to_numpy().astype(np.float64) - 1
    known = share[~np.isnan(share)]
    if not len(known):
        raise UsageError(f"none of {len(share)} annotations has a preference from 1 to 2; annotate them again")
    controlled = _length_controlled(annotations, share, difficulty, gamed)
    if difficulty is None and gamed is None:
        lacking: tuple[str, ...] = ("instruction_difficulty", "gamed")
    else:
        lacking = () if gamed is not None else ("gamed",)
    return WinRate(
        win_rate=100 * float(known.mean()),
        standard_error=_standard_error(known),
        length_controlled_win_rate=controlled.rate,
        length_controlled_standard_error=controlled.error,
        reason=controlled.reason,
        n=len(known),
        n_missing=len(share) - len(known),
        n_wins=int((known > 0.5).sum()),
        n_draws=int((known == 0.5).sum()),
        n_losses=int((known < 0.5).sum()),
        lacking=lacking,
        coefficients=controlled.coefficients,
    )


@dataclass(frozen=True)
class _Controlled:
    """A length-controlled rate, or why there is none."""

    rate: float | None = None
    error: float | None = None
    reason: str | None = None
    coefficients: Coefficients | None = None


def _length_controlled(
    annotations: pl.DataFrame, share: Floats, difficulty: pl.DataFrame | None, gamed: pl.DataFrame | None
) -> _Controlled:
    """Return what the regression predicts for answers of the baseline's length; `share` is NaN where missing."""
    if annotations.get_column("generator_1")[0] == annotations.get_column("generator_2")[0]:
        return _Controlled(50.0, 0.0)  # a model against itself, by construction
    known = ~np.isnan(share)
    difference = _length_difference(annotations)
    refusal = _refusal(difference, share[known], pulled=gamed is not None)
    if refusal is not None:
        return _Controlled(reason=refusal)
    if difficulty is None and gamed is not None:
        difficulty = gamed.unique("index", keep="first", maintain_order=True)
    ease = np.zeros((len(share), 0)) if difficulty is None else _difficulty_of(annotations, difficulty)
    design = np.column_stack([np.tanh(difference / difference.std(ddof=1)), ease, np.ones(len(share))])
    rows, shares, weights = _training(design[known], share[known], gamed)
    strength = _chosen_strength(rows, shares, weights)
    fitted = _fit(rows, shares, weights, strength, np.random.RandomState(SEED))
    if not fitted.any() and share[known].mean() != 0.5:
        return _Controlled(reason="too few comparisons: cross-validation shrank every coefficient to 0")
    predicted = _logistic(design[:, 1:] @ fitted[1:])
    ease_weight = float(fitted[1]) if len(fitted) == 3 else None
    coefficients = Coefficients(float(fitted[0]), ease_weight, float(fitted[-1]), strength)
    return _Controlled(100 * float(predicted.mean()), _standard_error(predicted), coefficients=coefficients)


def _length_difference(annotations: pl.DataFrame) -> Floats:
    """Return the baseline's characters less the model's, shape (rows,)."""
    characters = annotations.select(pl.col("output_1", "output_2").str.len_chars().cast(pl.Float64))
    return (characters.get_column("output_1") - characters.get_column("output_2")).to_numpy().astype(np.float64)


def _refusal(difference: Floats, known: Floats, pulled: bool) -> str | None:
    """Return why no regression fits, or None; `pulled` where gamed baselines are part of it."""
    if len(known) < FOLDS:
        return f"{FOLDS} folds need at least {FOLDS} preferences, not {len(known)}"
    if difference.std() == 0:
        return "every answer differs from the baseline's by the same length"
    if not pulled and min((known > 0).sum(), (known < 1).sum()) < 2:
        return "all or all but one of the comparisons ended alike, which fits no regression"
    return None


def _training(design: Floats, shares: Floats, gamed: pl.DataFrame | None) -> tuple[Floats, Floats, Floats]:
    """Return rows, shares and weights of the fit: the gamed baselines' first, as the folds expect them."""
    if gamed is None:
        return design, shares, np.ones(len(shares))
    pulled = gamed.filter(pl.col("preference").is_not_null())
    own = pulled.get_column("not_gamed_baseline").to_numpy().astype(np.float64)
    length = np.tanh(pulled.get_column("std_delta_len").to_numpy())
    theirs = np.column_stack([length, pulled.get_column("instruction_difficulty").to_numpy(), own])
    return (
        np.concatenate([theirs, design]),
        np.concatenate([pulled.get_column("preference").to_numpy(), shares]),
        np.concatenate([np.where(own == 1, 1.0, GAMED_WEIGHT), np.ones(len(shares))]),
    )


def _difficulty_of(annotations: pl.DataFrame, difficulty: pl.DataFrame) -> Floats:
    """Return each row's difficulty, shape (rows,); raise where one has none."""
    found = annotations.select("index").join(difficulty, on="index", how="left", maintain_order="left")
    values = found.get_column("instruction_difficulty")
    if values.null_count():
        row = int(values.is_null().arg_true()[0])
        raise UsageError(
            f"annotations, row {row + 1}: instruction {found.get_column('index')[row]} has no difficulty; give "
            "AlpacaEval's own difficulties with annotations of its own instructions, in its own order, or neither "
            "difficulties nor gamed baselines"
        )
    return values.to_numpy().astype(np.float64)


def _chosen_strength(rows: Floats, shares: Floats, weights: Floats) -> float:
    """Return the C with the best mean log-loss over five folds, the smallest of equals.

    Losses of large C differ by less than the solver's tolerance, so that its random order of coordinates can
    choose among them; one generator per fold, as in scikit-learn's `LogisticRegressionCV`, makes the choice upstream's.
    """
    losses = np.zeros((FOLDS, len(STRENGTHS)))
    folds = GroupKFold(FOLDS).split(rows, groups=np.arange(len(rows)))
    for fold, (train, test) in enumerate(folds):
        generator = np.random.RandomState(SEED)
        for number, strength in enumerate(STRENGTHS):
            fitted = _fit(rows[train], shares[train], weights[train], float(strength), generator)
            chance = np.clip(_logistic(rows[test] @ fitted), 1e-15, 1 - 1e-15)
            loss = shares[test] * np.log(chance) + (1 - shares[test]) * np.log(1 - chance)
            losses[fold, number] = -(loss * weights[test]).mean()
    return float(STRENGTHS[losses.mean(axis=0).argmin()])


def _fit(rows: Floats, shares: Floats, weights: Floats, strength: float, generator: np.random.RandomState) -> Floats:
    """Return the coefficients of a logistic regression on shares between 0 and 1.

    Each row enters twice, as a win with its share and as a loss with the rest of its weight. Without
    convergence (upstream's 100 rounds) the last round counts, as it does upstream.
    """
    outcomes = np.repeat([1, 0], len(rows))
    doubled = np.concatenate([weights * shares, weights * (1 - shares)])
    model = LogisticRegression(
        C=strength, l1_ratio=1.0, solver="liblinear", fit_intercept=False, random_state=generator
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.concatenate([rows, rows]), outcomes, sample_weight=doubled)
    return np.asarray(model.coef_[0], dtype=np.float64)


def _logistic(values: Floats) -> Floats:
    chances: Floats = np.exp(-np.logaddexp(0, -values))
    return chances


def _standard_error(shares: Floats) -> float | None:
    """Return the standard error of a mean, in percent; None below two values."""
    return 100 * float(shares.std(ddof=1)) / float(np.sqrt(len(shares))) if len(shares) > 1 else None
