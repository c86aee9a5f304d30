"""Plan of a greedy search: its candidates, the halves of the queries, how races are run, when it ends.

Knows the spec; evaluates nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ablations.core.condition import Condition
from ablations.core.errors import PromptError, UsageError
from ablations.core.prompt import Demonstration, PromptParts, Template
from ablations.core.records import Query
from ablations.datasets.queries import choose_subset
from ablations.prompts.render import render_demonstrations
from ablations.prompts.urial_file import take_apart
from ablations.studies.greedy.config import GreedyConfig
from ablations.studies.greedy.racing import RaceSettings
from ablations.studies.spec import StudySpec

ALL_ROUNDS, NO_GAIN = "all rounds are done", "the gain's interval includes 0"
NO_CANDIDATE, NO_SCORE = "no candidate is left", "no candidate has a score"
"""Why a search ends."""


@dataclass
class Halves:
    """The queries that choose, in the order in which races see them, and those that only confirm."""

    selection: tuple[Query, ...]
    held_back: tuple[Query, ...]

    @classmethod
    def split(cls, queries: Sequence[Query], seed: int) -> "Halves":
        """Split queries into halves spread over the categories; raise `UsageError` for fewer than four."""
        if len(queries) < 4:
            raise UsageError(
                f"a greedy search needs queries to choose by and to confirm on, and {len(queries)} are too few; "
                "give at least 4: raise --limit"
            )
        chosen = choose_subset(queries, (len(queries) + 1) // 2, seed)
        ids = {query.id for query in chosen}
        shuffled = random.Random(seed).sample(chosen, len(chosen))
        return cls(tuple(shuffled), tuple(query for query in queries if query.id not in ids))


@dataclass(frozen=True)
class SearchPlan:
    """Candidates, queries and rules of a search.

    Attributes:
        candidates: the demonstrations that race, in a seeded order.
        halves: the queries.
        rounds: at most.
        stops_without_gain: whether a gain whose interval includes 0 ends the search.
        unreadable: ids of candidates that a prompt file could not hold, since their text has role lines or fences.
        racing: whether hopeless candidates stop early.
    """

    candidates: tuple[Demonstration, ...]
    halves: Halves
    rounds: int
    stops_without_gain: bool
    unreadable: tuple[str, ...] = ()
    racing: bool = True

    @classmethod
    def of(cls, spec: StudySpec) -> "SearchPlan":
        """Return the plan of a study file's `[search]`; raise `UsageError` where there is nothing to search."""
        if spec.prepared is None:
            raise UsageError("a greedy search needs a pool; give one with --pool")
        asked, chooser = spec.config.kind, spec.prepared.chooser
        assert isinstance(asked, GreedyConfig)  # the kind that this is the plan of
        most = chooser.most("random")
        shown = {one.query for one in spec.baseline.prompt.shots}
        drawn = chooser.sample(min(asked.candidates or most, most))
        template = spec.baseline.prompt.template
        unreadable = tuple(one.id for one in drawn if not _comes_back(one, template))
        found = tuple(one for one in drawn if one.query not in shown and one.id not in unreadable)
        if not found:
            raise UsageError("the start prompt shows every candidate already; give a larger pool with --pool")
        halves = Halves.split(spec.queries, spec.seed)
        return cls(found, halves, asked.rounds, asked.stop == "no-gain", unreadable, asked.racing)

    @property
    def evaluations(self) -> int:
        """The most completions that the search can take: without racing, through all rounds."""
        selection, held_back = len(self.halves.selection), len(self.halves.held_back)
        racers = range(len(self.candidates), max(len(self.candidates) - self.rounds, 0), -1)  # one less in each round
        return selection + sum(racers) * selection + 2 * held_back

    @property
    def ends(self) -> str:
        """When it ends before the last round, in words."""
        return NO_GAIN if self.stops_without_gain else NO_CANDIDATE


def race_settings(candidates: int, queries: int, racing: bool) -> RaceSettings:
    """Return how a race of so many candidates is run: the fewer there are, the larger the share it may cost.

    A third from 20 candidates on, as much as 20 would cost below. Below 12 queries one query is enough before the first
    stops, since two would take a quarter of the share.
    """
    share = max(RaceSettings.share, min(1.0, RaceSettings.share * 20 / candidates))
    return RaceSettings(least=1 if queries < 12 else 2, share=share, enabled=racing)


def _comes_back(one: Demonstration, template: Template) -> bool:
    """Whether a prompt file that shows the demonstration can be taken apart into it again."""
    try:
        (read,) = take_apart(render_demonstrations(PromptParts("", template, (one,)))).demonstrations
    except (PromptError, ValueError):
        return False
    return (read.query.strip(), (read.answer or "").strip()) == (one.query.strip(), (one.answer or "").strip())


def with_first(parts: PromptParts, demonstration: Demonstration) -> PromptParts:
    """Return the prompt with one more demonstration, between the system prompt and the others."""
    shown = (demonstration, *parts.shots)
    return replace(parts, shots=shown, asked=len(shown), source="greedy")


def longest_condition(spec: StudySpec) -> Condition:
    """Return a condition as long as the search can make one: the longest candidates in all rounds."""
    plan = SearchPlan.of(spec)
    longest = sorted(plan.candidates, key=lambda one: len(one.query) + len(one.answer or ""))[-plan.rounds :]
    parts = spec.baseline.prompt
    for one in longest:
        parts = with_first(parts, one)
    return replace(spec.baseline, prompt=parts)
