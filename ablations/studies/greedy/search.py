"""Greedy search: the demonstrations that raise the judged score of the first turn, one added in each round.

From a start prompt, every candidate of a pool is put in front of the demonstrations in turn; the one with the best
score on the selection half of the queries stays (Zhao et al. 2025). Candidates race, see `demonstrations.racing`. The
held-back half of the queries gives the honest score of what was chosen. Knows neither engines nor pages.

Nothing here remembers where it was: every completion and judgment is in the store, so the same search run again
looks up what it did and goes on.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ablations.core.condition import Condition, content_hash
from ablations.core.prompt import Demonstration, PromptParts, Template
from ablations.core.records import JudgedTurn, Query, Role
from ablations.core.statistics import mean_interval, summarise
from ablations.prompts.render import render_demonstrations
from ablations.storage.store import ResultKeys, Store
from ablations.studies.engine.evaluator import Evaluator
from ablations.studies.engine.trial import DesignPoint, PlannedTrial, Stopwatch, check_replies
from ablations.studies.greedy.plan import (
    ALL_ROUNDS,
    NO_CANDIDATE,
    NO_GAIN,
    NO_SCORE,
    SearchPlan,
    race_settings,
    with_first,
)
from ablations.studies.greedy.racing import RaceResult, Stopped, race
from ablations.studies.spec import StudySpec
from ablations.tracking.tracker import RoundPage, Tracker

ROUND_NOTE, FOUND_NOTE = "round", "found"
"""What the store keeps of a search for its pages: a note for each round, and one of what was found."""


@dataclass(frozen=True)
class Gain:
    """A mean of paired differences over queries with its 95 % interval (Student's t); None where there are too few."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def between(cls, first: Sequence[float | None], second: Sequence[float | None]) -> "Gain":
        """Return the gain of the first scores over the second ones, on the queries where both have one."""
        known = [one - other for one, other in zip(first, second, strict=True) if one is not None and other is not None]
        return cls(*mean_interval(known), len(known))

    @property
    def includes_zero(self) -> bool:
        """Whether 0 lies in the interval, or there is none."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


@dataclass(frozen=True)
class Round:
    """One round of the search.

    Attributes:
        number: from 1.
        candidates: that raced, by id.
        winner: the best of them, or None if none has a score.
        gain: of the winner over the prompt it was added to, on the selection queries. Picked as the best of many,
            it is flattered.
        kept: whether the winner stays in the prompt.
        race: who was stopped when and why.
    """

    number: int
    candidates: tuple[str, ...]
    winner: Demonstration | None
    gain: Gain
    kept: bool
    race: RaceResult


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        rounds: in their order.
        why_ended: one of this module's reasons.
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
        """What racing cost, as a share of full evaluations; None where nothing raced."""
        spent, full = self.evaluations
        return spent / full if full else None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Found":
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
        return [one.winner.id for one in self.rounds if one.kept and one.winner is not None]


@dataclass
class State:
    """What a progress display shows."""

    round: int = 0
    best: str = "the start prompt"


class GreedySearch:
    """Runs the search of one spec, beginning where an earlier run stopped.

    Args:
        spec: mode `greedy-search`; its queries have one turn, its baseline is the start prompt.
        evaluator: its parts may start after this, but before `run`.
        store, tracker: opened ones.
    """

    def __init__(self, spec: StudySpec, evaluator: Evaluator, store: Store, tracker: Tracker) -> None:
        self._spec = spec
        self._evaluator = evaluator
        self._store = store
        self._tracker = tracker
        self.plan = SearchPlan.of(spec)
        self._settings = race_settings(len(self.plan.candidates), len(self.plan.halves.selection), spec.racing)
        self.state = State()

    @property
    def remaining(self) -> int:
        """0 where an earlier run came to its end, else 1."""
        return 0 if self._last + 1 in self._store.trials(self._spec.name) else 1

    @property
    def _last(self) -> int:
        """The number of the first trial after all rounds."""
        return 1 + self.plan.rounds * len(self.plan.candidates)

    async def run(self) -> Found:
        """Search, and return what was found.

        Raises:
            PartFailedError: a part failed; the next run goes on from the store.
        """
        start, self._evaluator.asks_again = self._spec.baseline, self.remaining > 0
        current = await self._scores(0, start, self.plan.halves.selection, Role.BASELINE, "the start prompt")
        first, parts, rounds, why = current, start.prompt, list[Round](), ALL_ROUNDS
        for number in range(1, self.plan.rounds + 1):
            shown = {one.query for one in parts.shots}
            racers = [one for one in self.plan.candidates if one.query not in shown]
            if not racers:
                why = NO_CANDIDATE
                break
            watch = Stopwatch()
            outcome, scores = await self._round(number, parts, racers, current)
            rounds.append(outcome)
            await self._log_round(outcome, parts, racers, watch)
            if outcome.winner is None:
                why = NO_SCORE
                break
            if not outcome.kept:
                why = NO_GAIN
                break
            parts, current = with_first(parts, outcome.winner), scores
            self.state.best = f"{len(parts.shots)} demonstrations"
        held = self.plan.halves.held_back
        before = await self._scores(self._last, start, held, Role.HELD_BACK, "held back: the start prompt")
        chosen = replace(start, prompt=parts)
        after = await self._scores(self._last + 1, chosen, held, Role.HELD_BACK, "held back: the chosen prompt")
        return Found(
            rounds=tuple(rounds),
            why_ended=why,
            start=start.prompt,
            chosen=parts,
            selected=(_mean(first), _mean(current)),
            held_back=(_mean(before), _mean(after)),
        )

    async def _round(
        self, number: int, parts: PromptParts, racers: list[Demonstration], current: list[float | None]
    ) -> tuple[Round, list[float | None]]:
        """Race the candidates; return the round and the winner's scores."""
        self.state.round = number
        conditions = [replace(self._spec.baseline, prompt=with_first(parts, one)) for one in racers]
        places = [self._place(number, one) for one in racers]
        turns: dict[int, list[JudgedTurn]] = {index: [] for index in range(len(racers))}

        async def score(index: int, positions: Sequence[int]) -> list[float | None]:
            some = [self.plan.halves.selection[position] for position in positions]
            judged = await self._evaluate(places[index], conditions[index], some)
            turns[index] += judged
            return [turn.judgment.score.value for turn in judged]

        watch = Stopwatch()
        result = await race(len(racers), current, score, self._settings)
        for index, one in enumerate(racers):
            state = "complete" if index in result.finished else "stopped"
            trial = self._trial(places[index], conditions[index], Role.CANDIDATE, f"round {number}: + {one.id}")
            when = (watch.started, watch.now)
            record = trial.record(state, None, summarise(turns[index]), watch.seconds, when, measured=False)
            self._store.add_trial(self._spec.name, trial.number, record)
        winner = None if result.winner is None else racers[result.winner]
        scores = [] if result.winner is None else [result.scores[result.winner][at] for at in range(len(current))]
        gain = Gain.between(scores, current) if scores else Gain(None, None, None, 0)
        hopeless = gain.includes_zero or gain.value is None or gain.value < 0
        kept = winner is not None and not (self.plan.stops_without_gain and hopeless)
        return Round(number, tuple(one.id for one in racers), winner, gain, kept, result), scores

    def _place(self, number: int, candidate: Demonstration) -> int:
        """The number of a candidate's trial, the same in every run."""
        return 1 + (number - 1) * len(self.plan.candidates) + self.plan.candidates.index(candidate)

    async def _scores(
        self, number: int, condition: Condition, queries: Sequence[Query], role: Role, label: str
    ) -> list[float | None]:
        """Evaluate a condition on all of these queries and record it as a trial."""
        watch, trial = Stopwatch(), self._trial(number, condition, role, label)
        turns = await self._evaluate(number, condition, queries)
        summary, seconds = summarise(turns), watch.seconds
        why = summary.failure(self._spec.min_coverage)
        if why is not None:
            check_replies(f"trial {number} ({label})", summary)
        state = "complete" if why is None else "failed"
        record = trial.record(state, why, summary, seconds, (watch.started, watch.now), measured=False)
        self._store.add_trial(self._spec.name, number, record)
        if not self._tracker.knows(number):
            kept = self._store.trials(self._spec.name)[number]  # an earlier run's, where it has evaluated the trial
            prompt = self._store.prompts(self._spec.name, number).get((queries[0].id, 1))
            await self._tracker.log_trial(number, kept, summary, turns, prompt)
        return [turn.judgment.score.value for turn in turns]

    async def _evaluate(self, trial: int, condition: Condition, queries: Sequence[Query]) -> list[JudgedTurn]:
        found: list[ResultKeys] = []
        turns = await self._evaluator.evaluate(condition, queries, 0, lambda turn, keys: found.append(keys.of(turn)))
        self._store.add_results(self._spec.name, trial, found)
        return turns

    def _trial(self, number: int, condition: Condition, role: Role, label: str) -> PlannedTrial:
        point = DesignPoint({"shots": len(condition.prompt.shots)}, role)
        return PlannedTrial(number, condition, point, self._spec.baseline, label)

    async def _log_round(
        self, outcome: Round, parts: PromptParts, racers: list[Demonstration], watch: Stopwatch
    ) -> None:
        """Log a round as a run of its own: who raced, who was stopped when, and what the winner gained."""
        place = self._place(outcome.number, racers[0])
        found = outcome.race
        why = {stop.candidate: stop.why for stop in found.stopped}
        rows = [
            {
                "candidate": one.id,
                "query": one.query,
                "queries_seen": len(found.scores[index]),
                "mean": _mean(list(found.scores[index].values())),
                "stopped": why.get(index, ""),
                "winner": index == found.winner,
            }
            for index, one in enumerate(racers)
        ]
        gain = outcome.gain
        page = RoundPage(
            number=place,
            name=f"round {outcome.number}: {outcome.winner.id if outcome.winner else 'nobody'} of {len(racers)}",
            started=watch.started,
            ended=watch.now,
            parameters={
                "round": outcome.number,
                "prompt": content_hash(parts.content()),
                "winner": outcome.winner.id if outcome.winner else "none",
                "kept": outcome.kept,
                "candidates": len(racers),
            },
            metrics={"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high, "racing_share": found.share},
            tables={"candidates.json": {name: [row[name] for row in rows] for name in rows[0]}},
        )
        kind = f"{ROUND_NOTE} {outcome.number}"
        if (kept := self._store.notes(self._spec.name).get(kind)) is not None:
            page = replace(page, started=kept["started"], ended=kept["ended"])
        self._store.add_note(self._spec.name, kind, page.to_dict())
        if not self._tracker.knows(place):
            await self._tracker.log_round(page)


def _round(fields: dict[str, Any]) -> Round:
    raced, winner = fields["race"], fields["winner"]
    scores = {int(one): {int(at): score for at, score in seen.items()} for one, seen in raced["scores"].items()}
    stopped = tuple(Stopped(**one) for one in raced["stopped"])
    return Round(
        number=fields["number"],
        candidates=tuple(fields["candidates"]),
        winner=None if winner is None else Demonstration(**winner),
        gain=Gain(**fields["gain"]),
        kept=fields["kept"],
        race=RaceResult(raced["winner"], raced["queries"], scores, stopped),
    )


def _parts(fields: dict[str, Any]) -> PromptParts:
    headings = Template(**(fields["template"] | {"stop": tuple(fields["template"]["stop"])}))
    by_query = tuple((query, tuple(Demonstration(**one) for one in shown)) for query, shown in fields["by_query"])
    shown = tuple(Demonstration(**one) for one in fields["shots"])
    return PromptParts(**(fields | {"template": headings, "by_query": by_query, "shots": shown}))


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None
