"""The records of a study: Query, Prompt, Completion, Score, Judgment, TrialRecord.

Knows neither where they come from nor where they are stored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from ablations.core.errors import QueryError
from ablations.core.jsonl import JsonObject, Record
from ablations.core.prompt import Value


@dataclass(frozen=True)
class Check(Record):
    """A verifiable instruction: what an answer must fulfil, in IFEval's form.

    Attributes:
        id: which test, such as "length_constraints:number_words"; `judges.checks` knows them.
        kwargs: the test's arguments by name, as the row of the evaluation set has them.
    """

    id: str
    kwargs: JsonObject = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Query(Record):
    """One row of the evaluation set.

    Attributes:
        id: unique within the set.
        category: such as "math"; "" where the set has none.
        turns: one or two user messages.
        references: a reference answer per turn, None where there is none; padded to the number of turns.
        checks: what the answer to each turn must fulfil, empty where nothing can be checked; padded likewise.
    """

    id: str
    category: str
    turns: tuple[str, ...]
    references: tuple[str | None, ...] = ()
    checks: tuple[tuple[Check, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple(self.turns))
        missing = len(self.turns) - len(self.references)
        object.__setattr__(self, "references", (*self.references, *[None] * missing))
        unchecked = len(self.turns) - len(self.checks)
        object.__setattr__(self, "checks", (*map(tuple, self.checks), *[()] * unchecked))
        if not 1 <= len(self.turns) <= 2 or missing < 0:
            raise QueryError(
                f"query {self.id!r} has {len(self.turns)} turns and {len(self.references)} references; "
                "give one or two turns and at most one reference for each"
            )
        if unchecked < 0:
            raise QueryError(
                f"query {self.id!r} has {len(self.turns)} turns and checks of {len(self.checks)}; give at most one "
                "list of checks for each turn"
            )
        if not all(isinstance(text, str) and text.strip() for text in self.turns):
            raise QueryError(f"query {self.id!r} has an empty turn; give every turn a text")
        if "\0" in self.id:
            raise QueryError(f"the id {self.id!r} holds a NUL, which no database takes; correct it")
        for text in (self.id, *self.turns, *(reference for reference in self.references if reference)):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise QueryError(f"query {self.id!r} holds a lone surrogate, no character; correct it") from error

    def first_turns(self, most: int) -> "Query":
        """Return the query with its first turns alone, `most` of them."""
        kept = {name: getattr(self, name)[:most] for name in ("turns", "references", "checks")}
        return replace(self, **kept)

    def to_dict(self) -> JsonObject:
        """Return the fields as plain JSON types; a query without checks is written as if there were none."""
        fields = super().to_dict()
        if not any(self.checks):
            del fields["checks"]
        return fields

    @classmethod
    def from_dict(cls, fields: JsonObject) -> Self:
        """Build the query from what `to_dict` returned, also after a way through JSON."""
        given = [tuple(Check.from_dict(one) for one in turn) for turn in fields.get("checks", ())]
        return cls(**(fields | {"checks": tuple(given)}))


@dataclass(frozen=True)
class Prompt(Record):
    """The exact text sent to the model, with the query and turn (1 or 2) it asks.

    `templated` texts come from the model's chat template and hold all of its special tokens already.
    """

    query_id: str
    turn: int
    text: str
    templated: bool = False


FINISH_REASONS = ("stop", "length")
"""How a completion may end: by itself or at a stop string, or at `max_tokens`."""


@dataclass(frozen=True)
class Completion(Record):
    """The model's output for one prompt.

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

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "completion_tokens", "seed"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise ValueError(f"{name} of a completion is a whole number from 0 on, not {number!r}")
        if not isinstance(self.text, str):
            raise ValueError(f"a completion holds a text, not {self.text!r}")
        if self.finish_reason not in FINISH_REASONS:
            raise ValueError(f"a completion ends by {' or '.join(FINISH_REASONS)}, not by {self.finish_reason!r}")

    @property
    def answer(self) -> str:
        """The text as the next turn and the judge see it: every ``` fence removed, stripped."""
        return self.text.replace("```", "").strip()

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut at `max_tokens`."""
        return self.finish_reason == "length"


MIN_COVERAGE = 0.9
"""Below this share of scored completions a trial fails instead of winning or losing."""


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
    """Use of a server: calls, and the tokens it read and wrote."""

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
    """A judge's verdict on one completion.

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
    details: Mapping[str, float] = field(default_factory=dict, hash=False)
    usage: Usage = Usage()

    @classmethod
    def from_dict(cls, fields: JsonObject) -> Self:
        """Build the judgment from what `to_dict` returned."""
        built = {"score": Score(**fields["score"]), "usage": Usage(**fields["usage"])}
        return cls(**(fields | built | {"replies": tuple(fields["replies"])}))


@dataclass(frozen=True)
class Price:
    """Price of a model's tokens, in US dollars per million."""

    prompt: float
    completion: float

    def cost(self, usage: Usage) -> float:
        """Return what these tokens cost, in US dollars."""
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / 1_000_000


CONTENT, FINISHED = "content", "finished"
OUTCOMES = (CONTENT, FINISHED)
"""Details of a judgment that are outcomes of their own beside its score, each from 0 to 1."""


