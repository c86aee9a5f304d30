"""Simulated studies of equal conditions: how often a table or a headline claims a difference that is not there."""

import numpy as np
import pytest

from ablations.core.statistics import ENDLESS
from analysis.effects.families import family
from analysis.effects.paired import condition_effects, lead_of_best, one_factor_effects
from tests.support.simulated import SHARES, Floats, judge_scores, study

STUDIES, CONDITIONS = 300, 15


def graded(generator: np.random.Generator, n: int, conditions: int) -> Floats:
    """Scores 0, 1/2 or 1 of equal conditions, as the checks judge gives them, shape (n, conditions)."""
    difficulty = generator.beta(0.6, 0.6, (n, 1))
    right, ended = (generator.random((n, conditions)) < difficulty for _ in range(2))
    return right * (1.0 + ended) / 2


@pytest.mark.parametrize("n", [8, 24])
def test_of_15_equal_conditions_none_is_decided_in_95_studies_of_100(n: int) -> None:
    generator, decided, alone = np.random.default_rng(n), 0, 0
    for _ in range(STUDIES):
        scores = judge_scores(generator, (n, CONDITIONS + 1))
        rows = condition_effects(study(scores))
        decided += bool((rows["p_family"] < 0.05).any())
        alone += bool((rows["p_value"] < 0.05).any())
    print(
        f"family-wise error | {n} queries, scores 1 to 10 | {decided / STUDIES:.1%}, uncorrected {alone / STUDIES:.1%}"
    )
    assert decided <= 0.075 * STUDIES
    assert alone > 0.25 * STUDIES


@pytest.mark.parametrize("n", [16, 72])
def test_neither_table_nor_headline_claims_more_than_five_in_a_hundred_by_graded_scores(n: int) -> None:
    """13 conditions of which eight are single changes: two families, and the lead of the highest condition."""
    generator, table, headline = np.random.default_rng(n), 0, 0
    roles = ["baseline", *["one-factor"] * 8, *["joint"] * 4]
    settings = {"temperature": [0.0, *np.linspace(0.1, 1.2, 12)]}
    more = {"varied": [None, *["temperature"] * 8, *[None] * 4], "references": [None, *["c0"] * 8, *[None] * 4]}
    for _ in range(STUDIES):
        results = study(graded(generator, n, 13), settings, roles=roles, scale=SHARES, **more)  # type: ignore[arg-type]
        table += bool((one_factor_effects(results)["p_family"] < 0.05).any())
        lead = lead_of_best(results)
        headline += lead is not None and lead.excludes_zero
    print(
        f"false claims | {n} queries, graded | single changes {table / STUDIES:.1%}, headline {headline / STUDIES:.1%}"
    )
    assert table <= 0.07 * STUDIES
    assert headline <= 0.07 * STUDIES


def test_effects_have_the_same_numbers_in_every_table() -> None:
    generator = np.random.default_rng(3)
    settings = {"temperature": [0.0, 0.5, 1.0, 0.3], "stop": ["headings", "headings", "headings", "fence"]}
    results = study(
        judge_scores(generator, (12, 4)),
        settings,
        roles=["baseline", "one-factor", "one-factor", "joint"],
        varied=[None, "temperature", "temperature", None],
        references=[None, "c0", "c0", None],
    )
    single = one_factor_effects(results).select("trial", "low", "high", "p_family")
    every = condition_effects(results).select("trial", "low", "high", "p_family")
    assert every.filter(every["trial"].is_in(single["trial"])).equals(single)
    differences = judge_scores(np.random.default_rng(3), (12, 4))
    (alone,) = family(differences[:, [3]] - differences[:, [0]], [ENDLESS])
    assert alone is not None
    assert every.row(-1)[1:] == pytest.approx((alone.low, alone.high, alone.p_value))
