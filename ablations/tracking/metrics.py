"""Logged values of a trial: its numbers under their documented names, and its completions as a table.

Knows summaries and judged turns; imports nothing of MLflow's.
"""

import re
from collections.abc import Sequence
from typing import Any

from ablations.core.records import JudgedTurn, Price
from ablations.core.statistics import Summary

_MOST_CHARACTERS = 200
"""Of a text in a metric's name; the rest is for what stands before it."""


def trial_metrics(
    summary: Summary, seconds: float | None, price: Price | None, stopped: bool = False
) -> dict[str, float | None]:
    """Return a trial's numbers under their documented names; None where there is none.

    `price` is of the judge's model; the cost is that of the judgments themselves, whichever run paid for them. A trial
    that was stopped early has no score that could be compared with others.
    """
    scores = {"score": summary.mean, "score_low": summary.low, "score_high": summary.high}
    if stopped:
        scores = {"score_before_stop": summary.mean, "queries_before_stop": summary.n_queries}
    metrics: dict[str, float | None] = {
        **scores,
        "coverage": summary.coverage,
        "n_scored": summary.n_scored,
        "mean_tokens": summary.mean_tokens,
        "truncation_rate": summary.truncation_rate,
        "repetition": summary.repetition,
        "empty_rate": summary.empty_rate,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "seconds": seconds,
        "tokens_per_second": summary.completion_tokens / seconds if seconds else None,
    }
    used = summary.judging
    metrics |= {
        "judge_calls": used.calls,
        "judge_prompt_tokens": used.prompt_tokens,
        "judge_completion_tokens": used.completion_tokens,
        "judge_cost_usd": None if price is None else price.cost(used),
    }
    metrics |= {f"judge/{metric_name(name)}": value for name, value in summary.details.items()}
    if not stopped:
        for name, own in summary.outcomes.items():
            metrics |= {name: own.mean, f"{name}_low": own.low, f"{name}_high": own.high}
            metrics[f"{name}_coverage"] = own.coverage
        metrics |= {f"score_turn_{turn}": value for turn, value in summary.by_turn.items()}
        metrics |= {f"score_category/{metric_name(name)}": value for name, value in summary.by_category.items()}
    return metrics | {f"unscored/{metric_name(reason)}": count for reason, count in summary.unscored.items()}


def metric_name(text: str, also: str = "") -> str:
    """Return a text as (part of) a metric's name, in which MLflow takes few characters, and of which it takes 250.

    `also` are characters that are taken too. Of a longer text the beginning is left.

    >>> metric_name("C++ (hard)")
    'C__ _hard_'
    """
    return re.sub(rf"[^\w\- :{also}]", "_", text)[:_MOST_CHARACTERS]


def completions_table(turns: Sequence[JudgedTurn]) -> dict[str, list[Any]]:
    """Return completions and judgments of a trial as columns; the pages show the first ones without scrolling."""
    rows = [
        {
            "query_id": turn.query.id,
            "turn": turn.turn,
            "score": turn.judgment.score.value,
            **turn.outcomes,
            "query": turn.query.turns[turn.turn - 1],
            "answer": turn.completion.answer,
            "unscored": turn.judgment.score.reason,
            "category": turn.query.category,
            "judge": turn.judgment.judge,
            "judge_reply": turn.judgment.replies[-1] if turn.judgment.replies else "",
            "judge_asks": len(turn.judgment.replies),
            "tokens": turn.completion.completion_tokens,
            "finish_reason": turn.completion.finish_reason,
            "raw_completion": turn.completion.text,
        }
        for turn in turns
    ]
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
