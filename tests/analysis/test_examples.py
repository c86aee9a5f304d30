"""Claims about answers side by side."""

from pathlib import Path

import polars as pl

from ablations.studies.views.sources import open_results
from analysis.effects.paired import baseline_trial, lead_of_best
from analysis.examples import read_examples, telling_conditions

RESULTS = open_results("decoding", Path(__file__).parents[1] / "fixtures" / "mlruns")


def test_baseline_best_and_worst_are_shown_each_once() -> None:
    shown = telling_conditions(RESULTS)
    assert list(shown) == ["baseline", "best: max_tokens=48", "worst: " + list(shown)[2].removeprefix("worst: ")]
    assert len(set(shown.values())) == 3
    assert shown["baseline"] == baseline_trial(RESULTS)
    alone = RESULTS.filter(pl.col("role") == "baseline")
    assert telling_conditions(alone) == {"baseline": 0}


def test_queries_run_from_the_largest_gain_to_the_largest_loss() -> None:
    shown = telling_conditions(RESULTS)
    examples = read_examples(RESULTS, shown, queries=3)
    gains = list(dict.fromkeys(example.gain for example in examples))
    assert gains == sorted(gains, reverse=True)  # type: ignore[type-var]
    every = read_examples(RESULTS, shown, queries=8)
    by_query = {example.query_id: example.gain for example in every}
    assert gains[0] == max(by_query.values())  # type: ignore[type-var]
    assert gains[-1] == min(by_query.values())  # type: ignore[type-var]
    lead = lead_of_best(RESULTS)
    assert lead is not None
    assert abs(sum(by_query.values()) / 8 - lead.value) < 1e-9  # type: ignore[arg-type]


def test_each_turn_has_the_answers_scores_and_lengths_of_the_results() -> None:
    shown = telling_conditions(RESULTS)
    example = read_examples(RESULTS, shown, queries=1)[1]
    assert example.turn == 2
    for name, answer in example.answers.items():
        row = RESULTS.filter(
            (pl.col("trial") == shown[name]) & (pl.col("query_id") == example.query_id) & (pl.col("turn") == 2)
        ).row(0, named=True)
        assert (answer.text, answer.score, answer.tokens) == (row["answer"], row["score"], row["completion_tokens"])


def test_an_unscored_answer_keeps_its_reason() -> None:
    lacking = RESULTS.with_columns(score=pl.lit(None, dtype=pl.Float64), unscored=pl.lit("no rating"))
    (answer, *_) = read_examples(lacking, {"baseline": 0, "other": 5}, queries=1)[0].answers.values()
    assert (answer.score, answer.unscored) == (None, "no rating")


def test_a_single_condition_shows_its_answers() -> None:
    examples = read_examples(RESULTS, {"baseline": 0}, queries=2)
    assert len(examples) == 4
    assert all(list(example.answers) == ["baseline"] for example in examples)