@dataclass(frozen=True)
class JudgedTurn:
    """One turn of one query under one trial: what the model said and what the judges made of it.

    Attributes:
        query, turn: what was asked; turns count from 1.
        completion: what the model said.
        judgment: of the judge that decides.
        also: of the study's further judges.
    """

    query: Query
    turn: int
    completion: Completion
    judgment: Judgment
    also: tuple[Judgment, ...] = ()

    @property
    def judgments(self) -> tuple[Judgment, ...]:
        """Every judgment, that of the judge that decides first."""
        return (self.judgment, *self.also)

    @property
    def outcomes(self) -> dict[str, float | None]:
        """Outcomes beside the score that decides, by name: `OUTCOMES` as far as they are known, and further scores."""
        found: dict[str, float | None] = {}
        for judgment in self.judgments:
            found |= {name: judgment.details[name] for name in OUTCOMES if name in judgment.details}
        return found | {judgment.judge: judgment.score.value for judgment in self.also}


class TrialState(StrEnum):
    """How a finished trial ended."""

    COMPLETE = "complete"
    FAILED = "failed"
    """Too few of its completions have a score, or nothing could answer."""
    STOPPED = "stopped"
    """Of a race: it could not become the best, and did not see every query."""


class Role(StrEnum):
    """Why a trial is in its study."""

    BASELINE = "baseline"
    REPLICATE = "replicate"
    ONE_FACTOR = "one-factor"
    ANCHOR = "anchor"
    JOINT = "joint"
    FILL = "fill"
    LISTED = "listed"
    SAMPLED = "sampled"
    CANDIDATE = "candidate"
    HELD_BACK = "held-back"


@dataclass(frozen=True)
class Stop(Record):
    """Why a trial was stopped.

    Attributes:
        after: queries that it saw.
        of: queries of the study.
        behind: the number of the trial that it was compared with.
        estimate: that trial's mean over all queries plus the mean difference on those seen by both.
    """

    after: int
    of: int
    behind: int
    estimate: float

    def __str__(self) -> str:
        return f"clearly behind trial {self.behind} after {self.after} of {self.of} queries"


@dataclass(frozen=True)
class TrialRecord(Record):
    """A finished trial, as the store keeps it: what was evaluated, and what came of it.

    Attributes:
        number: of the trial in its study.
        condition_id: of what it evaluated.
        label: what people call it.
        run_name: what MLflow calls it.
        role: why it is in the study.
        state: how it ended.
        values: every parameter as it was asked for, by name.
        point: the varied parameters that have an effect.
        mean: its score, points of the judge's scale; None where nothing was scored.
        failed_because: the reason of a failure, or None.
        replicate: 0, or the number of an A/A replicate, which differs in its seeds alone.
        varied: the one parameter that differs from the reference, or None.
        reference: condition_id of the condition that it is compared with, or None.
        index: its place in a design that was fixed beforehand, or None.
        seconds: until its last answer was there.
        started, ended: seconds since the epoch.
        measured: whether the engine made all of its answers, so that `seconds` says how fast that is.
        stopped: why it did not see every query, where a trial of its study was the reason.
        own_run: whether MLflow shows it as a run of its own.
        arm: of a study whose trials differ in what answers: what its results say of that, by column.
        recipe, job: how the weights that answered were trained, and under which key they are stored.
        answered_by: the identity of what answered, where that is not the study's own model.
    """

    number: int
    condition_id: str
    label: str
    run_name: str
    role: Role
    state: TrialState
    values: Mapping[str, Value] = field(hash=False)
    point: Mapping[str, Value] = field(hash=False)
    mean: float | None
    failed_because: str | None = None
    replicate: int = 0
    varied: str | None = None
    reference: str | None = None
    index: int | None = None
    seconds: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    measured: bool = False
    stopped: Stop | None = None
    own_run: bool = True
    arm: Mapping[str, str | int | float | None] = field(default_factory=dict, hash=False)
    recipe: JsonObject | None = field(default=None, hash=False)
    job: str | None = None
    answered_by: JsonObject | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if (self.state is TrialState.FAILED) != (self.failed_because is not None):
            raise ValueError(f"trial {self.number} is {self.state} and failed because of {self.failed_because!r}")
        if self.mean is not None and not math.isfinite(self.mean):
            raise ValueError(f"the mean of trial {self.number} is a finite number or None, not {self.mean!r}")
        if self.state is TrialState.COMPLETE and self.mean is None:
            raise ValueError(f"trial {self.number} is complete and has no mean")

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the varied parameters that have an effect, in alphabetical order."""
        return tuple(sorted(self.point))

    @classmethod
    def from_dict(cls, fields: JsonObject) -> Self:
        """Build the record from what `to_dict` returned, also after a way through JSON."""
        stopped = fields["stopped"]
        built = {
            "role": Role(fields["role"]),
            "state": TrialState(fields["state"]),
            "stopped": None if stopped is None else Stop.from_dict(stopped),
            **{name: {key: _typed(value) for key, value in fields[name].items()} for name in ("values", "point")},
        }
        return cls(**(fields | built))


def _typed(value: Value | list[str]) -> Value:
    """Return a parameter's value, whose lists JSON has in place of tuples."""
    return tuple(value) if isinstance(value, list) else value
