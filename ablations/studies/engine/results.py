"""The results of record: one row per trial, query, turn and judge, exported from the store.

Knows neither Optuna nor MLflow. `analysis` reads the frame and nothing else.
"""

import json
import os
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from ablations.core.condition import (
    TEXT_PARAMETERS,
    format_value,
)
from ablations.core.errors import StorageError
from ablations.core.records import JudgedTurn, Query
from ablations.core.schema import ARM_PREFIX, PARAMETER_PREFIX, RESULT_SCHEMA
from ablations.core.statistics import repeated_share
from ablations.storage.store import Store, StoredResult
from analysis.demonstrations.ways import ARM_SCHEMA


def results_frame(store: Store, study: str, queries: Sequence[Query]) -> pl.DataFrame:
    """Return a study's results, one row per trial × query × turn × judge.

    Columns: study, trial, condition_id, role, replicate, varied, reference (condition_id of the
    trial compared with), label, state, active (names of the varied parameters that had an effect), one `param.NAME` per
    parameter, query_id, category, turn, query, answer, judge, score (null where unscored), unscored
    (reason), prompt_tokens, completion_tokens, truncated, repetition, seed, judge_calls, judge_prompt_tokens,
    judge_completion_tokens, judge_details (JSON). Trials that did not finish are left out; `failed_because` says
    why one failed. A comparison of prompts with fine-tuning has the columns of `ARM_SCHEMA` too, and its arms without
    weights have rows without answers.
    """
    trials = store.trials(study)
    by_id = {query.id: query for query in queries}
    found = [result for result in store.results(study) if result.trial in trials and result.query_id in by_id]
    rows = [_row(study, trials[result.trial], result, by_id[result.query_id]) for result in found]
    arms = {number: trial for number, trial in trials.items() if "arm" in trial}
    for number in arms.keys() - {result.trial for result in found}:
        rows += _unanswered(study, number, arms[number], queries)
    if arms:
        rows.sort(key=lambda row: row["trial"])  # stable: the order within a trial stays
    return pl.DataFrame(rows, schema={**RESULT_SCHEMA, **(ARM_SCHEMA if arms else {})})


def _unanswered(study: str, number: int, trial: dict[str, Any], queries: Sequence[Query]) -> list[dict[str, Any]]:
    """Return the rows of an arm that nothing could answer."""
    why = {"score": None, "unscored": trial["failed_because"], "answer": None, "judge": None}
    return [
        {**_described(study, number, trial), **_asked(query, turn), **why}
        for query in queries
        for turn in range(1, len(query.turns) + 1)
    ]


def judged_turns(
    store: Store, study: str, queries: Sequence[Query], only: Collection[int] | None = None
) -> dict[int, list[JudgedTurn]]:
    """Return every judged turn of a study by trial, or of these trials `only`, in the order of the queries."""
    by_id = {query.id: query for query in queries}
    places = {query_id: place for place, query_id in enumerate(by_id)}
    turns: dict[int, list[JudgedTurn]] = {}
    for result in store.results(study, only):
        if result.query_id in by_id:
            turn = JudgedTurn(by_id[result.query_id], result.turn, result.completion, result.judgment)
            turns.setdefault(result.trial, []).append(turn)
    for of_trial in turns.values():
        of_trial.sort(key=lambda turn: (places[turn.query.id], turn.turn))
    return turns


def aside_of(path: Path) -> Path:
    """Return where this process writes what then becomes `path`; another worker may do so at the same time."""
    return path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.part")


def write_results(frame: pl.DataFrame, path: Path) -> None:
    """Write the frame as Parquet, whole or not at all; raise `StorageError` where that fails."""
    aside = aside_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(aside)
        aside.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise StorageError(f"the results {path} cannot be written: {error}; free the disk") from error


def _row(study: str, trial: dict[str, Any], result: StoredResult, query: Query) -> dict[str, Any]:
    completion = result.completion
    return {
        **_described(study, result.trial, trial),
        **_asked(query, result.turn),
        "answer": completion.answer,
        "judge": result.judge,
        "score": result.judgment.score.value,
        "unscored": result.judgment.score.reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "truncated": completion.truncated,
        "repetition": repeated_share(completion.answer),
        "seed": completion.seed,
        "judge_calls": result.judgment.usage.calls,
        "judge_prompt_tokens": result.judgment.usage.prompt_tokens,
        "judge_completion_tokens": result.judgment.usage.completion_tokens,
        "judge_details": json.dumps(result.judgment.details, sort_keys=True),
    }


def _described(study: str, number: int, trial: dict[str, Any]) -> dict[str, Any]:
    """Return what a trial's rows say of the trial."""
    values = {
        f"{PARAMETER_PREFIX}{name}": format_value(value) if name in TEXT_PARAMETERS else value
        for name, value in trial["values"].items()
    }
    return {
        "study": study,
        "trial": number,
        "condition_id": trial["condition_id"],
        "role": trial["role"],
        "replicate": trial["replicate"],
        "varied": trial["varied"],
        "reference": trial["reference"],
        "label": trial["label"],
        "state": trial["state"],
        "failed_because": trial["failed_because"],
        "active": trial["active"],
        **values,
        **{f"{ARM_PREFIX}{name}": value for name, value in trial.get("arm", {}).items()},
    }


def _asked(query: Query, turn: int) -> dict[str, Any]:
    return {"query_id": query.id, "category": query.category, "turn": turn, "query": query.turns[turn - 1]}
