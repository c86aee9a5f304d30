"""Importances: how much of what moves the score each parameter accounts for, three ways, each with an interval.

Knows designs (`analysis.effects.designs`) and the estimators of Optuna and scikit-learn; draws nothing.

A parameter without effect in a condition is neither dropped there, as Optuna's fANOVA would do, nor given a stand-in
value, which would lend it the effect of what switched it off. The score does not change with it there, so such a
condition stands for all its values: it gets one drawn from those the parameter has elsewhere, another one in every
resampling and in each of the fits that the estimate is averaged over.
"""

import warnings
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import polars as pl
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.parallel import Parallel, delayed

from ablations.core.schema import Schema
from analysis.effects.designs import Design, read_design
from analysis.effects.intervals import Floats

FANOVA, PED_ANOVA, PERMUTATION = "fanova", "ped-anova", "permutation"
LEAST_CONDITIONS = {FANOVA: 10, PED_ANOVA: 20, PERMUTATION: 10}
"""Below this number of conditions a method gives no importance; PED-ANOVA looks at the best half, which should hold
ten."""
_BEST = 0.5
"""Share of the conditions that PED-ANOVA sets against all. In Optuna's tenth everything that decides is settled: where
a style of three decided, a third of the conditions had it, so that another parameter told the tenth from that third."""
DRAWS = 100
FITS, MANY = 32, 200
"""Fits that an estimate is averaged over, each with a completion of its own; a quarter of them from so many conditions
on, which lend less to chance. In a study of 14 conditions estimates of other seeds differ by 0.015 (standard deviation)
with 32 fits and by 0.03 with 8."""
_WORTH_WORKERS = 20_000
"""Conditions times draws from which on the draws are shared out over the processors; starting them takes seconds."""
_TREES, _DEPTH, _FOREST = 8, 5, 20
_SHUFFLES = 3
IMPORTANCE_SCHEMA: Schema = {
    "method": pl.String,
    "parameter": pl.String,
    **dict.fromkeys(("importance", "low", "high"), pl.Float64),
    "conditions": pl.Int64,
    "queries": pl.Int64,
    "mark": pl.String,
}


@dataclass(frozen=True)
class Importances:
    """Importances of all methods, and the reasons why a method has none.

    Attributes:
        table: columns method, parameter, importance, low, high (95 % percentiles over resampled queries and
            conditions), conditions, queries (numbers), mark (why the figure is not to be relied on, else null).
        withheld: why a method gave none, by method.
    """

    table: pl.DataFrame
    withheld: dict[str, str]

    def of(self, method: str) -> pl.DataFrame:
        """Return a method's rows, the largest first."""
        return self.table.filter(pl.col("method") == method).sort("importance", descending=True)


def importances(results: pl.DataFrame, draws: int | None = None, seed: int = 0) -> Importances:
    """Return the importances of the varied parameters from the designed conditions of a study.

    - `fanova` (Hutter et al. 2014, ICML): the share of the variance between conditions that a parameter's main
      effect accounts for, 0 to 1, in trees of depth 5; what is lacking to 1 are interactions.
    - `ped-anova` (Watanabe et al. 2023, IJCAI): how much the best half of the conditions differs in a parameter from
      all of them, as a share of all parameters' differences, 0 to 1.
    - `permutation` (Breiman 2001, Machine Learning 45): how much of the variance between conditions a random forest
      no longer predicts in conditions that it was not fitted to, once the parameter's values are shuffled among them;
      about 0, or below, where it has no effect. Where the forest predicts no better than the mean, the rows are marked.

    Intervals say how far the ranking would change with other queries and conditions. They are not calibrated to 95 %:
    trees fitted to few conditions are biased, and in simulated studies of 30 conditions those of `fanova` held the
    share that 400 conditions have in four to nine studies of ten.

    `draws` resamplings make the intervals, `DRAWS` where None. Each method needs `LEAST_CONDITIONS`; trials of an
    optimiser are refused by all of them (`designs.DESIGNED`).
    """
    design = read_design(results)
    if isinstance(design, str):
        return Importances(pl.DataFrame(schema=IMPORTANCE_SCHEMA), dict.fromkeys(LEAST_CONDITIONS, design))
    values = design.filled
    n_queries, n_conditions = values.shape
    withheld = _withheld(values) if design.settings else dict.fromkeys(LEAST_CONDITIONS, "no parameter has two values")
    methods = [method for method in LEAST_CONDITIONS if method not in withheld]
    if not methods:
        return Importances(pl.DataFrame(schema=IMPORTANCE_SCHEMA), withheld)
    generator = np.random.default_rng(seed)
    estimates = _averaged(design, methods, generator)
    drawn = _resampled(design, methods, generator.spawn(DRAWS if draws is None else draws))
    names = list(design.settings)
    rows = []
    for method in methods:
        found = [draw.found[method] for draw in drawn]
        if np.isnan(found).all() or np.isnan(estimates.get(method, np.zeros(1))).all():
            withheld[method] = f"so many conditions score the same that {method} cannot tell them apart"
            continue
        own = estimates[method] if method in estimates else np.nanmean(found, axis=0)
        low, high = np.nanquantile(found, [0.025, 0.975], axis=0)
        mark = _mark(drawn) if method == PERMUTATION else None
        for name, estimate, below, above in zip(names, own, low, high, strict=True):
            ends = (float(min(below, estimate)), float(max(above, estimate)))
            rows.append((method, name, float(estimate), *ends, n_conditions, n_queries, mark))
    table = pl.DataFrame(rows, schema=IMPORTANCE_SCHEMA, orient="row")
    return Importances(table.sort("importance", descending=True), withheld)


