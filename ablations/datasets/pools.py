"""Pools: where demonstrations come from. The built-in ones, prompt files, JSON rows in the usual shapes, the hub.

Knows neither queries nor models. A broken row is named by its place.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ablations.core.condition import content_hash
from ablations.core.errors import PoolError, first_line, nearest
from ablations.core.jsonl import JsonObject, read_rows
from ablations.core.prompt import Demonstration, Exchange
from ablations.prompts.components import built_in_demonstrations
from ablations.prompts.packaged import read_lines
from ablations.prompts.urial_file import read_urial

STYLED = "demonstrations"
"""The ten built-in demonstrations, each in every style."""
EXAMPLES = "examples"
"""The built-in two-turn examples."""
BUILT_IN = (STYLED, EXAMPLES)

_FILE_ENDINGS = (".txt", ".json", ".jsonl")
_QUERY_KEYS = ("query", "instruction", "prompt", "question")
_ANSWER_KEYS = ("answer", "output", "response", "completion")
_MESSAGE_LISTS = {"messages": ("role", "content"), "conversations": ("from", "value")}
_SPEAKERS = {
    **dict.fromkeys(("user", "human"), "query"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model"), "answer"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(
        (*("tool", "function", "function_call", "function_response"), *("tool_call", "tool_response"), "observation"),
        "tool",
    ),
}
_FURTHER, _SYSTEM = "further turns", "a system message"


@dataclass(frozen=True)
class Pool:
    """Demonstrations to choose from.

    Attributes:
        name: as it was given.
        demonstrations: in the pool's order, without repeats.
        left_out: what of the source is not used, in words; empty where all is.
    """

    name: str
    demonstrations: tuple[Demonstration, ...]
    left_out: tuple[str, ...] = ()

    @property
    def styled(self) -> bool:
        """Whether the demonstrations are written in several styles."""
        return self.name == STYLED

    @cached_property
    def identity(self) -> str:
        """A hash of what the demonstrations say."""
        return content_hash([[text for said in one.exchanges for text in said] for one in self.demonstrations])


class _JumbledError(Exception):
    """A conversation is not of user and assistant alone, one after the other."""


def load_pool(name: str, whole: bool = False) -> Pool:
    """Return the pool of this name.

    Args:
        name: a built-in pool (`demonstrations`, `examples`); a prompt file of URIAL's kind (`.txt`); a file of JSON
            rows (a list, or one row a line) with query/answer, instruction/output, prompt/response, turns/answers,
            messages or conversations (ShareGPT); or a data set of the hub, `org/name` or `org/name:split` (train).
        whole: whether whole conversations are taken, up to the last answer, and not their first exchanges.

    A row without an answer is a query alone.

    Raises:
        PoolError: there is no such pool, a row cannot be read (named by its place), or nothing is left.
        PromptError: a prompt file cannot be taken apart.
    """
    if name == STYLED:
        return Pool(name, built_in_demonstrations())
    if name == EXAMPLES:
        rows = ((f"row {number}", row) for number, row in enumerate(read_lines("examples.jsonl"), start=1))
        return _pool(name, rows, whole)
    path = Path(name).expanduser()
    if path.suffix == ".txt" and path.is_file():
        return _distinct(name, read_urial(path).demonstrations, [])
    if path.is_file():
        return _pool(name, read_rows(path, name, PoolError), whole)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and path.suffix not in _FILE_ENDINGS:
        return _pool(name, _hub_rows(name), whole)
    raise PoolError(
        f"the pool {name!r} is neither a built-in pool nor a file; {nearest(name, BUILT_IN)}, or give a prompt file, "
        "JSON rows, or a data set of the hub (org/name)"
    )


def _pool(name: str, rows: Iterable[tuple[str, Mapping[str, Any]]], whole: bool) -> Pool:
    found, jumbled, unused = [], 0, Counter[str]()
    for where, row in rows:
        try:
            demonstration, of_row = _demonstration(row, where, whole)
        except _JumbledError:  # common in data sets of the hub, which nobody can correct
            jumbled += 1
            continue
        found.append(demonstration)
        unused.update(of_row)
    used = {
        _FURTHER: "what follows the last answer is left out" if whole else "the first exchange is used",
        _SYSTEM: "the message is left out",
    }
    notes = [
        f"{unused[what]} of {len(found)} conversations have {what}; {then}"
        for what, then in used.items()
        if unused[what]
    ]
    if jumbled:
        notes.append(f"{jumbled} conversations are left out: they are not of user and assistant taking turns")
    return _distinct(name, found, notes)


def _distinct(name: str, found: Sequence[Demonstration], notes: list[str]) -> Pool:
    firsts = {one.exchanges: one for one in reversed(found)}
    distinct = tuple(one for one in found if firsts[one.exchanges] is one)
    if not distinct:
        why = "".join(f" ({note})" for note in notes)
        raise PoolError(f"the pool {name!r} holds no demonstration{why}; give one with at least one row that is used")
    if len({one.id for one in distinct}) < len(distinct):
        distinct = tuple(replace(one, id=str(number)) for number, one in enumerate(distinct, start=1))
    if repeats := len(found) - len(distinct):
        notes = [*notes, f"{repeats} of {len(found)} rows repeat another one"]
    return Pool(name, distinct, tuple(notes))


def _demonstration(row: Mapping[str, Any], where: str, whole: bool) -> tuple[Demonstration, list[str]]:
    """Return what is used of a row, its first exchange or the whole, and what of it is not."""
    identity = str(where.rsplit(" ", 1)[-1] if row.get("id") in (None, "") else row["id"])
    for key, (role, content) in _MESSAGE_LISTS.items():
        if key in row:
            return _conversation(row[key], role, content, identity, where, whole)
    if "turns" in row and "answers" in row:
        turns, answers = row["turns"], row["answers"]
        if not (isinstance(turns, list) and isinstance(answers, list) and turns and answers):
            raise PoolError(f"{where}: turns and answers must be lists with at least one text")
        asked = [_text(turn, "turns", where) for turn in (turns if whole else turns[:1])]
        return _used(identity, [*zip(asked, (_answer(one, where) for one in answers), strict=False)], len(turns))
    query = next((row[key] for key in _QUERY_KEYS if row.get(key) is not None), None)
    if query is None:
        raise PoolError(
            f"{where} has none of {', '.join((*_QUERY_KEYS, *_MESSAGE_LISTS))}, turns with answers; give rows such as "
            '{"query": …, "answer": …} or {"messages": [{"role": "user", "content": …}, …]}'
        )
    text, added = _text(query, "the query", where), row.get("input")
    if isinstance(added, str) and added.strip():  # Alpaca's form: an instruction and what it is about
        text = f"{text}\n\n{added}"
    answer = next((row[key] for key in _ANSWER_KEYS if row.get(key) is not None), None)
    return Demonstration(identity, text, _answer(answer, where)), []


def _used(identity: str, exchanges: Sequence[Exchange], turns: int) -> tuple[Demonstration, list[str]]:
    """Return exchanges up to the last answer as one demonstration, and `_FURTHER` where more turns were there."""
    (query, answer), *further = exchanges
    while further and not further[-1][1]:
        further.pop()
    return Demonstration(identity, query, answer, tuple(further)), [_FURTHER] * (turns > 1 + len(further))


def _conversation(
    messages: Any, role: str, content: str, identity: str, where: str, whole: bool
) -> tuple[Demonstration, list[str]]:
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise PoolError(f"{where}: the conversation must be a list of objects with {role} and {content}")
    said = [(_speaker(one.get(role), where), one.get(content)) for one in messages]
    spoken = [(speaker, text) for speaker, text in said if speaker != "system"]
    system = [_SYSTEM] * (len(spoken) < len(said))
    if whole and (not spoken or spoken[0][0] != "query"):
        raise _JumbledError(where)
    if not spoken or spoken[0][0] != "query":
        raise PoolError(f"{where}: the conversation does not begin with a message of the user; drop the row")
    if not whole:
        answer = spoken[1][1] if len(spoken) > 1 and spoken[1][0] == "answer" else None
        first = Demonstration(identity, _text(spoken[0][1], content, where), _answer(answer, where))
        return first, [_FURTHER] * (len(spoken) > 2) + system
    if any(speaker != ("query", "answer")[place % 2] for place, (speaker, _) in enumerate(spoken)):
        raise _JumbledError(where)
    said = [*spoken, ("answer", None)] if len(spoken) % 2 else spoken
    pairs = zip(said[::2], said[1::2], strict=True)
    exchanges = [(_text(query, content, where), _answer(answer, where)) for (_, query), (_, answer) in pairs]
    used, unused = _used(identity, exchanges, len(exchanges))
    return used, unused + system


def _speaker(role: object, where: str) -> str:
    if not isinstance(role, str) or role not in _SPEAKERS:
        raise PoolError(f"{where}: the speaker {role!r} is not known; {nearest(str(role), _SPEAKERS)}")
    return _SPEAKERS[role]


def _text(value: object, what: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PoolError(f"{where}: {what} is empty or no text; give every demonstration a query")
    return _encodable(value, where)


def _encodable(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PoolError(f"{where} holds a lone surrogate, which is no character; correct it") from error
    return text


def _answer(value: object, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise PoolError(f"{where}: the answer is {type(value).__name__}; give a text, or null for a query alone")
    return None if value is None else _encodable(value, where)


def _hub_rows(name: str) -> Iterable[tuple[str, JsonObject]]:
    """Yield the rows of a data set of the hub."""
    import datasets

    data_set, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(data_set, split=split or "train")
    except Exception as error:  # the hub's client has no base class of its own errors
        raise PoolError(
            f"the pool {name!r}: the data set cannot be loaded ({first_line(error)}); check its name, split and "
            "the network, log in with `hf auth login` where it is gated, or give a file of JSON rows"
        ) from error
    for number, row in enumerate(rows, start=1):
        yield f"{name} row {number}", row
