"""Evaluation sets: built-in ones, MT-Bench's, AlpacaEval's, IFEval's and its relatives', and plain JSONL.

Knows neither prompts nor judges. A broken line is named by its number.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ablations.core.errors import QueryError, closest, nearest
from ablations.core.jsonl import DATA, JsonObject, read_rows
from ablations.core.records import Check, Query

BUILT_IN = {"instructions": "queries.jsonl", "short": "short.jsonl"}
"""Built-in evaluation sets, and the files of the package that hold them."""
DEFAULT_QUERIES = "instructions"


Accept = Callable[[Check, str], bool]
"""Whether a check, which stands at a place in a file, is kept; raises `QueryError` where it cannot be."""


def load_queries(
    source: str,
    reference_answers: Path | None = None,
    accept: Accept = lambda check, where: True,
    unread: Counter[str] | None = None,
) -> tuple[Query, ...]:
    """Return the queries of a built-in set or a file, in the file's order.

    Args:
        source: "instructions" (48 two-turn queries over MT-Bench's eight categories) or "short" (112 questions with
            one right answer of a few words, with checks), both written for this project; or a path: MT-Bench's
            `question.jsonl`, an AlpacaEval-style JSON list (`instruction`, optional `output` as reference), or JSONL
            with `turns` or `query`/`prompt`/`instruction`.
            Checks stand in `checks` (a list of `{"id", "kwargs"}` for each turn), in IFEval's and IFBench's
            `instruction_id_list` and `kwargs`, or in Multi-IF's `turn_1_…` and `turn_2_…`.
        reference_answers: FastChat's `reference_answer/*.jsonl`, joined by `question_id`.
        accept: decides about each check.
        unread: takes the count of each field of rows that no part of a query is made of.

    Raises:
        QueryError: unknown name, unreadable file, a broken row (named by line), a field whose name is nearly one that
            is read, or a repeated id.
    """
    rows = list(_rows(source))
    if source not in BUILT_IN:
        found = Counter(name for where, row in rows for name in _unread(row, where))
        if unread is not None:
            unread.update(found)
    references = _reference_answers(reference_answers) if reference_answers else {}
    queries = tuple(_query(row, where, references, accept) for where, row in rows)
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


def foreign_answers() -> dict[str, tuple[str, ...]]:
    """Return right answers in German, French or Spanish to the first turn of built-in queries, all asked in English."""
    return _answers("foreign_answers.jsonl")


def reworded_answers() -> dict[str, tuple[str, ...]]:
    """Return a third good answer to the first turn of built-in queries, in words far from the others."""
    return _answers("reworded_answers.jsonl")


def short_answers(kind: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return answers to each turn of the built-in set `short`, where it has some, by the query's id.

    Args:
        kind: "wrong", or "also" for right ones in other words than the reference's.
    """
    return {str(row["id"]): tuple(tuple(turn or ()) for turn in row.get(kind) or ()) for _, row in _rows("short")}


def _answers(name: str) -> dict[str, tuple[str, ...]]:
    return {row["id"]: tuple(row["answers"]) for _, row in read_rows(DATA / name, name, QueryError)}


def _rows(source: str) -> Iterator[tuple[str, JsonObject]]:
    """Yield each row with a text that says where it stands."""
    if source in BUILT_IN:
        return read_rows(DATA / BUILT_IN[source], source, QueryError)
    path = Path(source).expanduser()
    if not path.is_file():
        raise QueryError(
            f"queries {source!r} is neither a built-in set nor a file; {nearest(source, BUILT_IN)}, or give a path"
        )
    return read_rows(path, str(path), QueryError)


_MULTI_IF = "turn_1_prompt"
"""The field that tells a row of Multi-IF's; its third turns are left out."""


_IDENTITIES = ("question_id", "id", "key")
_ONE_TURN = ("instruction", "query", "prompt", "question")
_REFERENCES = ("references", "reference", "output")
_READ = (*_IDENTITIES, *_ONE_TURN, *_REFERENCES, "category", "turns", "checks", "instruction_id_list", "kwargs")


def _unread(row: JsonObject, where: str) -> list[str]:
    """Return the fields of a row that no part of a query is made of.

    Raises:
        QueryError: the name of one is nearly one that is read.
    """
    if _MULTI_IF in row:
        return []
    found = [name for name in row if name not in _READ]
    for name in found:
        near = closest(name.lower(), _READ, least=0.85)
        if near is not None and near not in row:
            raise QueryError(f"{where}: the field {name!r} is not read; did you mean {near}? Rename or drop it")
    return found