def _withheld(values: Floats) -> dict[str, str]:
    """Return the methods that these scores, shape (queries, conditions), do not allow, with the reason."""
    n_conditions = values.shape[1]
    if n_conditions > 1 and np.ptp(values.mean(axis=0)) == 0:
        return dict.fromkeys(LEAST_CONDITIONS, "all conditions scored the same")
    return {
        method: f"{n_conditions} conditions are too few; {method} needs {least}"
        for method, least in LEAST_CONDITIONS.items()
        if n_conditions < least
    }


@dataclass(frozen=True)
class _Draw:
    """Importances by method, shape (parameters,), and the variance that the forest explained in left-out conditions."""

    found: dict[str, Floats]
    explained: float


def _resampled(design: Design, methods: Sequence[str], generators: list[np.random.Generator]) -> list[_Draw]:
    """Return a draw by each generator, on several processors where that is worth starting them."""
    values = design.filled
    workers = -1 if values.shape[1] * len(generators) >= _WORTH_WORKERS else 1
    return list(Parallel(n_jobs=workers)(delayed(_draw)(design, values, methods, own) for own in generators))


def _draw(design: Design, values: Floats, methods: Sequence[str], generator: np.random.Generator) -> _Draw:
    """Resample the queries and the conditions of `values`, shape (queries, conditions), and estimate importances.

    The conditions that are not drawn are those that the forest is tested on.
    """
    means = values[generator.integers(0, len(values), len(values))].mean(axis=0)
    n = len(means)
    settings = complete(design, generator)
    drawn = generator.integers(0, n, n)
    chosen = {name: [own[at] for at in drawn] for name, own in settings.items()}
    found = _from_optuna(methods, chosen, means[drawn], generator)
    explained = float("nan")
    if PERMUTATION in methods:
        left_out = np.setdiff1d(np.arange(n), drawn)
        found[PERMUTATION], explained = _permutation(design, settings, means, drawn, left_out, generator)
    return _Draw(found, explained)


def _mark(drawn: Sequence[_Draw]) -> str | None:
    """Say where the forest's predictions are worth nothing."""
    explained = float(np.nanmedian([draw.explained for draw in drawn]))
    if explained > 0:
        return None
    return f"the forest predicts left-out conditions no better than their mean does (R² {explained:.2f})"


def complete(design: Design, generator: np.random.Generator) -> dict[str, list[Any]]:
    """Return the settings with a value drawn for every parameter that has no effect in a condition."""
    completed = {}
    for name, values in design.settings.items():
        known = [value for value in values if value is not None]
        drawn = generator.integers(0, len(known), len(values))
        completed[name] = [known[at] if value is None else value for value, at in zip(values, drawn, strict=True)]
    return completed


def _averaged(design: Design, methods: Sequence[str], generator: np.random.Generator) -> dict[str, Floats]:
    """Return the estimates by method, shape (parameters,), averaged over fits."""
    means = design.filled.mean(axis=0)
    fits = FITS if len(means) < MANY else FITS // 4
    found = [_from_optuna(methods, complete(design, generator), means, generator) for _ in range(fits)]
    return {method: np.nanmean([one[method] for one in found], axis=0) for method in found[0]}


