"""The plan of a study of conditions: which conditions, on which queries, with which pool, and what is confirmed.

Knows configurations, pools and prompts; evaluates nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.core.condition import PROMPT_PARAMETERS, Condition, content_hash, format_value, plain_values
from ablations.core.errors import PromptError, StudyMismatchError, UsageError
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import Value
from ablations.core.records import TrialRecord
from ablations.judges.base import Judge
from ablations.models.base import Backend
from ablations.storage.workspace import PROMPT_FILE, Places
from ablations.studies.conditions.confirmation import (
    Confirmation,
    check_held_back,
    check_stored,
    plan_confirmation,
    same_choice,
)
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.config.config import Config
from ablations.studies.config.space import Choices, Range, SearchSpace
from ablations.studies.engine.trial import DesignPoint
from ablations.studies.kind import Plan
from ablations.studies.planning.inputs import Inputs
from ablations.studies.planning.leakage import check_start, queries_that_chose, selection_notes
from ablations.studies.planning.lengths import check_prompt_lengths, largest_fitting
from ablations.studies.planning.overview import (
    Row,
    floor_rows,
    judge_row,
    judging_text,
    model_row,
    overview,
    pool_text,
    power_rows,
    prompt_text,
    request_rows,
)
from ablations.studies.spec import check_same_study, differences
from analysis.report.page import Report
from analysis.report.tables import Table


@dataclass(frozen=True)
class ConditionsPlan(Plan):
    """Plan of a study of conditions.

    Attributes:
        confirmation: what is evaluated again when the study has ended, or None.
        informed: a judge for estimates, which has read what it needs for held-back queries too, or None.
    """

    spec: ConditionsSpec
    confirmation: Confirmation | None = None
    informed: Judge | None = None

    @property
    def trials(self) -> int:
        """How many trials the study has when it is done."""
        return self.spec.total_trials

    @property
    def space(self) -> SearchSpace:
        """The varied parameters."""
        return self.spec.space

    @property
    def conditions(self) -> Sequence[Condition]:
        """Conditions that show what all trials need of a backend."""
        return self.spec.boundary_conditions

    async def check(self, backend: Backend) -> None:
        """Raise `PromptError` where a held-back query does not fit the context."""
        if self.confirmation is None:
            return
        conditions = self.confirmation.extended(self.spec).boundary_conditions
        try:
            await check_prompt_lengths(backend, conditions, self.confirmation.held_back.queries)
        except PromptError as error:
            raise PromptError(f"held back, {error}; or --held-back 0 confirms fresh seeds alone") from error

    def check_same(self, stored: JsonObject, current: JsonObject) -> None:
        """Raise `StudyMismatchError` where the stored study was made from something else."""
        if self.spec.confirms is None:
            check_same_study(self.spec.name, stored, current)
        else:
            check_stored(self.spec.confirms, stored, current)

    def gives_way(self, stored: JsonObject, current: JsonObject) -> bool:
        """Whether the stored study confirms other conditions, or on other queries, and is run again."""
        return self.spec.confirms is not None and not same_choice(stored, current)

    @property
    def follows_up(self) -> bool:
        """Whether the best conditions are confirmed."""
        return self.confirmation is not None

    def check_follow_up(
        self, stored: JsonObject, backend: JsonObject, judge: Mapping[str, object], fresh: bool
    ) -> None:
        """Raise `StudyMismatchError` where what is stored under the confirmation's name cannot give way to it."""
        if self.confirmation is not None:
            today = self.confirmation.follow_up(self.spec, []).identity(backend, judge)
            check_stored(self.spec.name, stored, None if fresh else today)

    def check_finished(self, records: Mapping[int, TrialRecord]) -> None:
        """Raise `StudyMismatchError` where a finished trial of the design has other values than the design gives it."""
        design = self.design(records)
        for number, record in records.items():
            if record.index is None:
                continue
            today = design[record.index]
            before = {"replicate": record.replicate, **plain_values(record.point)}
            if found := differences(before, {"replicate": today.replicate, **plain_values(today.values)}):
                raise StudyMismatchError(
                    f"trial {number} of the study {self.spec.name!r} was planned otherwise than today's design has it: "
                    f"{'; '.join(found)}. This toolkit or the search space changed; use --name for a second study, or "
                    "--fresh to start this one again (stored completions are reused)"
                )

    def design(self, records: Mapping[int, TrialRecord]) -> list[DesignPoint]:
        """Return the design, as long as the longest that any run of this study asked for."""
        longest = max((one.index for one in records.values() if one.index is not None), default=-1) + 1
        return (self.spec if longest <= self.spec.trials else self.spec.with_trials(longest)).design

    def overview(self, judge: Judge) -> Report:
        """Return what the study is about to do: conditions, requests and the most tokens they can take."""
        spec, confirmation = self.spec, self.confirmation
        conditions = [spec.to_condition(point.values) for point in spec.design]
        rows: list[Row] = [
            model_row(spec),
            judge_row(judge),
            *floor_rows(judge, spec.queries),
            ("mode", self._walk()),
            ("varied", "; ".join(f"{p.name}: {p.domain.describe()}" for p in spec.space.parameters)),
            ("prompt", prompt_text(spec.baseline.prompt)),
            ("pool", pool_text(spec.prepared)),
            *request_rows(spec, judge, conditions, spec.total_trials),
        ]
        notes = list[str]()
        single = sum(point.varied is not None and not point.replicate for point in spec.design)
        others = len(conditions) - 1 - sum(point.replicate > 0 for point in spec.design)
        rows += power_rows(judge, spec.queries, single or others, spec.config.study.negligible)
        if confirmation is not None:
            rows += self._confirming(confirmation, self.informed or judge)
            notes += confirmation.held_back.notes
        if spec.left_out:
            notes.append(
                f"--trials {spec.trials} leaves out {spec.left_out} conditions of the design; "
                f"{spec.trials + spec.left_out} trials take all of them"
            )
        return overview(spec, rows, notes, [self._design_table()])

    def _walk(self) -> str:
        spec = self.spec
        design = "" if spec.design_kind == "sampled" else f", design {spec.design_kind}"
        return f"{spec.mode}{design}, sampler {spec.sampler}, seed {spec.seed}"

    def _confirming(self, confirmation: Confirmation, judge: Judge) -> list[Row]:
        """Return the rows of what is evaluated again; which conditions is not known yet: answers at their longest."""
        spec = self.spec
        both, trials = confirmation.extended(spec), confirmation.planned(spec)
        longest = max(condition.decoding.max_tokens for condition in both.boundary_conditions)
        requests, held_back = trials * both.turns, len(confirmation.held_back.queries)
        again = (
            f"the best {trials - 1} conditions and the baseline again, on {len(spec.queries)} queries with fresh seeds "
            f"and {held_back} held back: at most {requests} completions, {requests * longest:,} new tokens; greedy "
            "answers to the study's own queries stay the same, whatever the seed"
        )
        return [("confirmation", again), ("its judging", judging_text(both, judge, trials, longest))]

    def _design_table(self) -> Table:
        spec, rows = self.spec, list[tuple[str, str, str]]()
        for number, point in enumerate(spec.design):
            values = " ".join(f"{name}={format_value(value)}" for name, value in point.values.items())
            rows.append((str(number), point.role, values + (" (A/A)" if point.replicate else "")))
        more = spec.total_trials - len(spec.design)
        note = f"and {more} trials that the {spec.sampler} sampler chooses" if more > 0 else ""
        return Table("Conditions", ("trial", "role", "condition"), tuple(rows), (True, False, False), note)


