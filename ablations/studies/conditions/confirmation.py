"""Confirmation: the best conditions of a study once more, with fresh seeds and on queries that the study did not see.

The best of many conditions looks better than it is, because it was picked by the scores that it is praised for. What is
evaluated again is a study of its own, the follow-up. Knows specs, queries and finished trials; evaluates nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ablations.core.condition import content_hash
from ablations.core.errors import StudyMismatchError, UserError
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import Demonstration
from ablations.core.records import Query, Role
from ablations.datasets.overlap import find_overlaps
from ablations.datasets.pools import BUILT_IN
from ablations.datasets.prepare import PoolSettings
from ablations.datasets.queries import choose_subset
from ablations.judges.base import ALSO, COMPARED, Judge
from ablations.models.embedding import Encoder, VectorMemory
from ablations.storage.workspace import follow_up_name
from ablations.studies.conditions.config import ABLATION, ConditionsConfig
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.config.space import Values
from ablations.studies.kind import Results
from ablations.studies.planning.leakage import start_shots
from ablations.studies.spec import check_same_study


@dataclass(frozen=True)
class HeldBack:
    """Queries that a study did not see.

    Attributes:
        queries: in the evaluation set's order; empty where it has none left, or none were asked for.
        notes: what there is to say of them, in sentences.
    """

    queries: tuple[Query, ...]
    notes: tuple[str, ...]


def hold_back(
    whole: Sequence[Query], seen: Sequence[Query], count: int, seed: int, unfit: Callable[[Sequence[Query]], set[str]]
) -> HeldBack:
    """Return `count` queries of a set that a study did not see, or all that are left.

    They are those by which a higher `--limit` would extend the study: drawn by its seed, spread over the categories.

    Args:
        whole: the evaluation set.
        seen: the study's queries, drawn from it by the same seed.
        count: how many, 0 or more.
        seed: the study's.
        unfit: returns the ids of queries that can confirm nothing; they are passed over.
    """
    known, passed_over = {query.id for query in seen}, set[str]()
    drawn, asked = tuple[Query, ...](), count
    while count:
        more = choose_subset(whole, len(seen) + asked, seed)
        drawn = tuple(query for query in more if query.id not in known | passed_over)
        if found := unfit(drawn):
            passed_over |= found
        elif len(drawn) < count and len(more) < len(whole):
            asked += count - len(drawn)
        else:
            break
    notes = []
    if passed_over:
        notes.append(
            f"held back: {len(passed_over)} queries are passed over, because demonstrations show them or were chosen "
            f"by them: {', '.join(sorted(passed_over))}"
        )
    if count and not drawn:
        notes.append(
            "no query is left to hold back: fresh seeds alone are confirmed; lower --limit, or give more queries"
        )
    elif len(drawn) < count:
        notes.append(f"held back: {len(drawn)} queries are left of the {count} asked for")
    return HeldBack(drawn, tuple(notes))


def shown_queries(
    queries: Sequence[Query], demonstrations: Sequence[Demonstration], encoder: Encoder | None
) -> set[str]:
    """Return the ids of queries that a demonstration says, or nearly says; see `datasets.overlap.find_overlaps`."""
    found: set[str] = set()
    while queries := [query for query in queries if query.id not in found]:
        # One overlap is named for each demonstration, which may equal several queries.
        overlaps = find_overlaps(demonstrations, queries, encoder)
        if not overlaps:
            break
        found |= {overlap.query for overlap in overlaps}
    return found


@dataclass(frozen=True)
class Confirmation:
    """Conditions and queries to evaluate again when a study has ended.

    Attributes:
        best: how many conditions, 1 or more; fewer where the study has fewer.
        held_back: the queries that the study does not see.
    """

    best: int
    held_back: HeldBack

    def extended(self, spec: ConditionsSpec) -> ConditionsSpec:
        """Return the study with the held-back queries among its own, which demonstrations may be chosen for."""
        queries, prepared = (*spec.queries, *self.held_back.queries), spec.prepared
        if prepared is not None:
            prepared = replace(prepared, chooser=replace(prepared.chooser, queries=queries))
        return replace(spec, queries=queries, prepared=prepared)

    def follow_up(self, spec: ConditionsSpec, best: Sequence[Values]) -> ConditionsSpec:
        """Return the study that evaluates the baseline and these conditions again."""
        listed = tuple(best) or ({},)
        kind = ConditionsConfig(
            design="listed", trials=len(best) + 1, levels=spec.walk.levels, bare=spec.walk.bare, conditions=listed
        )
        study = replace(spec.config.study, mode=ABLATION, seed=fresh_seed(spec.seed))
        config = replace(spec.config, name=follow_up_name(spec.name), study=study, kind=kind)
        return replace(self.extended(spec), config=config, confirms=spec.name)

    def planned(self, spec: ConditionsSpec) -> int:
        """How many conditions will be evaluated again, the baseline among them, as far as it is known beforehand."""
        others = spec.total_trials - sum(point.role == Role.BASELINE or point.replicate > 0 for point in spec.design)
        return min(self.best, max(others, 0)) + 1


def fresh_seed(seed: int) -> int:
    """Return the seed of a follow-up, 0 to 2**31 - 1, from the study's."""
    return int(content_hash(["confirmation", seed]), 16) % 2**31


