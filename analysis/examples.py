"""Examples: the answers behind the numbers, side by side.

Knows result frames; draws nothing and scores nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from ablations.core.statistics import best_first
from analysis.effects.paired import baseline_trial, best_trial, worst_trial
from analysis.frames import query_scores, scale_of, scores_by_trial, trial_table

FEWEST, MOST = 1, 12


@dataclass(frozen=True)
class Answer:
    """One answer: its text, its score or why it has none, and what the judge said beside the score."""

    text: str
    score: float | None
    unscored: str | None
    details: Mapping[str, float]
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class Example:
    """One turn of one query with the answers of several conditions.

    Attributes:
        query_id, category, turn, query: what was asked.
        gain: the second condition's score for this query less the first's, over its turns; None without both.
        answers: by the condition's name, in the order that was asked for.
    """

    query_id: str
    category: str | None
    turn: int
    query: str
    gain: float | None
    answers: Mapping[str, Answer]


def telling_conditions(results: pl.DataFrame) -> dict[str, int]:
    """Return the trials of the baseline, the best and the worst condition, by what they are called, each once."""
    changes = dict(trial_table(results).select("trial", "change").iter_rows())
    shown: dict[str, int] = {}
    for name, trial in {
        "baseline": baseline_trial(results),
        "best": best_trial(results),
        "worst": worst_trial(results),
    }.items():
        if trial is not None and trial not in shown.values():
            shown[name if name == "baseline" else f"{name}: {changes[trial]}"] = trial
    return shown


def worth_reading(results: pl.DataFrame) -> dict[int, str]:
    """Return the trials of the baseline, the best and the worst condition, by number, with the reason."""
    named = {"baseline": baseline_trial(results), "best": best_trial(results), "worst": worst_trial(results)}
    return reasons(named)


def reading_arms(results: pl.DataFrame) -> dict[int, str]:
    """Return the baseline, the best and the worst arm by number, with the reason."""
    counted = results.filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    baselines = counted.filter(pl.col("role") == "baseline").get_column("trial").sort()
    scale = scale_of(results)
    ranked = best_first(scores_by_trial(counted)) if scale is None or scale.chooses else []
    ends = {"best": ranked[0], "worst": ranked[-1]} if ranked else {}
    return reasons({"baseline": next(iter(baselines), None), **ends})


def reasons(named: Mapping[str, int | None]) -> dict[int, str]:
    """Return why each trial is worth reading, by number; takes trials by reason.

    >>> reasons({"baseline": 0, "best": 0, "worst": None})
    {0: 'baseline and best'}
    """
    found: dict[int, list[str]] = {}
    for name, trial in named.items():
        if trial is not None:
            found.setdefault(trial, []).append(name)
    return {trial: " and ".join(names) for trial, names in found.items()}


def read_examples(results: pl.DataFrame, conditions: Mapping[str, int], queries: int = 3) -> list[Example]:
    """Return the turns of some queries with the answers of these conditions.

    Args:
        results: a study's results.
        conditions: trials by what they are called, at least one; the first is compared with the second.
        queries: how many, 1 to 12. They are not picked to please: of the queries in the order of the second condition's
            gain over the first, evenly spaced ones from the largest gain to the largest loss.
    """
    trials = list(conditions.values())
    order = _spread(_gains(results, [*trials, *trials][:2]), min(max(queries, FEWEST), MOST))
    names = {trial: name for name, trial in conditions.items()}
    found = []
    for query_id, gain in order:
        own = results.filter((pl.col("query_id") == query_id) & pl.col("trial").is_in(list(names)))
        for (turn,), rows in own.sort("turn").group_by("turn", maintain_order=True):
            answers = {names[row["trial"]]: _answer(row) for row in rows.iter_rows(named=True)}
            first = rows.row(0, named=True)
            ordered = {name: answers[name] for name in conditions if name in answers}
            found.append(Example(str(query_id), first["category"], int(turn), first["query"], gain, ordered))
    return found


def _gains(results: pl.DataFrame, trials: list[int]) -> list[tuple[str, float | None]]:
    """Return the queries with the second trial's gain over the first's, the largest first, those without one last."""
    scores = query_scores(results)
    first, second = (scores.filter(pl.col("trial") == trial).select("query_id", "score") for trial in trials[:2])
    gains = dict(
        second.join(first, on="query_id")
        .select("query_id", pl.col("score") - pl.col("score_right"))
        .sort("score", "query_id", descending=[True, False])
        .iter_rows()
    )
    others = results.filter(pl.col("trial").is_in(trials)).get_column("query_id").unique(maintain_order=True)
    return [*gains.items(), *((query, None) for query in others if query not in gains)]


def _spread(ordered: list[tuple[str, float | None]], number: int) -> list[tuple[str, float | None]]:
    """Return evenly spaced entries, the first and the last among them."""
    known = [entry for entry in ordered if entry[1] is not None] or ordered
    if len(known) <= number:
        return known
    if number == 1:
        return [known[len(known) // 2]]
    return [known[round(at * (len(known) - 1) / (number - 1))] for at in range(number)]


def _answer(row: dict[str, object]) -> Answer:
    details = row["judge_details"]
    return Answer(
        text=str(row["answer"]),
        score=row["score"],  # type: ignore[arg-type]
        unscored=row["unscored"],  # type: ignore[arg-type]
        details=json.loads(details) if isinstance(details, str) else {},
        tokens=int(row["completion_tokens"]),  # type: ignore[call-overload]
        truncated=bool(row["truncated"]),
    )
