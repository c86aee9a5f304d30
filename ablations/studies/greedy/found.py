"""Results of a greedy search: its rounds, the prompts before and after, and their JSON round trip.

Knows neither how a search goes nor how its findings are shown.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ablations.core.jsonl import JsonObject
from ablations.core.prompt import Demonstration, PromptParts, Template
from ablations.core.statistics import Ends, Scale, mean_interval
from ablations.prompts.render import render_demonstrations
from ablations.studies.greedy.racing import RaceResult, Stopped

FOUND_NOTE = "found"
"""Kind of the store's note of a search that has come to its end."""


@dataclass(frozen=True)
class Gain:
    """A mean of paired differences over queries with its 95 % interval (Student's t); None where there are too few."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def between(
        cls, first: Sequence[float | None], second: Sequence[float | None], scale: Scale | None = None
    ) -> "Gain":
        """Return the gain of the first scores over the second ones, on the queries where both have one."""
        known = [one - other for one, other in zip(first, second, strict=True) if one is not None and other is not None]
        ends = Ends.of(scale)
        return cls(*mean_interval(known, ends=ends.differences()), len(known))


@dataclass(frozen=True)
class Round:
    """One round of the search.

    Attributes:
        number: from 1.
        candidates: that raced, by id.
        winner: the best of them, or None if none has a score.
        gain: of the winner over the prompt it was added to, on the selection queries. Picked as the best of many,
            it is subject to selection bias.
        added: whether the winner stays in the prompt.
        race: who was stopped when and why.
    """

    number: int
    candidates: tuple[str, ...]
    winner: Demonstration | None
    gain: Gain
    added: bool
    race: RaceResult

    @property
    def lead(self) -> Gain:
        """The winner's lead over the runner-up. Picked as the best, the winner leads by more than it is better."""
        winner, second = self.race.winner, self.race.runner_up
        if winner is None or second is None:
            return Gain(None, None, None, 0)
        return Gain.between(self.race.row(winner), self.race.row(second))


@dataclass(frozen=True)
class Found:
    """Results of a search that has come to its end.

    Attributes:
        rounds: in their order.
        why_ended: why, as `kind` has it.
        start, chosen: the prompts before and after.
        selected: mean score of the start prompt and the chosen one on the selection queries.
        held_back: the same on the queries that the search did not see.
    """

    rounds: tuple[Round, ...]
    why_ended: str
    start: PromptParts
    chosen: PromptParts
    selected: tuple[float | None, float | None]
    held_back: tuple[float | None, float | None]

    @property
    def prompt_text(self) -> str:
        """The chosen prompt as a prompt file."""
        return render_demonstrations(self.chosen)

    @property
    def evaluations(self) -> tuple[int, int]:
        """Evaluated pairs of candidate and query, and how many there would be without racing."""
        full = sum(len(one.candidates) * one.race.queries for one in self.rounds)
        return sum(one.race.evaluations for one in self.rounds), full

    @property
    def share(self) -> float | None:
        """Cost of racing, as a share of full evaluations; None where nothing raced."""
        spent, full = self.evaluations
        return spent / full if full else None

    def to_dict(self) -> JsonObject:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: JsonObject) -> "Found":
        """Build what `to_dict` returned, also after a way through JSON."""
        return cls(
            rounds=tuple(_round(one) for one in fields["rounds"]),
            why_ended=fields["why_ended"],
            start=_parts(fields["start"]),
            chosen=_parts(fields["chosen"]),
            selected=tuple(fields["selected"]),
            held_back=tuple(fields["held_back"]),
        )

    @property
    def added(self) -> list[str]:
        """The demonstrations that stayed in the prompt, by id, in the order of the rounds."""
        return [one.winner.id for one in self.rounds if one.added and one.winner is not None]


def _round(fields: JsonObject) -> Round:
    raced, winner = fields["race"], fields["winner"]
    scores = {int(one): {int(at): score for at, score in seen.items()} for one, seen in raced["scores"].items()}
    stopped = tuple(Stopped(**one) for one in raced["stopped"])
    return Round(
        number=fields["number"],
        candidates=tuple(fields["candidates"]),
        winner=None if winner is None else Demonstration(**winner),
        gain=Gain(**fields["gain"]),
        added=fields["added"],
        race=RaceResult(raced["winner"], raced["queries"], scores, stopped),
    )


def _parts(fields: JsonObject) -> PromptParts:
    template = Template(**(fields["template"] | {"stop": tuple(fields["template"]["stop"])}))
    by_query = tuple((query, tuple(Demonstration(**one) for one in shown)) for query, shown in fields["by_query"])
    shown = tuple(Demonstration(**one) for one in fields["shots"])
    return PromptParts(**(fields | {"template": template, "by_query": by_query, "shots": shown}))
