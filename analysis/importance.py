"""Importances: how much of the variation between trials each parameter accounts for, with intervals.

Knows result frames and Optuna's fANOVA; draws nothing.

Optuna's fANOVA (Hutter et al. 2014) drops parameters that some trials lack. Here every trial has every
parameter: where one has no effect (top-p under greedy decoding) it takes its neutral value, which is
what the model decoded with. Trials of an optimiser are refused, because it samples what it likes and so
biases the answer.
"""

from typing import Any

import numpy as np
import optuna
import polars as pl
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from ablations.results import PARAMETER_PREFIX
from analysis.frames import score_matrix, trial_table, varied_parameters

MIN_TRIALS = 10
"""Below this number of different conditions no importance is given."""
DRAWS = 100
_TREES = 32
_DESIGNED = ("baseline", "anchor", "one-factor", "fill", "listed")


def fanova_importances(results: pl.DataFrame, draws: int = DRAWS, seed: int = 0) -> tuple[pl.DataFrame, str | None]:
    """Return fANOVA importances of the designed trials, and a reason where there are none.

    Columns: parameter, importance (share of the variance between trials, 0 to 1), low, high: 95 %
    percentile interval over `draws` resamplings of queries and of trials. The reason is None where
    importances were computed; otherwise the frame is empty.
    """
    empty = pl.DataFrame(
        schema={"parameter": pl.String, "importance": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    )
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    if not set(table.get_column("role")) <= set(_DESIGNED):
        return empty, "the trials were chosen by an optimiser, which biases importances"
    if len(table) < MIN_TRIALS:
        return empty, f"{len(table)} conditions are too few; at least {MIN_TRIALS} are needed"
    names = varied_parameters(results)
    settings = [{name: row[f"{PARAMETER_PREFIX}{name}"] for name in names} for row in table.iter_rows(named=True)]
    matrix = score_matrix(results)
    scores = matrix.select([str(trial) for trial in table.get_column("trial")]).to_numpy().astype(np.float64)
    if np.nanstd(np.nanmean(scores, axis=0)) == 0:
        return empty, "all conditions scored the same"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    point = _importances(settings, np.nanmean(scores, axis=0), seed)
    resampled = _resampled(settings, scores, draws, seed)
    low, high = np.nanquantile(resampled, [0.025, 0.975], axis=0)
    frame = pl.DataFrame({"parameter": names, "importance": point, "low": low, "high": high})
    return frame.sort("importance", descending=True), None


def _resampled(settings: list[dict[str, Any]], scores: Any, draws: int, seed: int) -> Any:
    """Return importances, shape (draws, parameters), over resampled queries (rows) and trials (columns)."""
    generator = np.random.default_rng(seed)
    n_queries, n_trials = scores.shape
    rows = []
    for draw in range(draws):
        queries = generator.integers(0, n_queries, n_queries)
        trials = generator.integers(0, n_trials, n_trials)
        means = np.nanmean(scores[np.ix_(queries, trials)], axis=0)
        rows.append(_importances([settings[index] for index in trials], means, seed + draw))
    return np.array(rows)


def _importances(settings: list[dict[str, Any]], means: Any, seed: int) -> list[float]:
    names = list(settings[0])
    distributions = {name: _distribution([setting[name] for setting in settings]) for name in names}
    free = [name for name in names if distributions[name] is not None]
    trials = [
        optuna.trial.create_trial(
            params={name: setting[name] for name in free},
            distributions={name: distributions[name] for name in free},  # type: ignore[misc]
            value=float(mean),
        )
        for setting, mean in zip(settings, means, strict=True)
    ]
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=free)
    except (RuntimeError, ValueError):
        # A draw in which all trials scored the same has no variance to share out; it is left out.
        return [float("nan")] * len(names)
    return [float(found.get(name, 0.0)) for name in names]


def _distribution(values: list[Any]) -> BaseDistribution | None:
    """Return a domain that spans the values, or None where they are all equal."""
    if len(set(values)) < 2:
        return None
    if isinstance(values[0], str):
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(float(min(values)), float(max(values)))