_UNUSED: dict[str, Any] = {
    **dict.fromkeys(("datetime_start", "datetime_complete")),
    **{name: {} for name in ("user_attrs", "system_attrs", "intermediate_values")},
}


class _Evaluated(optuna.Study):
    """A study with given trials, of which Optuna's own storage would make three copies each."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        storage = optuna.storages.InMemoryStorage()
        storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "evaluated")
        super().__init__("evaluated", storage)
        self._given = trials

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the trials, all of which are complete."""
        return self._given


def _from_optuna(
    methods: Collection[str], settings: dict[str, list[Any]], means: Floats, generator: np.random.Generator
) -> dict[str, Floats]:
    """Return the importances that Optuna computes, by method, in the order of the settings.

    They are NaN for a draw in which all conditions scored the same.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: _distribution(values) for name, values in settings.items()}
    free = {name: kind for name, kind in distributions.items() if kind is not None}
    columns = [settings[name] for name in free]
    study = _Evaluated(
        [
            FrozenTrial(
                number=number,
                trial_id=number,
                state=TrialState.COMPLETE,
                value=float(mean),
                params=dict(zip(free, values, strict=True)),
                distributions=free,
                **_UNUSED,
            )
            for number, (*values, mean) in enumerate(zip(*columns, means, strict=True))
        ]
    )
    seed = int(generator.integers(2**31))
    evaluators: dict[str, Any] = {
        FANOVA: optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=seed),
        PED_ANOVA: optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_BEST),
    }
    return {
        method: _evaluated(study, evaluators[method], list(free), list(settings), normalize=method == PED_ANOVA)
        for method in methods
        if method in evaluators
    }


def _evaluated(study: optuna.Study, evaluator: Any, free: list[str], names: list[str], normalize: bool) -> Floats:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # said of `normalize`
            warnings.filterwarnings("error", "Target and region quantiles")  # of ties: the best half is all of them
            found = optuna.importance.get_param_importances(
                study, evaluator=evaluator, params=free, normalize=normalize
            )
    except (RuntimeError, ValueError, UserWarning):
        return np.full(len(names), np.nan)
    return np.array([float(found.get(name, 0.0)) for name in names])


def _distribution(values: list[Any]) -> BaseDistribution | None:
    """Return a domain that spans the values, or None where they are all equal."""
    if len(set(values)) < 2:
        return None
    if isinstance(values[0], str):
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(float(min(values)), float(max(values)))


def _permutation(
    design: Design,
    settings: dict[str, list[Any]],
    means: Floats,
    drawn: Any,
    left_out: Any,
    generator: np.random.Generator,
) -> tuple[Floats, float]:
    """Return the explained variance that shuffling each parameter costs in the left-out conditions, and all of it.

    A parameter is shuffled among the conditions in which it has an effect; elsewhere it stays as it is.
    """
    names = list(settings)
    if len(left_out) < 2 or np.ptp(means[drawn]) == 0:
        return np.full(len(names), np.nan), float("nan")
    table = _encoded(settings)
    forest = RandomForestRegressor(n_estimators=_FOREST, random_state=int(generator.integers(2**31)))
    forest.fit(np.column_stack([table[name] for name in names])[drawn], means[drawn])
    variance = float(means.var())
    shuffled = [[table[name][left_out] for name in names]]
    for place, name in enumerate(names):
        acts = np.array([design.settings[name][at] is not None for at in left_out])
        for _ in range(_SHUFFLES):
            moved = table[name][left_out].copy()
            moved[acts] = generator.permutation(moved[acts])
            shuffled.append([moved if at == place else column for at, column in enumerate(shuffled[0])])
    predicted = forest.predict(np.concatenate([np.column_stack(columns) for columns in shuffled]))
    errors = ((predicted.reshape(len(shuffled), -1) - means[left_out]) ** 2).mean(axis=1)
    lost = (errors[1:].reshape(len(names), _SHUFFLES).mean(axis=1) - errors[0]) / variance
    return lost, 1 - float(errors[0]) / variance


def _encoded(settings: dict[str, list[Any]]) -> dict[str, Floats]:
    """Return each parameter as columns of numbers, shape (conditions, columns): categories one by one."""
    encoded = {}
    for name, values in settings.items():
        column = np.array(values).reshape(-1, 1)
        text = isinstance(values[0], str)
        encoded[name] = OneHotEncoder(sparse_output=False).fit_transform(column) if text else column.astype(np.float64)
    return encoded
