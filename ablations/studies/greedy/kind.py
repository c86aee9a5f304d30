"""Greedy search: the demonstrations that raise the judged score of the first turn, one added in each round.

From a start prompt, every candidate of a pool is put in front of the demonstrations in turn; the one with the best
score on the selection half of the queries stays (Zhao et al. 2025). Candidates race, see `racing`. The held-back half
of the queries gives the honest score of what was chosen.

Nothing here remembers where it was: every completion and judgment is in the store, so the same search run again
looks up what it did and continues.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import polars as pl

from ablations.core.condition import Condition, content_hash
from ablations.core.prompt import Demonstration, PromptParts
from ablations.core.records import JudgedTurn, Query, Role, TrialState
from ablations.judges.base import Judge
from ablations.storage.workspace import PROMPT_FILE, SELECTION_FILE
from ablations.studies.engine.evaluator import pace
from ablations.studies.engine.run import Run
from ablations.studies.engine.trial import DesignPoint, PlannedTrial, Stopwatch
from ablations.studies.greedy.config import MODES
from ablations.studies.greedy.found import FOUND_NOTE, Found, Gain, Round
from ablations.studies.greedy.plan import (
    ALL_ROUNDS,
    NO_CANDIDATE,
    NO_GAIN,
    NO_SCORE,
    SearchPlan,
    longest_condition,
    race_settings,
    with_first,
)
from ablations.studies.greedy.racing import Scores, race
from ablations.studies.kind import Findings, Plan, Results, StudyKind
from ablations.studies.planning.inputs import Inputs
from ablations.studies.planning.leakage import check_start, queries_that_chose, selection_notes
from ablations.studies.planning.overview import (
    Row,
    compute_text,
    floor_rows,
    judge_row,
    judging_text,
    judgments,
    model_row,
    overview,
    pool_text,
    prompt_text,
)
from ablations.studies.spec import StudySpec
from ablations.tracking.tracker import ChildPage
from analysis.report.page import Report


@dataclass(frozen=True)
class GreedyPlan(Plan):
    """Plan of a greedy search; see `SearchPlan`."""

    @cached_property
    def search(self) -> SearchPlan:
        """Candidates, halves of the queries, rounds."""
        return SearchPlan.of(self.spec)

    @property
    def conditions(self) -> Sequence[Condition]:
        """The start prompt, and one as long as the search can make it."""
        return [self.spec.baseline, longest_condition(self.spec)]

    def overview(self, judge: Judge) -> Report:
        """Return what the search is about to do."""
        spec, search = self.spec, self.search
        answers = spec.baseline.decoding.max_tokens
        trials = search.evaluations / len(spec.queries)  # as if every trial answered all queries
        halves = search.halves
        rows: list[Row] = [
            model_row(spec),
            judge_row(judge),
            *floor_rows(judge, spec.queries),
            (
                "mode",
                f"greedy search, seed {spec.seed}; {search.rounds} rounds at most, ends when {search.ends}",
            ),
            ("prompt", f"starts with {prompt_text(spec.baseline.prompt)}"),
            ("pool", pool_text(spec.prepared)),
            ("candidates", f"{len(search.candidates)}" + ("; the hopeless ones stop early" if search.racing else "")),
            ("queries", f"{len(halves.selection)} to choose by, {len(halves.held_back)} held back; turn 1"),
            ("requests", f"at most {search.evaluations} completions without racing, {judgments(judge)}"),
            ("tokens", f"at most {search.evaluations * answers:,} new tokens (max_tokens {answers})"),
            ("judging", judging_text(spec, judge, trials, answers)),
            ("compute", compute_text(spec, [longest_condition(spec)], trials, search.evaluations * answers)),
        ]
        unreadable = ", ".join(search.unreadable)
        why = "a prompt file could not hold these candidates, so they do not race: "
        return overview(spec, rows, [f"{why}{unreadable}"] if unreadable else [])


async def plan_search(inputs: Inputs) -> GreedyPlan:
    """Return the plan of a greedy search; raise `UserError` for what cannot be."""
    settings = inputs.pool_settings()
    prepared = await inputs.pool(settings)
    chosen_by = queries_that_chose(inputs.config.study.prompt_file)
    notes = selection_notes(chosen_by, inputs.queries)
    prepared = replace(prepared, notes=(*prepared.notes, *notes))
    spec = StudySpec(inputs.config, inputs.queries, inputs.fixed_parts(), prepared)
    check_start(spec, settings, inputs.built_in, inputs.vectors)
    return GreedyPlan(spec)


class GreedyKind(StudyKind[GreedyPlan]):
    """The greedy search for demonstrations."""

    modes: ClassVar = MODES

    async def plan(self, inputs: Inputs) -> GreedyPlan:
        """Return candidates, halves of the queries, rounds."""
        return await plan_search(inputs)

    async def run(self, plan: GreedyPlan, run: Run) -> None:
        """Search, and keep what was found."""
        search = _Search(plan, run)
        with run.reporter.progress(plan.search.evaluations, search.status, run.progress):
            found = await search.run()
        run.note(FOUND_NOTE, found.to_dict())
        run.file(PROMPT_FILE, found.prompt_text)
        selection = [query.id for query in plan.search.halves.selection]
        run.file(SELECTION_FILE, json.dumps(selection, ensure_ascii=False))

    def summarise(self, results: Results) -> Findings:
        """Return what the search found."""
        from ablations.studies.greedy.findings import summarise  # figures and forests take seconds to import

        return summarise(results)

    def contrasts(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the chosen prompt against the start prompt, on the queries that chose nothing."""
        from ablations.studies.greedy.findings import held_back_effect

        found = held_back_effect(frame)
        if isinstance(found, str):
            return pl.DataFrame()
        return found.with_columns(change=pl.lit("the chosen prompt against the start prompt, held-back queries"))