async def plan_conditions(inputs: Inputs) -> ConditionsPlan:
    """Return the plan of a study of conditions.

    Raises:
        UserError: something the user gave cannot be.
    """
    config, greedy, notes = with_greedy_prompt(inputs.config, inputs.places)
    chosen_by = queries_that_chose(greedy or config.study.prompt_file)
    notes += selection_notes(chosen_by, inputs.queries)
    settings = inputs.pool_settings(greedy)
    prepared = await inputs.pool(settings)
    if not prepared.chooser.styled and "style" in config.space.names:
        config = replace(config, space=config.space.without("style"))
        notes.append("style is left out of what is varied: the pool has its demonstrations in one style")
    prepared = replace(prepared, notes=(*prepared.notes, *notes))
    spec = ConditionsSpec(config, inputs.queries, inputs.fixed_parts(), prepared)
    if config.pool.fit == "leave-out":
        spec = await fitted(spec, await inputs.backend())
    spec = with_notes(spec, _shortened_greedy(spec) + _shown_numbers(spec))
    check_start(spec, settings, inputs.built_in, inputs.vectors)
    if not (best := spec.walk.confirmed):
        return ConditionsPlan(spec)
    confirmation = plan_confirmation(
        spec, inputs.whole, best, spec.walk.held_back, settings, inputs.built_in, chosen_by, inputs.vectors
    )
    informed = inputs.new_judge()
    check_held_back(informed, confirmation.follow_up(spec, []).queries)
    return ConditionsPlan(spec, confirmation, informed)


def with_notes(spec: ConditionsSpec, notes: Sequence[str]) -> ConditionsSpec:
    """Return the study with more to say of its pool."""
    if spec.prepared is None or not notes:
        return spec
    return replace(spec, prepared=replace(spec.prepared, notes=(*spec.prepared.notes, *notes)))


def _shortened_greedy(spec: ConditionsSpec) -> list[str]:
    """Say which numbers of demonstrations the greedy prompt does not have."""
    if spec.prepared is None or not {"source", "shots"} <= set(spec.space.names):
        return []
    most = spec.prepared.chooser.most("greedy")
    if not spec.space["source"].domain.contains("greedy"):
        return []
    if not most:
        raise UsageError(
            "the greedy prompt holds no demonstration; run --study greedy-search again, or give --greedy FILE"
        )
    lacking = _listed(sorted(map(int, spec.space["shots"].domain.values())), most)  # type: ignore[arg-type]
    return [f"the greedy prompt holds {most}: {lacking} demonstrations of it are left out"] if lacking else []


