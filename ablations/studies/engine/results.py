"""The results of record: one row per trial, query, turn and judge, exported from the store.

Knows neither Optuna nor MLflow. `analysis` reads the frame and nothing else.
"""

import json
import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import polars as pl

from ablations.core.condition import TEXT_PARAMETERS, format_value
from ablations.core.errors import StorageError, reason
from ablations.core.jsonl import JsonObject
from ablations.core.records import JudgedTurn, Query, TrialRecord
from ablations.core.schema import ARM_PREFIX, PARAMETER_PREFIX, RESULT_SCHEMA, Schema
from ablations.core.statistics import Scale, repeated_share
from ablations.models.training.jobs import Outcome
from ablations.storage.store import Store, StoredResult

PAGE_NOTE, TABLE_NOTE, FILE_NOTE = "page", "table", "file"
"""The beginning of the notes that hold pages which are no trial's, further tables of a study, and texts."""
_MODE = "ablations.mode"
"""The entry of a results file's metadata that names the kind of its study."""


def results_frame(store: Store, study: str, queries: Sequence[Query], scales: Mapping[str, Scale]) -> pl.DataFrame:
    """Return a study's results, one row per trial × query × turn × judge.

    Columns: study, trial, condition_id, role, replicate, varied, reference (condition_id of the
    trial compared with), label, state, active (names of the varied parameters that had an effect), one `param.NAME` per
    parameter, query_id, category, turn, query, answer, judge, score (null where unscored), unscored
    (reason), prompt_tokens, completion_tokens, truncated, repetition, seed, judge_calls, judge_prompt_tokens,
    judge_completion_tokens, judge_details (JSON), decides (whether the study is decided by this judge's score), and
    what its scores are read against: scale_low, scale_high, floor, constant, empty, chooses, negligible (as
    `core.statistics.Scale` has them).

    Trials that did not finish are left out; `failed_because` says why one failed. A comparison of prompts with
    fine-tuning also has an `arm.NAME` for each value of its trials' `arm`, and its arms without weights have rows
    without answers.
    """
    trials = store.trials(study)
    by_id = {query.id: query for query in queries}
    found = [result for result in store.results(study) if result.trial in trials and result.query_id in by_id]
    deciding = next(iter(scales))
    against = {
        name: {
            "judge": name,
            "decides": name == deciding,
            "scale_low": one.low,
            "scale_high": one.high,
            "negligible": one.margin,
            **{key: getattr(one, key) for key in ("floor", "constant", "empty", "chooses")},
        }
        for name, one in scales.items()
    }
    rows = [
        {**_row(study, trials[result.trial], result, by_id[result.query_id]), **against[result.judge]}
        for result in found
    ]
    arms = {number: trial for number, trial in trials.items() if trial.arm}
    for number in arms.keys() - {result.trial for result in found}:
        rows += _unanswered(study, number, arms[number], queries)  # of them it decides that nothing answered
    if arms:
        rows.sort(key=lambda row: row["trial"])  # stable: the order within a trial stays
    return pl.DataFrame(rows, schema={**RESULT_SCHEMA, **_arm_schema(arms.values())})


def _arm_schema(arms: Iterable[TrialRecord]) -> Schema:
    """Return the columns of what the trials say of what answers: texts, whole numbers, or numbers."""
    values: dict[str, list[str | int | float]] = {}
    for trial in arms:
        for name, value in trial.arm.items():
            own = values.setdefault(f"{ARM_PREFIX}{name}", [])
            own.extend(() if value is None else (value,))
    return {name: _column_type(own) for name, own in values.items()}


def _column_type(values: Sequence[str | int | float]) -> type[pl.DataType]:
    if any(isinstance(value, str) for value in values):
        return pl.String
    return pl.Int64 if values and all(isinstance(value, int) for value in values) else pl.Float64


def training_steps(store: Store, record: TrialRecord) -> dict[str, list[tuple[int, float]]]:
    """Return loss and learning rate by step of the training that made a trial's weights; empty where none did."""
    outcome = training_outcome(store, record)
    if outcome is None:
        return {}
    return {
        "loss": [(step, loss) for step, loss, _, _ in outcome.losses],
        "learning_rate": [(step, rate) for step, _, rate, _ in outcome.losses],
    }


def training_outcome(store: Store, record: TrialRecord) -> Outcome | None:
    """Return what the training that made a trial's weights came to, or None where none did."""
    stored = None if record.job is None else store.find_tuning(record.job)
    return None if stored is None else Outcome.from_dict(stored)


