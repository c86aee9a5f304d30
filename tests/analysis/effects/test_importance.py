"""Importances on designed studies of a known surface, and what an optimiser's trials would make of it."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

from analysis.effects import importance
from analysis.effects.designs import read_design
from analysis.effects.importance import (
    FANOVA,
    LEAST_CONDITIONS,
    PED_ANOVA,
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


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@cache
def of_known_surface() -> Importances:
    settings, means = designed(48)
    return importances(study(judged(means), settings), draws=15)


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


@pytest.mark.parametrize("method", list(LEAST_CONDITIONS))
def test_every_method_ranks_what_decides_first_in_a_designed_study(method: str) -> None:
    own = of_known_surface().of(method)
    rows = own.select("parameter", "importance", "low", "high").rows()
    print(f"ranking | {method} | " + ", ".join(f"{name} {share:.2f} [{a:.2f}, {b:.2f}]" for name, share, a, b in rows))
    assert own.get_column("parameter")[0] == "style"
    assert own.get_column("low")[0] > own.get_column("importance")[1]
    assert own.get_column("mark").null_count() == len(own)
    assert set(own.get_column("conditions")) == {48}
    if method != PED_ANOVA:  # of small shares it tells none apart
        assert own.get_column("parameter").to_list() == RANKED


def test_of_an_optimisers_trials_ped_anova_says_the_reverse_of_the_truth_so_that_all_are_withheld() -> None:
    trials = searched().trials
    theirs = get_param_importances(searched(), evaluator=PedAnovaImportanceEvaluator())
    right = get_param_importances(searched(), evaluator=FanovaImportanceEvaluator(n_trees=8, seed=0))
    print(f"ranking | 200 trials of TPE | PED-ANOVA {theirs} fANOVA {right}")
    assert list(theirs)[-1] == "style" == next(iter(right))
    assert theirs["style"] < 0.1 < 0.9 < right["style"]
    settings = {name: [trial.params[name] for trial in trials] for name in RANKED}
    means = np.array([trial.value for trial in trials], dtype=np.float64)
    ours = importances(study(judged(means), settings, roles=["baseline", *["sampled"] * 199]))
    assert ours.table.is_empty()
    reason = "the trials were chosen by an optimiser, which biases what they say about parameters"
    assert ours.withheld == dict.fromkeys(LEAST_CONDITIONS, reason)


def test_optunas_best_tenth_misranks_even_a_designed_study_and_the_best_half_does_not() -> None:
    firsts = {}
    for share in (0.1, 0.5):
        evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
        found = [get_param_importances(as_optuna(*designed(60, seed)), evaluator=evaluator) for seed in range(10)]
        firsts[share] = sum(next(iter(one)) == "style" for one in found)
    print(f"ranking | PED-ANOVA, style first in how many of 10 designed studies, by share taken for best | {firsts}")
    assert firsts[0.1] <= 3
    assert firsts[0.5] == 10


def conditional(effect: float) -> pl.DataFrame:
    """Half of the conditions are greedy, which costs 2 points; top_p moves the others by `effect`."""
    temperatures = [0.0, 0.7] * 20
    top_ps = [None if temperature == 0 else [0.5, 0.7, 0.9][at // 2 % 3] for at, temperature in enumerate(temperatures)]
    means = [2.0 if top_p is None else 4 + effect * (top_p - 0.7) * 5 for top_p in top_ps]
    return study(judged(np.array(means), noise=0.3), {"temperature": temperatures, "top_p": top_ps})


def test_a_parameter_does_not_inherit_the_effect_of_what_switches_it_off() -> None:
    found = importances(conditional(effect=0.0), draws=10)
    for method in LEAST_CONDITIONS:
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
    found = importances(conditional(effect=1.0), draws=10)
    for method in (FANOVA, PERMUTATION):
        rows = {row["parameter"]: row for row in found.of(method).to_dicts()}
        assert rows["temperature"]["importance"] > rows["top_p"]["importance"] > 0.05
        assert rows["top_p"]["low"] > 0


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
    settings, means = designed(20)
    found = importances(study(judged(0 * means), settings), draws=15)
    for row in found.of(PERMUTATION).to_dicts():
        assert row["mark"].startswith("the forest predicts left-out conditions no better than their mean does (R² -")
    assert found.of(FANOVA).get_column("mark").null_count() == 3


def test_what_cannot_be_said_is_withheld_with_its_reason() -> None:
    settings, means = designed(12)
    few = importances(study(judged(means), settings), draws=5)
    assert few.withheld == {PED_ANOVA: "12 conditions are too few; ped-anova needs 20"}
    equal = importances(study(np.full((3, 12), 0.1), settings))
    assert set(equal.withheld.values()) == {"all conditions scored the same"}
    alone = importances(study(judged(means), {"temperature": [1.0] * 12}))
    assert set(alone.withheld.values()) == {"no parameter has two values"}
    failed = importances(study(judged(means), settings, states=["failed"] * 12))
    assert set(failed.withheld.values()) == {"no trial is complete"}
    for one in (equal, alone, failed):
        assert one.table.is_empty()


def test_missing_scores_one_query_and_a_single_different_condition_still_give_numbers() -> None:
    settings, means = designed(12)
    scores = judged(means)
    scores[np.random.default_rng(0).random(scores.shape) < 0.3] = np.nan
    odd = np.full((1, 12), 5.0)
    odd[0, 3] = 6
    for values in (scores, judged(means)[:1], odd):
        table = importances(study(values, settings), draws=8).table
        assert len(table) == 6
        assert table.select(pl.col("importance", "low", "high").is_finite().all()).row(0) == (True, True, True)
        assert (table["low"] <= table["importance"]).all()
        assert (table["importance"] <= table["high"]).all()


@pytest.mark.slow
def test_intervals_of_fanova_hold_the_share_of_a_large_design_in_most_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """They say how sure the ranking is; trees fitted to few conditions are biased, so 95 % is not promised."""
    truth = FanovaImportanceEvaluator(seed=0, n_trees=16, max_depth=5).evaluate(as_optuna(*designed(400)))
    monkeypatch.setattr("analysis.effects.importance.LEAST_CONDITIONS", {FANOVA: 10})
    held = dict.fromkeys(RANKED, 0)
    for seed in range(6):
        settings, means = designed(30, seed)
        for row in importances(study(judged(means, seed), settings), draws=15, seed=seed).of(FANOVA).to_dicts():
            held[row["parameter"]] += bool(row["low"] <= truth[row["parameter"]] <= row["high"])
    print(f"fanova intervals | large design {truth} | held in how many of 6 studies {held}")
    assert sum(held.values()) >= 11
    assert held["style"] >= 4


def test_resamplings_shared_out_over_the_processors_give_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, means = designed(24)
    results = study(judged(means), settings)
    alone = importances(results, draws=6)
    workers = []

    class Watched(importance.Parallel):  # type: ignore[misc, name-defined]
        def __init__(self, n_jobs: int) -> None:
            workers.append(n_jobs)
            super().__init__(n_jobs=n_jobs)

    monkeypatch.setattr(importance, "Parallel", Watched)
    monkeypatch.setattr(importance, "_WORTH_WORKERS", 24 * 6)
    assert importances(results, draws=6).table.equals(alone.table)
    assert workers == [-1]
