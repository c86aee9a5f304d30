"""Evaluation sets: the built-in one, MT-Bench's, AlpacaEval-style JSON lists, and plain JSONL.

Knows neither prompts nor judges. A broken line is named by its number.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ablations.core.errors import QueryError, nearest
from ablations.core.jsonl import DATA, read_rows
from ablations.core.records import Query

BUILT_IN = ("instructions",)
DEFAULT_QUERIES = "instructions"


def load_queries(source: str, reference_answers: Path | None = None) -> tuple[Query, ...]:
    """Return the queries of a built-in set or a file, in the file's order.

    Args:
        source: "instructions" (48 two-turn queries over MT-Bench's eight categories, written for this
            project), or a path: MT-Bench's `question.jsonl`, an AlpacaEval-style JSON list
            (`instruction`, optional `output` as reference), or JSONL with `turns` or `query`/`prompt`/`instruction`.
        reference_answers: FastChat's `reference_answer/*.jsonl`, joined by `question_id`.

    Raises:
        QueryError: unknown name, unreadable file, a broken row (named by line), or a repeated id.
    """
    rows = list(_rows(source))
    references = _reference_answers(reference_answers) if reference_answers else {}
    queries = tuple(_query(row, where, references) for where, row in rows)
    if not queries:
        raise QueryError(f"queries {source!r} has no row; give a file with at least one query")
    _check_unique(queries, source)
    unknown = sorted(set(references) - {query.id for query in queries})
    if references and len(unknown) == len(references):
        raise QueryError(
            f"no question_id of {reference_answers} occurs in {source}; the two files do not belong together"
        )
    return queries


def choose_subset(queries: Sequence[Query], limit: int | None, seed: int) -> tuple[Query, ...]:
    """Return `limit` queries spread evenly over the categories, drawn by `seed`, in the set's order.

    Of two limits under one seed the smaller choice is contained in the larger one, so that raising
    the limit of a study adds queries and repeats none.
    """
    if limit is None or limit >= len(queries):
        return tuple(queries)
    if limit < 1:
        raise QueryError(f"--limit {limit} leaves no query; give at least 1")
    by_category: dict[str, list[int]] = defaultdict(list)
    for position, query in enumerate(queries):
        by_category[query.category].append(position)
    generator = random.Random(seed)
    categories = list(by_category)
    generator.shuffle(categories)
    for positions in by_category.values():
        generator.shuffle(positions)
    rounds = (
        by_category[name][turn] for turn in range(len(queries)) for name in categories if turn < len(by_category[name])
    )
    chosen = sorted(position for position, _ in zip(rounds, range(limit), strict=False))
    return tuple(queries[position] for position in chosen)


def second_answers() -> dict[str, tuple[str, ...]]:
    """Return a second good answer per turn for each built-in query, written independently of the references.

    Audits of judges plant their controls in these.
    """
    return _answers("second_answers.jsonl")


def wrong_answers() -> dict[str, tuple[str, ...]]:
    """Return confident wrong answers to the first turn of those built-in queries that have a right one."""
    return _answers("wrong_answers.jsonl")


def _answers(name: str) -> dict[str, tuple[str, ...]]:
    return {row["id"]: tuple(row["answers"]) for _, row in read_rows(DATA / name, name, QueryError)}


def _rows(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row with a text that says where it stands."""
    if source in BUILT_IN:
        return read_rows(DATA / "queries.jsonl", source, QueryError)
    path = Path(source).expanduser()
    if not path.is_file():
        raise QueryError(
            f"queries {source!r} is neither a built-in set nor a file; {nearest(source, BUILT_IN)}, or give a path"
        )
    return read_rows(path, str(path), QueryError)


def _query(row: dict[str, Any], where: str, references: dict[str, list[str]]) -> Query:
    identity = str(row.get("question_id", row.get("id", where.rsplit(" ", 1)[-1])))
    turns = row.get("turns")
    if turns is None:
        single = next((row[key] for key in ("instruction", "query", "prompt", "question") if key in row), None)
        if single is None:
            raise QueryError(f"{where} has neither turns nor instruction, query, prompt or question; add one of them")
        turns = [single]
    own = row.get("references", row.get("reference", row.get("output")))
    given = references.get(identity, [own] if isinstance(own, str) else own or [])
    if not isinstance(turns, list) or not isinstance(given, list):
        raise QueryError(f"{where}: turns and references must be lists of texts")
    if not all(text is None or isinstance(text, str) for text in given):
        raise QueryError(f"{where}: every reference must be a text or null")
    try:
        return Query(id=identity, category=str(row.get("category", "")), turns=tuple(turns), references=tuple(given))
    except QueryError as error:
        raise QueryError(f"{where}: {error}") from error


def _reference_answers(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise QueryError(f"--reference-answers {path} is not a file; give FastChat's reference_answer JSONL")
    answers: dict[str, list[str]] = {}
    for where, row in read_rows(path, str(path), QueryError):
        try:
            answers[str(row["question_id"])] = list(row["choices"][0]["turns"])
        except (KeyError, IndexError, TypeError) as error:
            raise QueryError(
                f"{where} lacks question_id or choices[0].turns; give FastChat's reference_answer JSONL"
            ) from error
    return answers


def _check_unique(queries: Sequence[Query], source: str) -> None:
    seen: set[str] = set()
    for query in queries:
        if query.id in seen:
            raise QueryError(f"{source}: the id {query.id!r} occurs twice; ids must be unique")
        seen.add(query.id)