def _unanswered(study: str, number: int, trial: TrialRecord, queries: Sequence[Query]) -> list[JsonObject]:
    """Return the rows of an arm that nothing could answer."""
    why = {"score": None, "unscored": trial.failed_because, "answer": None, "judge": None, "decides": True}
    return [
        {**_described(study, number, trial), **_asked(query, turn), **why}
        for query in queries
        for turn in range(1, len(query.turns) + 1)
    ]


def judged_turns(
    store: Store, study: str, queries: Sequence[Query], scales: Mapping[str, Scale], only: Collection[int] | None = None
) -> dict[int, list[JudgedTurn]]:
    """Return every judged turn of a study by trial, or of these trials `only`, in the order of the queries.

    `scales` names the study's judges, the one that decides first.
    """
    by_id = {query.id: query for query in queries}
    places = {query_id: place for place, query_id in enumerate(by_id)}
    turns: dict[int, list[JudgedTurn]] = {}
    known = (result for result in store.results(study, only) if result.query_id in by_id)
    for (trial, query_id, number), of_turn in groupby(known, lambda one: (one.trial, one.query_id, one.turn)):
        made = {result.judge: result for result in of_turn}
        completion, own = next(iter(made.values())).completion, [made[name].judgment for name in scales if name in made]
        turns.setdefault(trial, []).append(JudgedTurn(by_id[query_id], number, completion, own[0], tuple(own[1:])))
    for of_trial in turns.values():
        of_trial.sort(key=lambda turn: (places[turn.query.id], turn.turn))
    return turns


def part_of(path: Path) -> Path:
    """Return where this process writes what then becomes `path`."""
    return path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.part")


def write_results(frame: pl.DataFrame, path: Path, mode: str | None = None) -> None:
    """Write a frame as Parquet, whole or not at all, with the mode of its study; raise `StorageError` where that fails.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "results.parquet"
    >>> write_results(pl.DataFrame({"score": [1.0]}), path, "ablation")
    >>> mode_of(path)
    'ablation'
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(part, metadata=None if mode is None else {_MODE: mode})
        part.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageError(f"the results {path} cannot be written: {reason(error)}; free the disk") from error


def mode_of(path: Path) -> str:
    """Return the mode of the study whose results a file holds; raise `StorageError` where it does not say."""
    try:
        mode = pl.read_parquet_metadata(path).get(_MODE)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"results {path} cannot be read: {reason(error)}; give a results.parquet of a study"
        ) from error
    if mode is None:
        raise StorageError(f"results {path} do not say of which kind their study is; run the study's command again")
    return mode


def noted_tables(notes: Mapping[str, JsonObject]) -> dict[str, pl.DataFrame]:
    """Return the further tables among a study's notes, by name."""
    start = f"{TABLE_NOTE} "
    return {kind.removeprefix(start): pl.DataFrame(note) for kind, note in notes.items() if kind.startswith(start)}


def write_beside(results: Path, notes: Mapping[str, JsonObject]) -> list[Path]:
    """Write a study's further tables and texts beside its results; return where they are.

    Raises:
        StorageError: one of them cannot be written.
    """
    written = []
    for name, table in noted_tables(notes).items():
        written.append(results.with_name(f"{name}.parquet"))
        write_results(table, written[-1])
    start = f"{FILE_NOTE} "
    for kind, note in notes.items():
        if kind.startswith(start):
            written.append(results.with_name(kind.removeprefix(start)))
            try:
                written[-1].write_text(note["text"], encoding="utf-8")
            except OSError as error:
                raise StorageError(f"{written[-1]} cannot be written: {reason(error)}; free the disk") from error
    return written


def _row(study: str, trial: TrialRecord, result: StoredResult, query: Query) -> JsonObject:
    completion = result.completion
    return {
        **_described(study, result.trial, trial),
        **_asked(query, result.turn),
        "answer": completion.answer,
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
        "judge_details": json.dumps(dict(result.judgment.details), sort_keys=True),
    }


def _described(study: str, number: int, trial: TrialRecord) -> JsonObject:
    """Return what a trial's rows say of the trial."""
    values = {
        f"{PARAMETER_PREFIX}{name}": format_value(value) if name in TEXT_PARAMETERS else value
        for name, value in trial.values.items()
    }
    return {
        "study": study,
        "trial": number,
        "condition_id": trial.condition_id,
        "role": str(trial.role),
        "replicate": trial.replicate,
        "varied": trial.varied,
        "reference": trial.reference,
        "label": trial.label,
        "state": str(trial.state),
        "failed_because": trial.failed_because,
        "active": list(trial.active),
        **values,
        **{f"{ARM_PREFIX}{name}": value for name, value in trial.arm.items()},
    }


def _asked(query: Query, turn: int) -> JsonObject:
    return {"query_id": query.id, "category": query.category, "turn": turn, "query": query.turns[turn - 1]}
