"""Importances on designed studies of a known surface, and what an optimiser's trials would make of it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from analysis.parameters import importance
from analysis.parameters.designs import read_design
from analysis.parameters.importance import (
    FANOVA,
    METHODS,
    PERMUTATION,
    Importances,
    complete,
    importances,
)
from tests.support.simulated import Floats, study

STYLES = {"none": -3.0, "plain": 0.0, "full": 3.0}
RANKED = ["style", "repetition_penalty", "temperature"]
Settings = dict[str, list[Any]]


def worth(style: str, temperature: float, penalty: float) -> float:
    """A surface on which style decides, the penalty matters a little and temperature all but nothing."""
    return STYLES[style] - 0.5 * temperature - 20 * (penalty - 1.15) ** 2


def designed(n: int, seed: int = 0) -> tuple[Settings, Floats]:
    """Return settings that fill the space and what they are worth, shape (n,)."""
    points = np.random.default_rng(seed).random((n, 2))
    settings: Settings = {
        "style": [list(STYLES)[at % 3] for at in range(n)],
        "temperature": (1.2 * points[:, 0]).round(1).tolist(),
        "repetition_penalty": (1 + 0.5 * points[:, 1]).round(2).tolist(),
    }
    return settings, np.array([worth(*one) for one in zip(*settings.values(), strict=True)])


def judged(means: Floats, seed: int = 0, noise: float = 0.5, queries: int = 10) -> Floats:
    """Return scores of conditions with these means, shape (queries, conditions)."""
    generator = np.random.default_rng(seed)
    return generator.normal(6, 2, (queries, 1)) + means + generator.normal(0, noise, (queries, len(means)))


def as_optuna(settings: Mapping[str, Sequence[Any]], means: Floats) -> optuna.Study:
    """Return a study of Optuna's with these trials, as anybody would make it."""
    kinds = {
        name: CategoricalDistribution(sorted(set(values)))
        if isinstance(values[0], str)
        else FloatDistribution(min(values), max(values))
        for name, values in settings.items()
    }
    made = optuna.create_study(direction="maximize")
    for at, mean in enumerate(means):
        own = {name: values[at] for name, values in settings.items()}
        made.add_trial(optuna.trial.create_trial(params=own, distributions=kinds, value=float(mean)))
    return made


@pytest.fixture(autouse=True, scope="module")
def _resampled() -> Iterator[None]:
    """Enough fits and shuffles for figures, few enough for tests."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "FITS", 30)
        yield


@cache
def of_known_surface() -> Importances:
    settings, means = designed(48)
    return importances(study(judged(means), settings))


@cache
def searched() -> optuna.Study:
    """200 trials of Optuna's own sampler on the surface."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        style = trial.suggest_categorical("style", list(STYLES))
        return worth(
            style, trial.suggest_float("temperature", 0, 1.2), trial.suggest_float("repetition_penalty", 1, 1.5)
        )

    made.optimize(objective, n_trials=200)
    return made


@pytest.mark.parametrize("method", METHODS)
def test_every_method_ranks_what_decides_first_in_a_designed_study(method: str) -> None:
    own = of_known_surface().of(method)
    rows = own.select("parameter", "importance", "null").rows()
    print(f"ranking | {method} | " + ", ".join(f"{name} {share:.2f} (null {null:.2f})" for name, share, null in rows))
    assert own.get_column("parameter").to_list() == RANKED
    assert own.get_column("importance")[0] > own.get_column("null")[0]
    assert own.get_column("mark").null_count() == len(own)
    assert set(own.get_column("conditions")) == {48}


def test_an_inert_parameter_seldom_exceeds_its_null_and_one_that_decides_does() -> None:
    above = dict.fromkeys(("inert", "deciding"), 0)
    for seed in range(5):
        generator = np.random.default_rng(seed)
        settings = {name: generator.random(30).tolist() for name in above}
        means = 2.0 * np.array(settings["deciding"])
        found = importances(study(judged(means, seed, noise=1.0), settings), seed=seed)
        for name in above:
            rows = found.table.filter(pl.col("parameter") == name)
            above[name] += int((rows["importance"] > rows["null"]).sum())
    print(f"null | 30 conditions | above it in how many of 10 figures {above}")
    assert above["inert"] <= 2
    assert above["deciding"] == 10


def test_an_optimisers_trials_and_single_changes_give_none() -> None:
    trials = searched().trials
    settings = {name: [trial.params[name] for trial in trials] for name in RANKED}
    means = np.array([trial.value for trial in trials], dtype=np.float64)
    ours = importances(study(judged(means), settings, roles=["baseline", *["sampled"] * 199]))
    assert ours.table.is_empty()
    assert ours.withheld == "the trials were chosen by an optimiser, which biases what they say about parameters"
    single = importances(
        study(judged(means[:40]), {"temperature": range(40)}, roles=["baseline", *["one-factor"] * 39])
    )
    assert single.table.is_empty()
    assert single.withheld.startswith("single changes around a baseline measure the design")


def test_single_changes_would_rank_five_equal_parameters_by_their_number_of_levels() -> None:
    levels = {"a": 5, "b": 3, "c": 3, "d": 2, "e": 2}
    rows: list[dict[str, float]] = [dict.fromkeys(levels, 0.0)]
    rows += [dict.fromkeys(levels, 0.0) | {name: float(at)} for name, n in levels.items() for at in range(1, n)]
    settings = {name: [row[name] for row in rows] for name in levels}
    means = np.array([-1.0 if any(row.values()) else 0.0 for row in rows])
    theirs = get_param_importances(as_optuna(settings, means), evaluator=FanovaImportanceEvaluator(seed=0))
    print(f"design | five parameters with equal effects, one factor at a time | {theirs}")
    assert max(theirs.values()) > 2 * min(theirs.values())


