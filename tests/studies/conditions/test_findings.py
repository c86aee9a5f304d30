"""Claims about findings: the headline, tables, metrics and which figures a study allows, also in odd studies."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from ablations.studies.conditions.findings import ConditionFindings
from analysis.figures import MOST_LISTED, Drawing, study_figures
from analysis.outputs import text_table
from analysis.report.page import About, Figures
from tests.support.simulated import SHARES, Floats, judge_scores, study

pytestmark = pytest.mark.usefixtures("whole_findings")
ALWAYS = {"categories", "length", "cost", "answers"}


def scores_of(conditions: int, queries: int = 6, turns: int = 1, best: float = 0.0) -> Floats:
    shifts = np.where(np.arange(conditions) == conditions - 1, best, 0.0)
    return judge_scores(np.random.default_rng(0), (queries, turns, conditions), shifts)


def of(scores: Any, settings: Any = None, **more: Any) -> ConditionFindings:
    return ConditionFindings.of(study(scores, settings, **more))


def figures(found: ConditionFindings) -> Figures:
    return found.report(About("s")).figures


def test_a_clear_lead_is_called_clear_with_its_corrected_interval() -> None:
    found = of(scores_of(4, 12, best=4), {"temperature": [0.0, 0.5, 0.7, 1.0]})
    assert found.headline.startswith(
        "By the fake judge 1 of 3 conditions differ from the baseline (better: temperature=1 +"
    )
    assert "The highest condition (temperature=1) scores +" in found.headline
    assert "paired over 12 queries: a clear lead. Chosen as the highest of many" in found.headline


def test_a_lead_that_chance_explains_is_not_called_clear() -> None:
    headline = of(scores_of(9)).headline
    assert headline.startswith("By the fake judge 0 of 8 conditions differ from the baseline.")
    assert headline.endswith("paired over 6 queries: no clear lead.")


def test_single_changes_and_pairs_are_counted_and_named() -> None:
    settings = {"temperature": [0.0, 1.0, 0.0, 1.0], "stop": ["headings", "headings", "fence", "fence"]}
    means = np.array([5.0, 3.0, 5.0, 6.0])
    scores = np.random.default_rng(0).normal(0, 0.5, (24, 4)) + means
    found = of(
        scores,
        settings,
        roles=["baseline", "one-factor", "one-factor", "joint"],
        varied=[None, "temperature", "stop", None],
        references=[None, "c0", "c0", None],
    )
    assert found.headline.startswith("By the fake judge 1 of 2 single changes are decided (worse: temperature 0 → 1 -")
    assert "1 of 1 pairs do not add up (more together: temperature 0 → 1 with stop headings → fence " in found.headline
    (pair,) = found.frames["joint"].to_dicts()
    assert f"{pair['together']:.2f}, not {pair['expected']:.2f} ({pair['difference']:+.2f} [" in found.headline
    assert {"changes"} <= set(figures(found))
    assert found.metrics()["moves_at_least/temperature"] == pytest.approx(-found.frames["largest"]["high"][0])


def test_scores_that_choose_nothing_name_no_highest_condition() -> None:
    found = of(scores_of(3, 12, best=4), scale=SHARES | {"scale_high": 10.0, "chooses": False})
    assert "Scores by the fake judge choose no best condition here." in found.headline


def test_where_nothing_is_better_the_headline_says_so() -> None:
    found = of(np.full((4, 3), 5.0), label=["as shipped", "b", "c"])
    assert found.headline == (
        "By the fake judge 0 of 2 conditions differ from the baseline. No condition scores above the baseline "
        "(as shipped)."
    )
    assert (found.best, found.baseline) == (0, 0)


def test_without_a_baseline_or_without_a_shared_query_there_is_no_headline() -> None:
    failed = of(scores_of(3), states=["failed", "complete", "complete"])
    assert failed.headline.startswith("No headline: the baseline or every other condition lacks enough scores.")
    assert failed.best_against_baseline is None
    apart = of([[1.0, np.nan], [np.nan, 5.0]])
    assert apart.headline == "No headline: no query was scored under both the baseline and another condition."
    assert apart.metrics() == {}


def test_metrics_are_the_numbers_of_the_tables() -> None:
    found = of(scores_of(3, best=2), ids=["a", "a", "b"], replicates=[0, 1, 0], references=[None, "a", None])
    metrics, best = found.metrics(), found.best_against_baseline
    assert best is not None
    assert metrics["best_minus_baseline"] == best.value
    assert (metrics["best_minus_baseline_low"], metrics["best_minus_baseline_high"]) == (best.low, best.high)
    assert metrics["noise_floor/0"] == found.frames["noise_floor"]["difference"][0]
    assert set(metrics) == {
        "best_minus_baseline",
        "best_minus_baseline_low",
        "best_minus_baseline_high",
        "noise_floor/0",
    }


def test_tables_are_columns_of_the_frames_that_have_rows() -> None:
    found = of(scores_of(3))
    assert {name for name, frame in found.frames.items() if len(frame)} == set(found.tables())
    assert found.tables()["conditions"]["trial"].to_list() == [1, 2]
    assert "importance" not in found.tables()


def test_only_what_the_tables_allow_is_drawn() -> None:
    assert set(figures(of(scores_of(2)))) == ALWAYS
    turns = of(scores_of(3, turns=2), {"temperature": [0.0, 0.5, 1.0]})
    assert set(figures(turns)) == ALWAYS | {"turns", "parameter_temperature", "marginals"}
    both = of(scores_of(4), {"temperature": [0.0, 0.0, 1.0, 1.0], "repetition_penalty": [1.0, 1.2, 1.0, 1.2]})
    drawn = {"temperature_by_repetition_penalty", "marginals"}  # decoding parameters are no components of a prompt
    assert set(figures(both)) == ALWAYS | drawn | {"parameter_temperature", "parameter_repetition_penalty"}
    curve = of(scores_of(3), {"shots": [0, 2, 4], "source": [None, "random", "random"]})
    assert "demonstrations" in figures(curve)


def test_an_optimisers_study_has_no_figure_of_its_parameters_as_a_whole() -> None:
    found = of(scores_of(3), {"temperature": [0.0, 0.5, 1.0]}, roles=["baseline", "sampled", "sampled"])
    assert set(figures(found)) == ALWAYS | {"parameter_temperature"}
    assert "optimiser" in found.importances.withheld


def test_figures_name_the_best_condition_and_how_many_of_many_they_list() -> None:
    many = MOST_LISTED + 6
    settings, roles = {"temperature": [0.01 * at for at in range(many)]}, ["baseline", *["sampled"] * (many - 1)]
    found = of(scores_of(many, 3, best=4), settings, roles=roles)
    texts = found.frames["texts"]
    assert len(texts) == MOST_LISTED + 6
    drawn = study_figures(Drawing(found.frames, "fake", [], 0, found.best))
    heading = drawn["answers"].get_suptitle()
    assert (
        heading
        == f"Answers by condition (the first {MOST_LISTED} of {len(texts)} conditions, 3 queries, 95 % intervals)"
    )
    labels = [text.get_text() for text in drawn["categories"].legends[0].get_texts()]
    assert labels == ["baseline", "best: temperature=0.29"]


ODD: dict[str, tuple[Any, dict[str, Any]]] = {
    "one query": (scores_of(4, 1), {"settings": {"temperature": [0.0, 0.5, 1.0, 0.5]}}),
    "the baseline alone": (scores_of(1), {}),
    "replicates only": (scores_of(3), {"ids": ["a"] * 3, "replicates": [0, 1, 2], "references": [None, "a", "a"]}),
    "all failed": (scores_of(3), {"states": ["failed"] * 3}),
    "nothing varied": (scores_of(12), {}),
    "draws alone": (scores_of(12), {"settings": {"draw": list(range(12))}}),
    "one level": (scores_of(3), {"settings": {"style": ["a"] * 3}}),
    "a category without effect in places": (scores_of(4), {"settings": {"style": ["a", None, "b", None]}}),
    "repeated conditions, the last best": (scores_of(4, best=3), {"ids": ["a", "b", "b", "b"]}),
    "second turns unscored": (np.where(np.arange(2)[:, None] == 1, np.nan, scores_of(3, turns=2)), {}),
    "gaps": (np.where(np.random.default_rng(1).random((8, 1, 6)) < 0.3, np.nan, scores_of(6, 8)), {}),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_study_still_has_findings(kind: str) -> None:
    scores, more = ODD[kind]
    found = of(scores, **more)
    assert found.headline
    assert found.tables()
    assert "categories" in figures(found) or kind == "all failed"
    assert all(value is None or np.isfinite(value) for value in found.metrics().values())


def test_answers_of_failed_trials_are_in_no_table_of_answers() -> None:
    assert text_table(study(np.ones((2, 2)), states=["complete", "failed"])).get_column("trial").to_list() == [0]
    assert isinstance(of(np.ones((2, 2)), states=["complete", "failed"]).frames["trials"], pl.DataFrame)