def check_stored(study: str, stored: JsonObject | None, current: JsonObject | None) -> None:
    """Raise `StudyMismatchError` if what is stored under the follow-up's name can be neither continued nor replaced.

    Args:
        study: the name of the study that is confirmed.
        stored: the identity of what has the follow-up's name, or None.
        current: the identity that the follow-up has today, whatever its conditions and queries; None where it is to be
            forgotten.
    """
    if stored is None:
        return
    name = follow_up_name(study)
    if stored.get("confirms") != study:
        raise StudyMismatchError(
            f"the confirmation of {study!r} is stored as {name!r}, and another study of that name exists; give this "
            "one another name with --name"
        )
    if current is not None:
        check_same_study(name, _without_choice(stored), _without_choice(current))


def same_choice(stored: JsonObject, current: JsonObject) -> bool:
    """Whether two identities of a follow-up are of the same conditions and queries."""
    return _choice(stored) == _choice(current)


_CHOICE = ("conditions", "queries", "number of queries")


def _choice(identity: JsonObject) -> list[object]:
    """Return what follows from the study's results and `--held-back`, and may change with them."""
    judge = identity.get("judge", {})
    compared = [one.get(COMPARED) for one in (judge, *judge.get(ALSO, ()))]
    return [*(identity.get(name) for name in _CHOICE), *compared]


def _without_choice(identity: JsonObject) -> JsonObject:
    rest = {name: value for name, value in identity.items() if name not in _CHOICE}
    return rest | {"judge": _without_compared(rest.get("judge", {}))}


def _without_compared(judge: JsonObject) -> JsonObject:
    """Return a judge's identity, and those beside it, without the answers that they compare with."""
    rest = {name: value for name, value in judge.items() if name not in (COMPARED, ALSO)}
    return rest | ({ALSO: [_without_compared(one) for one in judge[ALSO]]} if ALSO in judge else {})


def best_conditions(results: Results, count: int) -> list[Values]:
    """Return the varied parameters of the `count` best conditions of a study, the best first.

    The baseline is none of them, and without it there is none, because then there is nothing to compare with.
    """
    from analysis.effects.paired import ranked_trials  # takes a second to import

    records, ranked = results.records, ranked_trials(results.frame)
    baseline = {records[number].condition_id for number in ranked if records[number].role is Role.BASELINE}
    best = [records[number] for number in ranked if records[number].condition_id not in baseline]
    return [record.point for record in best[:count]] if baseline else []


def plan_confirmation(
    spec: ConditionsSpec,
    whole: Sequence[Query],
    best: int,
    held_back: int | None,
    settings: PoolSettings,
    built_in: bool,
    chosen_by: set[str],
    vectors: VectorMemory | None,
) -> Confirmation:
    """Return what is evaluated again when the study has ended.

    Args:
        spec: the study.
        whole: the evaluation set that its queries are drawn from.
        best: how many conditions.
        held_back: how many queries that the study does not see; None for as many as it sees.
        settings: of the pool.
        built_in: whether the evaluation set is the project's own.
        chosen_by: ids of queries that a greedy search chose a prompt by.
        vectors: where embeddings are stored, or None.
    """
    shown = start_shots(spec)
    known = built_in and settings.name in BUILT_IN and settings.greedy is None and spec.fixed_parts is None
    encoder = None if known else Encoder(settings.encoder, vectors)
    if spec.prepared is not None:
        shown += (*spec.prepared.chooser.everything, *spec.prepared.chooser.greedy)

    def unfit(queries: Sequence[Query]) -> set[str]:
        chose = {query.id for query in queries} & chosen_by
        return chose | (set() if settings.allow_overlap else shown_queries(queries, shown, encoder))

    count = len(spec.queries) if held_back is None else held_back
    return Confirmation(best, hold_back(whole, spec.queries, count, spec.seed, unfit))


def check_held_back(judge: Judge, queries: Sequence[Query]) -> None:
    """Raise the judge's own error where it cannot judge these queries, the held-back ones among them."""
    try:
        judge.check(queries)
    except UserError as error:
        raise type(error)(
            f"with the held-back queries, {error}; or --held-back 0 confirms fresh seeds alone"
        ) from error