def conditional(effect: float) -> pl.DataFrame:
    """Half of the conditions are greedy, which costs 2 points; top_p moves the others by `effect`."""
    temperatures = [0.0, 0.7] * 20
    top_ps = [None if temperature == 0 else [0.5, 0.7, 0.9][at // 2 % 3] for at, temperature in enumerate(temperatures)]
    means = [2.0 if top_p is None else 4 + effect * (top_p - 0.7) * 5 for top_p in top_ps]
    return study(judged(np.array(means), noise=0.3), {"temperature": temperatures, "top_p": top_ps})


def test_a_parameter_does_not_inherit_the_effect_of_what_switches_it_off() -> None:
    found = importances(conditional(effect=0.0))
    for method in METHODS:
        rows = {row["parameter"]: row for row in found.of(method).to_dicts()}
        assert rows["temperature"]["importance"] > 0.85
        assert abs(rows["top_p"]["importance"]) < 0.1


def test_a_neutral_value_would_lend_it_that_effect_and_leaving_it_out_would_drop_it() -> None:
    results = conditional(effect=0.0)
    design = read_design(results)
    assert not isinstance(design, str)
    means = design.filled.mean(axis=0)
    naive = {name: [1.0 if value is None else value for value in own] for name, own in design.settings.items()}
    shares = get_param_importances(as_optuna(naive, means), evaluator=FanovaImportanceEvaluator(seed=0))
    print(f"conditional parameter without effect | neutral value {shares['top_p']:.2f}")
    assert shares["top_p"] > 0.05
    made = optuna.create_study()
    for at, mean in enumerate(means):
        own = {name: values[at] for name, values in design.settings.items() if values[at] is not None}
        kinds = {name: FloatDistribution(0, 1) for name in own}
        made.add_trial(optuna.trial.create_trial(params=own, distributions=kinds, value=float(mean)))
    assert set(get_param_importances(made, evaluator=FanovaImportanceEvaluator(seed=0))) == {"temperature"}


def test_a_conditional_parameter_that_matters_where_it_acts_is_not_dropped() -> None:
    found = importances(conditional(effect=1.0))
    for method in (FANOVA, PERMUTATION):
        rows = {row["parameter"]: row for row in found.of(method).to_dicts()}
        assert rows["temperature"]["importance"] > rows["top_p"]["importance"] > 0.05
        assert rows["top_p"]["importance"] > rows["top_p"]["null"]


def test_what_completes_a_setting_is_drawn_from_its_values_elsewhere() -> None:
    design = read_design(conditional(effect=0.0))
    assert not isinstance(design, str)
    settings = complete(design, np.random.default_rng(0))
    assert set(settings["top_p"]) == {0.5, 0.7, 0.9}
    assert settings["top_p"][1::2] == list(design.settings["top_p"])[1::2]
    assert settings["top_p"] != complete(design, np.random.default_rng(1))["top_p"]


def test_fanova_agrees_with_optunas_own_call_where_no_parameter_is_conditional() -> None:
    settings, means = designed(48)
    scores = judged(means)
    theirs = FanovaImportanceEvaluator(seed=0).evaluate(as_optuna(settings, scores.mean(axis=0)))
    ours = dict(of_known_surface().of(FANOVA).select("parameter", "importance").iter_rows())
    assert ours == pytest.approx(theirs, abs=0.06)


def test_where_the_forest_predicts_nothing_the_permutation_rows_are_marked() -> None:
    settings, means = designed(30)
    found = importances(study(judged(0 * means), settings))
    for row in found.of(PERMUTATION).to_dicts():
        assert row["mark"].startswith("the forest predicts left-out conditions no better than their mean does (R² -")
    assert found.of(FANOVA).get_column("mark").null_count() == 3


def test_what_cannot_be_said_is_withheld_with_its_reason() -> None:
    settings, means = designed(12)
    few = importances(study(judged(means), settings))
    assert few.withheld == "12 conditions that move all parameters at once are too few; 30 are needed"
    equal = importances(study(np.full((3, 12), 0.1), settings))
    assert equal.withheld == "all conditions scored the same"
    alone = importances(study(judged(means), {"temperature": [1.0] * 12}))
    assert alone.withheld == "no parameter has two values"
    failed = importances(study(judged(means), settings, states=["failed"] * 12))
    assert failed.withheld == "no trial is complete"
    for one in (few, equal, alone, failed):
        assert one.table.is_empty()


def test_missing_scores_one_query_and_a_single_different_condition_still_give_numbers() -> None:
    settings, means = designed(30)
    scores = judged(means)
    scores[np.random.default_rng(0).random(scores.shape) < 0.3] = np.nan
    odd = np.full((1, 30), 5.0)
    odd[0, 3] = 6
    for values in (scores, judged(means)[:1], odd):
        table = importances(study(values, settings)).table
        assert len(table) == 6
        assert table.select(pl.col("importance", "null").is_finite().all()).row(0) == (True, True)


def test_fits_shared_out_over_the_processors_give_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, means = designed(30)
    results = study(judged(means), settings)
    alone = importances(results)
    workers = []

    class Watched(importance.Parallel):  # type: ignore[misc, name-defined]
        def __init__(self, n_jobs: int) -> None:
            workers.append(n_jobs)
            super().__init__(n_jobs=n_jobs)

    monkeypatch.setattr(importance, "Parallel", Watched)
    monkeypatch.setattr(importance, "_WORTH_WORKERS", 30 * 6)
    assert importances(results).table.equals(alone.table)
    assert workers == [-1]