def _shown_numbers(spec: ConditionsSpec) -> list[str]:
    """Say how many demonstrations are shown where a limit on their tokens leaves fewer than were asked for."""
    notes = []
    if spec.design_kind != "sampled" and spec.prepared is not None and spec.prepared.chooser.limits.total is not None:
        parts = {content_hash(one.content()): one for one in (spec.to_condition(p.values).prompt for p in spec.design)}
        for one in parts.values():
            numbers = [len(one.shown_to(query.id)) for query in spec.queries]
            if one.asked is not None and min(numbers) < one.asked:
                draw = f" (draw {one.draw})" if one.source.startswith("random") else ""
                notes.append(f"{one.source}{draw}: {one.asked} asked for, {min(numbers)} to {max(numbers)} shown")
    return notes


def with_greedy_prompt(config: Config, places: Places) -> tuple[Config, Path | None, list[str]]:
    """Return the configuration, the prompt of a greedy search where it is needed, and what there is to say of that.

    Where no such prompt exists, the source `greedy` is taken out of the space.
    """
    space, asked_for = config.space, "pool.greedy" in config.flags
    varied = "source" in space.names and "greedy" in space["source"].domain.values()
    if not varied and config.baseline.get("source") != "greedy":
        if asked_for:
            raise UsageError(f"--greedy is of no use to {config.file}, which has no source greedy; drop it")
        return config, None, []
    named = config.pool.greedy
    path = Path(named).expanduser() if named.endswith(".txt") else places.results(named).with_name(PROMPT_FILE)
    if path.is_file():
        return config, path, [f"greedy: the demonstrations of {path}"]
    missing = f"the source greedy needs the prompt of a greedy search, and {path} does not exist"
    others = tuple(value for value in space["source"].domain.values() if value != "greedy") if varied else ()
    if asked_for or len(others) < 2:
        raise UsageError(f"{missing}; run --study greedy-search first, or give --greedy FILE")
    space = space.with_domain("source", Choices(others))
    return replace(config, space=space), None, [f"{missing}: it is left out (run --study greedy-search first)"]


async def fitted(spec: ConditionsSpec, backend: Backend) -> ConditionsSpec:
    """Return the study without the numbers of demonstrations that the pool or the context does not hold.

    What is left out is named in the notes, with the largest number that would fit.
    """
    if "shots" not in spec.space.names or spec.prepared is None:
        return spec
    chooser, domain = spec.prepared.chooser, spec.space["shots"].domain
    numbers = sorted(int(value) for value in domain.values())  # type: ignore[arg-type]
    most = chooser.most("first")
    notes = (
        [f"the pool holds {most}: {_listed(numbers, most)} demonstrations are left out"] if numbers[-1] > most else []
    )

    within = [number for number in numbers if number <= most]
    prompts = list(_prompts(_in_space(spec, _limited(spec.space, within))))

    def conditions(number: int) -> Iterator[Condition]:
        for values in prompts:
            if number <= chooser.most(str(values.get("source", "first"))):
                yield spec.to_condition({**values, "shots": number})

    found = await largest_fitting(backend, conditions, spec.queries, within, most)
    if found is not None:
        fits, tokens = found
        notes.append(
            f"the context holds {backend.context_length} tokens: {_listed(within, fits)} demonstrations are left out "
            f"(the first of them need {tokens}), and {max(fits, 0)} are the most that fit"
        )
        within = [number for number in within if number <= fits]
    if not notes:
        return spec
    if len(within) < 2 or spec.config.baseline["shots"] not in within:
        raise PromptError(f"too little of the study is left: {'; '.join(notes)}; raise --engine max_model_len")
    return with_notes(_in_space(spec, _limited(spec.space, within)), notes)


def _in_space(spec: ConditionsSpec, space: SearchSpace) -> ConditionsSpec:
    return replace(spec, config=replace(spec.config, space=space))


def _limited(space: SearchSpace, numbers: Sequence[int]) -> SearchSpace:
    """Return the space with these numbers of demonstrations, the beginning of those that it has."""
    domain = space["shots"].domain
    if len(numbers) == len(domain.values()) or len(numbers) < 2:
        return space
    fewer = replace(domain, high=numbers[-1]) if isinstance(domain, Range) else Choices(tuple(numbers))
    return space.with_domain("shots", fewer)


def _prompts(spec: ConditionsSpec) -> Iterator[dict[str, Value]]:
    """Yield the values of the study's prompts, each once, whatever their number of demonstrations."""
    known = set()
    for point in spec.design:
        full = {**spec.config.baseline, **point.values}
        values = {name: full[name] for name in PROMPT_PARAMETERS if name in full and name != "shots"}
        if (key := content_hash(plain_values(values))) not in known:
            known.add(key)
            yield values


def _listed(numbers: Sequence[int], limit: int) -> str:
    return ", ".join(str(number) for number in numbers if number > limit)
