"""Importances: how much of what moves the score each parameter accounts for, two ways, each against its null.

Knows designs (`analysis.parameters.designs`) and the estimators of Optuna and scikit-learn; draws nothing.

A parameter without effect in a condition is neither dropped there, as Optuna's fANOVA would do, nor given a stand-in
value, which would lend it the effect of what switched it off. The score does not change with it there, so such a
condition stands for all its values: it gets one drawn from those the parameter has elsewhere, another one in every
fit that the estimate is averaged over.

Trees find something in any numbers. The null says how much: beside each parameter stands a shadow, its values
shuffled among the conditions, which matters for nothing and has the same estimate in the same fits (the idea is
Boruta's: Kursa and Rudnicki 2010, Journal of Statistical Software 36:11). Shuffling the scores instead would ask what
trees find where nothing decides, which is far more.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
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
from analysis.effects.intervals import Floats
from analysis.parameters.designs import Design, read_design

FANOVA, PERMUTATION = "fanova", "permutation"
METHODS = (FANOVA, PERMUTATION)
LEAST_CONDITIONS = 30
"""Below this number of conditions trees tell chance from effects too seldom."""
FITS = 200
"""Fits that an estimate is averaged over, each with a completion and shadows of its own; ten of them lie beyond the
shadows' 95 % quantile."""
_WORTH_WORKERS = 20_000
"""Conditions times fits from which on they are shared out over the processors; starting those takes seconds."""
_TREES, _DEPTH, _FOREST = 8, 5, 20
_SHUFFLES = 3
IMPORTANCE_SCHEMA: Schema = {
    "method": pl.String,
    "parameter": pl.String,
    **dict.fromkeys(("importance", "null"), pl.Float64),
    "conditions": pl.Int64,
    "queries": pl.Int64,
    "mark": pl.String,
}


@dataclass(frozen=True)
class Importances:
    """Importances of both methods, or the reason why there are none.

    Attributes:
        table: columns method, parameter, importance, null (the 95 % quantile of its shadow's), conditions,
            queries (numbers), mark (why the figure is not to be relied on, else null).
        withheld: why there are none, or "".
    """

    table: pl.DataFrame
    withheld: str = ""

    def of(self, method: str) -> pl.DataFrame:
        """Return a method's rows, the largest first."""
        return self.table.filter(pl.col("method") == method).sort("importance", descending=True)


def importances(results: pl.DataFrame, seed: int = 0) -> Importances:
    """Return the importances of the varied parameters from the conditions that move all of them at once.

    - `fanova` (Hutter et al. 2014, ICML): the share of the variance between conditions that a parameter's main
      effect accounts for, 0 to 1, in trees of depth 5; what is lacking to 1 are interactions.
    - `permutation` (Breiman 2001, Machine Learning 45): how much of the variance between conditions a random forest
      no longer predicts in conditions that it was not fitted to, once the parameter's values are shuffled among them;
      about 0, or below, where it has no effect. Where the forest predicts no better than the mean, the rows are marked.

    Optuna's dashboard shows other numbers: it computes fANOVA from all trials, single changes and an optimiser's
    among them, drops trials in which a parameter has no effect, and has no null.
    """
    design = read_design(results)
    if isinstance(design, str):
        return Importances(pl.DataFrame(schema=IMPORTANCE_SCHEMA), design)
    values = design.filled
    n_queries, n = values.shape
    if reason := _withheld(design, values):
        return Importances(pl.DataFrame(schema=IMPORTANCE_SCHEMA), reason)
    generator = np.random.default_rng(seed)
    means = values.mean(axis=0)
    workers = -1 if n * FITS >= _WORTH_WORKERS else 1
    found = list(Parallel(n_jobs=workers)(delayed(_fit)(design, means, own) for own in generator.spawn(FITS)))
    explained = median(one.explained for one in found)
    rows = []
    for method in METHODS:
        estimates = np.nanmean([one.found[method] for one in found], axis=0)
        ends = np.nanquantile([one.shadows[method] for one in found], 0.95, axis=0)
        mark = _mark(explained) if method == PERMUTATION else None
        for name, estimate, end in zip(design.settings, estimates, ends, strict=True):
            rows.append((method, name, float(estimate), float(end), n, n_queries, mark))
    table = pl.DataFrame(rows, schema=IMPORTANCE_SCHEMA, orient="row")
    return Importances(table.sort("importance", descending=True))


def _withheld(design: Design, values: Floats) -> str:
    """Return why these scores, shape (queries, conditions), give no importances, or ""."""
    n = values.shape[1]
    if not design.settings:
        return "no parameter has two values"
    if n > 1 and np.ptp(values.mean(axis=0)) == 0:
        return "all conditions scored the same"
    if n < LEAST_CONDITIONS:
        return f"{n} conditions that move all parameters at once are too few; {LEAST_CONDITIONS} are needed"
    return ""


@dataclass(frozen=True)
class _Fit:
    """Importances by method, shape (parameters,), of parameters and shadows; the variance explained where left out."""

    found: dict[str, Floats]
    shadows: dict[str, Floats]
    explained: float


def _fit(design: Design, means: Floats, generator: np.random.Generator) -> _Fit:
    """Fit both estimators to the conditions' means, shape (conditions,); a third of the forest's are left out."""
    settings = complete(design, generator)
    names, acting = list(settings), dict(design.settings)
    for name in names:
        order = generator.permutation(len(means))
        settings[_shadow(name)] = [settings[name][at] for at in order]
        acting[_shadow(name)] = [design.settings[name][at] for at in order]
    drawn = generator.integers(0, len(means), len(means))
    left_out = np.setdiff1d(np.arange(len(means)), drawn)
    permuted, explained = _permutation(acting, settings, means, drawn, left_out, generator)
    both = {FANOVA: _fanova(settings, means, generator), PERMUTATION: permuted}
    halves = (slice(len(names)), slice(len(names), None))
    own, shadows = ({method: one[half] for method, one in both.items()} for half in halves)
    return _Fit(own, shadows, explained)


def _shadow(name: str) -> str:
    return f"{name} (shadow)"


def _mark(explained: float) -> str | None:
    """Say where the forest's predictions are worth nothing."""
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


def _fanova(settings: dict[str, list[Any]], means: Floats, generator: np.random.Generator) -> Floats:
    """Return the importances that Optuna computes, in the order of the settings; NaN where it finds no variance."""
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
    evaluator = optuna.importance.FanovaImportanceEvaluator(
        n_trees=_TREES, max_depth=_DEPTH, seed=int(generator.integers(2**31))
    )
    try:
        found = evaluator.evaluate(study, params=list(free))
    except (RuntimeError, ValueError):
        return np.full(len(settings), np.nan)
    return np.array([float(found.get(name, 0.0)) for name in settings])


def _distribution(values: list[Any]) -> BaseDistribution | None:
    """Return a domain that spans the values, or None where they are all equal."""
    if len(set(values)) < 2:
        return None
    if isinstance(values[0], str):
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(float(min(values)), float(max(values)))


def _permutation(
    acting: Mapping[str, Sequence[Any]],
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
        acts = np.array([acting[name][at] is not None for at in left_out])
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