def _query(row: JsonObject, where: str, references: dict[str, list[str]], accept: Accept) -> Query:
    if _MULTI_IF in row:
        row = _of_multi_if(row, where)
    identity = str(next((row[name] for name in _IDENTITIES if name in row), where.rsplit(" ", 1)[-1]))
    turns = row.get("turns")
    if turns is None:
        single = next((row[name] for name in _ONE_TURN if name in row), None)
        if single is None:
            raise QueryError(f"{where} has neither turns nor instruction, query, prompt or question; add one of them")
        turns = [single]
    own = next((row[name] for name in _REFERENCES if name in row), None)
    given = references.get(identity, [own] if isinstance(own, str) else own or [])
    if not isinstance(turns, list) or not isinstance(given, list):
        raise QueryError(f"{where}: turns and references must be lists of texts")
    if not all(text is None or isinstance(text, str) for text in given):
        raise QueryError(f"{where}: every reference must be a text or null")
    asked = _checks(row, where)
    if asked and len(asked) != len(turns):
        raise QueryError(
            f"{where} has {len(turns)} turns and checks of {len(asked)}; give a list of checks for each turn, an empty "
            "one for a turn without checks"
        )
    checks = [tuple(one for one in turn if accept(one, where)) for turn in asked]
    try:
        return Query(identity, str(row.get("category", "")), tuple(turns), tuple(given), tuple(checks))
    except QueryError as error:
        raise QueryError(f"{where}: {error}") from error


def _checks(row: JsonObject, where: str) -> list[list[Check]]:
    """Return the checks of each turn, as the row has them."""
    if "instruction_id_list" in row:
        ids, kwargs = row["instruction_id_list"], row.get("kwargs")
        if not isinstance(ids, list) or not isinstance(kwargs, list) or len(ids) != len(kwargs):
            raise QueryError(f"{where}: instruction_id_list and kwargs must be lists of one length; correct the row")
        return [[_check({"id": one, "kwargs": given}, where) for one, given in zip(ids, kwargs, strict=True)]]
    found = row.get("checks") or []
    if isinstance(found, list) and any(isinstance(one, dict) for one in found):
        found = [found]
    if not isinstance(found, list) or not all(turn is None or isinstance(turn, list) for turn in found):
        raise QueryError(f"{where}: checks must be a list of checks for each turn; correct the row")
    return [[_check(one, where) for one in turn or ()] for turn in found]


def _check(given: object, where: str) -> Check:
    """Return a check; an argument that is null, as tables have it for what a check does not take, is absent."""
    kwargs = (given.get("kwargs") or {}) if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(given.get("id"), str) or not isinstance(kwargs, dict):
        raise QueryError(f'{where}: a check is {{"id": TEXT, "kwargs": {{…}}}}, not {given!r}; correct it')
    if more := sorted(set(given) - {"id", "kwargs"}):
        raise QueryError(f"{where}: the check {given['id']!r} has {', '.join(more)} beside id and kwargs; correct it")
    return Check(given["id"], {name: value for name, value in kwargs.items() if value is not None})


def _of_multi_if(row: JsonObject, where: str) -> JsonObject:
    """Return the first two turns of a row of Multi-IF's, whose fields hold JSON in texts, as a row of our own."""
    turns, checks = [], []
    try:
        for number in (1, 2):
            if (prompt := row.get(f"turn_{number}_prompt")) is not None:
                turns.append(json.loads(prompt)["content"])
                ids, kwargs = (json.loads(row[f"turn_{number}_{name}"]) for name in ("instruction_id_list", "kwargs"))
                own = [json.loads(given) if isinstance(given, str) else given for given in kwargs]
                checks.append([{"id": one, "kwargs": given} for one, given in zip(ids, own, strict=True)])
    except (KeyError, TypeError, ValueError) as error:
        raise QueryError(
            f"{where} begins as a row of Multi-IF's and has no prompt, instruction_id_list and kwargs, each as JSON in "
            f"a text, for each turn ({error!r}); give the rows as Multi-IF has them"
        ) from error
    kept = {name: row[own] for name, own in (("id", "key"), ("category", "language")) if row.get(own) is not None}
    return {**kept, "turns": turns, "checks": checks}


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