class _Search:
    """One walk through the rounds of a search."""

    def __init__(self, plan: GreedyPlan, run: Run) -> None:
        self._spec, self._run, self._plan = plan.spec, run, plan.search
        self._settings = race_settings(len(self._plan.candidates), len(self._plan.halves.selection), self._plan.racing)
        self._speed = pace(self._plan.evaluations, run.progress, len(self._plan.halves.selection))
        self._round, self._best = 0, "the start prompt"
        self._complete: list[Scores] = []  # of prompts that answered all queries that choose

    @property
    def _last(self) -> int:
        """The number of the first trial after all rounds."""
        return 1 + self._plan.rounds * len(self._plan.candidates)

    def status(self) -> str:
        """Say where the search is: round, rate, time left, best prompt so far."""
        return f"round {self._round}/{self._plan.rounds} · {self._speed()} · best so far: {self._best}"

    async def run(self) -> Found:
        """Search, and return what was found."""
        start, halves = self._spec.baseline, self._plan.halves
        self._run.asks_again = self._last + 1 not in self._run.records
        current = await self._scores(0, start, halves.selection, Role.BASELINE, "the start prompt")
        self._complete.append(current)
        first, parts, rounds, why = current, start.prompt, list[Round](), ALL_ROUNDS
        for number in range(1, self._plan.rounds + 1):
            shown = {one.query for one in parts.shots}
            racers = [one for one in self._plan.candidates if one.query not in shown]
            if not racers:
                why = NO_CANDIDATE
                break
            watch = Stopwatch()
            outcome, scores = await self._race(number, parts, racers, current)
            rounds.append(outcome)
            await self._run.page(self._page(outcome, parts, racers, watch))
            if outcome.winner is None or not outcome.added:
                why = NO_SCORE if outcome.winner is None else NO_GAIN
                break
            parts, current = with_first(parts, outcome.winner), scores
            self._best = f"{len(parts.shots)} demonstrations"
        chosen, last = replace(start, prompt=parts), self._last
        before = await self._scores(last, start, halves.held_back, Role.HELD_BACK, "held back: the start prompt")
        after = await self._scores(last + 1, chosen, halves.held_back, Role.HELD_BACK, "held back: the chosen prompt")
        return Found(
            rounds=tuple(rounds),
            why_ended=why,
            start=start.prompt,
            chosen=parts,
            selected=(_mean(first), _mean(current)),
            held_back=(_mean(before), _mean(after)),
        )

    async def _scores(
        self, number: int, condition: Condition, queries: Sequence[Query], role: Role, label: str
    ) -> Scores:
        """Evaluate a condition on all of these queries as a trial."""
        return (await self._run.evaluate(self._trial(number, condition, role, label), queries)).scores

    def _trial(self, number: int, condition: Condition, role: Role, label: str) -> PlannedTrial:
        point = DesignPoint({"shots": len(condition.prompt.shots)}, role)
        own_run = role is not Role.CANDIDATE
        return PlannedTrial(number, condition, point, self._spec.baseline, label, own_run=own_run)

    async def _race(
        self, number: int, parts: PromptParts, racers: list[Demonstration], current: Scores
    ) -> tuple[Round, Scores]:
        """Race the candidates; return the round and the winner's scores."""
        self._round = number
        trials = [self._racer(number, parts, one) for one in racers]
        turns: dict[int, list[JudgedTurn]] = {index: [] for index in range(len(racers))}

        async def score(index: int, positions: Sequence[int]) -> Scores:
            some = [self._plan.halves.selection[position] for position in positions]
            judged = await self._run.answer(trials[index], some)
            turns[index] += judged
            return [turn.judgment.score.value for turn in judged]

        watch = Stopwatch()
        result = await race(len(racers), len(current), score, self._settings, self._complete)
        self._complete += [result.row(index) for index in result.finished]
        for index, trial in enumerate(trials):
            if trial.number not in self._run.records:
                state = TrialState.COMPLETE if index in result.finished else TrialState.STOPPED
                await self._run.finish(trial, turns[index], watch, state)
        winner = None if result.winner is None else racers[result.winner]
        scores = [] if result.winner is None else result.row(result.winner)
        gain = Gain.between(scores, current, self._run.deciding_scale) if scores else Gain(None, None, None, 0)
        clear = gain.low is not None and gain.low > 0
        stays = winner is not None and (clear or not self._plan.stops_without_gain)
        return Round(number, tuple(one.id for one in racers), winner, gain, stays, result), scores

    def _racer(self, number: int, parts: PromptParts, candidate: Demonstration) -> PlannedTrial:
        """Return a candidate's trial, whose number is the same in every run."""
        place = 1 + (number - 1) * len(self._plan.candidates) + self._plan.candidates.index(candidate)
        condition = replace(self._spec.baseline, prompt=with_first(parts, candidate))
        return self._trial(place, condition, Role.CANDIDATE, f"round {number}: + {candidate.id}")

    def _page(self, outcome: Round, parts: PromptParts, racers: list[Demonstration], watch: Stopwatch) -> ChildPage:
        """Return a round as a run of its own: who raced, who was stopped when, and what the winner gained."""
        found, gain = outcome.race, outcome.gain
        why = {stop.candidate: stop.why for stop in found.stopped}
        rows: list[Mapping[str, object]] = [
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
        winner = None if outcome.winner is None else outcome.winner.id
        return ChildPage(
            kind="round",
            number=self._racer(outcome.number, parts, racers[0]).number,
            name=f"round {outcome.number}: {winner or 'nobody'} of {len(racers)}",
            started=watch.started,
            ended=watch.now,
            parameters={
                "round": outcome.number,
                "prompt": content_hash(parts.content()),
                "winner": winner or "none",
                "added": outcome.added,
                "candidates": len(racers),
            },
            metrics={"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high, "racing_share": found.share},
            tables={"candidates.json": {name: [row[name] for row in rows] for name in rows[0]}},
        )


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None
