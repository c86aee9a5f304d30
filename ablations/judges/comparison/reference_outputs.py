"""Answers to compare with: another model's outputs from a file, or a run of this toolkit, by query.

Knows the files' forms, not what is compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ablations.core.condition import content_hash
from ablations.core.errors import UsageError, reason
from ablations.core.jsonl import read_rows
from ablations.core.records import Query
from ablations.judges.base import COMPARED

Outputs = Mapping[str, tuple[str, ...]]
"""Answers per turn by query id."""

FORMS = (
    "FastChat's model_answer JSONL (question_id, choices[0].turns), an AlpacaEval JSON list (instruction, output), "
    "Han's JSONL (prompt, response), or a results.parquet of this toolkit (its baseline trial, or #N after the name "
    "for trial N)"
)


class ReferenceOutputs:
    """The answers that a judge compares with: those in the file at `path`, which only `read` needs."""

    def __init__(self, path: Path | None, judge: str) -> None:
        self._path = path
        self._judge = judge
        self._outputs: dict[str, tuple[str, ...]] = {}

    def read(self, queries: Sequence[Query]) -> None:
        """Read the answers to these queries; raise `UsageError` without a path, or as `read_outputs` does."""
        if self._path is None:
            raise UsageError(
                f"--judge {self._judge} compares with another model's answers; give them with --compare-with FILE: "
                f"{FORMS}"
            )
        self._outputs |= read_outputs(self._path, queries)

    def to(self, query: Query, turns: int) -> tuple[str, ...]:
        """Return the answers to the first turns of a query that was read; empty for another one."""
        return self._outputs.get(query.id, ())[:turns]

    @property
    def identity(self) -> Mapping[str, str]:
        """A hash of everything that was read."""
        return {COMPARED: content_hash({query: list(answers) for query, answers in self._outputs.items()})}


def read_outputs(path: Path, queries: Sequence[Query]) -> Outputs:
    """Return the answers in a file to these queries, matched by id or by the first turn's text.

    Raises:
        UsageError: the file has none of the known forms, or lacks an answer to one of the queries.
    """
    name, _, trial = str(path).partition("#")
    try:
        if name.endswith(".parquet"):
            found = _from_results(Path(name), trial, queries)
        else:
            entries = [row for _, row in read_rows(Path(name), f"--compare-with {path}", UsageError)]
            found = _by_id(entries) | _by_text(entries, queries)
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"--compare-with {path} cannot be read: {reason(error)}; give {FORMS}") from error
    lacking = [query.id for query in queries if len(found.get(query.id, ())) < len(query.turns)]
    if lacking:
        raise UsageError(
            f"--compare-with {path} has no answer to every turn of {len(lacking)} of {len(queries)} queries, "
            f"such as {lacking[0]!r}; give a file that has, or fewer queries"
        )
    return {query.id: found[query.id] for query in queries}


def _by_id(entries: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        if "question_id" in entry:
            _add(found, str(entry["question_id"]), tuple(map(_text, entry["choices"][0]["turns"])))
    return found


def _by_text(entries: Sequence[Mapping[str, Any]], queries: Sequence[Query]) -> dict[str, tuple[str, ...]]:
    """Match AlpacaEval's and Han's rows by the query's text; of several samples the first one counts."""
    outputs: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        if "instruction" in entry:
            _add(outputs, _text(entry["instruction"]), (_text(entry["output"]),))
        elif "prompt" in entry:
            answer = entry["response"] if "response" in entry else entry["response_list"][0]
            _add(outputs, _text(entry["prompt"]), (_text(answer),))
    return {query.id: outputs[query.turns[0]] for query in queries if query.turns[0] in outputs}


def _from_results(path: Path, trial: str, queries: Sequence[Query]) -> dict[str, tuple[str, ...]]:
    frame = pl.read_parquet(path)
    chosen = frame.filter(pl.col("trial") == int(trial)) if trial else frame.filter(pl.col("role") == "baseline")
    if chosen.is_empty():
        raise ValueError(f"it has no {f'trial {trial}' if trial else 'baseline trial'}")
    asked = {(query.id, turn): text for query in queries for turn, text in enumerate(query.turns, start=1)}
    for query_id, turn, text in chosen.select("query_id", "turn", "query").iter_rows():
        if asked.get((query_id, turn), text) != text:
            raise ValueError(f"its query {query_id!r} asks something else in turn {turn} than this study's")
    once = chosen.unique(("query_id", "turn"), maintain_order=True)  # each answer is there once a judge
    answers = once.sort("turn").group_by("query_id", maintain_order=True).agg("answer")
    return {query_id: tuple(texts) for query_id, texts in answers.iter_rows()}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"an answer or query is {value!r:.60} and no text")
    return value


def _add(found: dict[str, tuple[str, ...]], key: str, answers: tuple[str, ...]) -> None:
    if found.setdefault(key, answers) != answers:
        raise ValueError(f"it has two different answers to {key!r:.60}")
