"""The records of a study: Query, Prompt, Completion, Score, Judgment, and their JSON round trip.

Knows neither where they come from nor where they are kept.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Self

from ablations.core.errors import QueryError


@dataclass(frozen=True)
class Record:
    """A frozen value with a JSON round trip: `type(r).from_json(r.to_json()) == r`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Build the record from what `to_dict` returned."""
        return cls(**fields)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Build the record from what `to_json` returned."""
        return cls.from_dict(json.loads(line))


@dataclass(frozen=True)
class Query(Record):
    """One row of the evaluation set.

    Attributes:
        id: unique within the set.
        category: such as "math"; "" where the set has none.
        turns: one or two user messages.
        references: a reference answer per turn, None where there is none; padded to the number of turns.
    """

    id: str
    category: str
    turns: tuple[str, ...]
    references: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple(self.turns))
        missing = len(self.turns) - len(self.references)
        object.__setattr__(self, "references", (*self.references, *[None] * missing))
        if not 1 <= len(self.turns) <= 2 or missing < 0:
            raise QueryError(
                f"query {self.id!r} has {len(self.turns)} turns and {len(self.references)} references; "
                "give one or two turns and at most one reference for each"
            )
        if not all(isinstance(text, str) and text.strip() for text in self.turns):
            raise QueryError(f"query {self.id!r} has an empty turn; give every turn a text")
        if "\0" in self.id:
            raise QueryError(f"the id {self.id!r} holds a NUL, which no database takes; mend it")
        for text in (self.id, *self.turns, *(reference for reference in self.references if reference)):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise QueryError(f"query {self.id!r} holds a lone surrogate, which is no character; mend it") from error

    @property
    def first_turn(self) -> "Query":
        """The query with its first turn alone."""
        return dataclasses.replace(self, turns=self.turns[:1], references=self.references[:1])


@dataclass(frozen=True)
class Prompt(Record):
    """The exact text sent to the model, with the query and turn (1 or 2) it asks.

    `templated` texts come from the model's chat template and hold all of its special tokens already.
    """

    query_id: str
    turn: int
    text: str
    templated: bool = False


@dataclass(frozen=True)
class Completion(Record):
    """What the model returned for one prompt.

    Attributes:
        text: the raw text, without the stop string.
        prompt_tokens, completion_tokens: counts, as the engine reports them.
        finish_reason: "stop" (end of text or a stop string) or "length" (cut at max_tokens).
        seed: the seed that was sent.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    seed: int

    @property
    def answer(self) -> str:
        """The text as the next turn and the judge see it: every ``` fence removed, stripped."""
        return self.text.replace("```", "").strip()

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut at `max_tokens`."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Score(Record):
    """A number, or None with the reason why there is none; never a stand-in number."""

    value: float | None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a score is a number or a reason, not both: value={self.value!r} reason={self.reason!r}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score is a finite number, not {self.value!r}")


@dataclass(frozen=True)
class Usage(Record):
    """What was asked of a server: calls, and the tokens it read and wrote."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class PaidReply:
    """A reply of a judge's server, as the ledger keeps it.

    Attributes:
        model: who gave it.
        request: a hash of everything that was sent.
        text: what it says.
        usage: what it took.
    """

    model: str
    request: str
    text: str
    usage: Usage


@dataclass(frozen=True)
class Judgment(Record):
    """What a judge said of one completion.

    Attributes:
        judge: its name.
        score: a number on the judge's scale, or None with a reason.
        replies: every raw reply, the last one decisive; empty for a judge that writes none.
        details: named numbers beside the score.
        usage: what it took.
    """

    judge: str
    score: Score
    replies: tuple[str, ...] = ()
    details: dict[str, float] = dataclasses.field(default_factory=dict, hash=False)
    usage: Usage = Usage()

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Build the judgment from what `to_dict` returned."""
        built = {"score": Score(**fields["score"]), "usage": Usage(**fields["usage"])}
        return cls(**(fields | built | {"replies": tuple(fields["replies"])}))
