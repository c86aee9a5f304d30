"""Plan of a comparison of learning in context with fine-tuning: its arms, and the examples of each.

Each pool, draw and size gives the same examples once to a prompt and once to a training. Knows specs, pools and tokens;
trains and evaluates nothing.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ablations.core.condition import Condition, content_hash, plain_values
from ablations.core.errors import PoolError, PromptError, StudyMismatchError, UsageError, listed
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import PromptParts
from ablations.core.records import TrialRecord
from ablations.datasets.overlap import find_overlaps
from ablations.datasets.prepare import Prepared
from ablations.datasets.selection import Chooser
from ablations.models.base import Backend
from ablations.models.embedding import Encoder
from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import Tokens
from ablations.models.training.jobs import Job
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import Sample, make_samples
from ablations.prompts.components import build_parts
from ablations.prompts.templates import CHAT
from ablations.studies.icl_vs_ift.config import TuningConfig
from ablations.studies.planning.lengths import longest_need
from ablations.studies.spec import StudySpec, differences
from analysis.demonstrations.ways import ALIGNED, ICL, IFT, URIAL, ZERO_SHOT

LOADED = BASE, ADAPTING, WHOLE, OTHER = "base", "adapting", "whole", "other"
"""Models that an engine loads: the study's model, that model with adapters put on it, one arm's tuned weights, or
another model. In this order, one after the other."""
RATES_NOTE, LOSSES = "learning-rates", "losses"
"""Names of the store's note of the learning rates that were tried, by pool and size, each with its held-out loss; and
of the table of losses, a row for each step of each training."""
"""Examples that a note names one by one."""


@dataclass(frozen=True)
class Arm:
    """One way of answering: a trial of the study.

    Attributes:
        number: of the trial.
        way: one of `analysis.demonstrations.ways`.
        condition: what is sent, and by `weights` to whom.
        model: what answers, as people call it.
        pool: the name of the examples' pool; None for a reference line.
        examples: how many.
        draw: which one; None for a reference line.
        job: what tunes the weights; None where the model is used as it is.
        held_out: answers by which the job's learning rate is looked for; none where it is not.
    """

    number: int
    way: str
    condition: Condition
    model: str
    pool: str | None = None
    examples: int = 0
    draw: int | None = None
    job: Job | None = None
    held_out: tuple[Sample, ...] = ()

    @property
    def place(self) -> tuple[str, int]:
        """Its pool and size."""
        return str(self.pool), self.examples

    @property
    def label(self) -> str:
        """How people call it."""
        if self.pool is None:
            names = {ZERO_SHOT: "zero-shot", URIAL: "URIAL", ALIGNED: f"aligned: {self.model}"}
            return names[self.way]
        return f"{self.way.upper()}, {counted(self.examples, 'example')} of {self.pool}, draw {self.draw}"


@dataclass(frozen=True)
class TuningPlan:
    """The arms of a study, and what there is to say of them.

    Attributes:
        options: what was asked for.
        arms: in the order of their numbers; the baseline, zero-shot, is the first, and larger sizes follow smaller
            ones, so that a study can be given more of them later.
        notes: what is left out, in sentences.
    """

    options: TuningConfig
    arms: tuple[Arm, ...]
    notes: tuple[str, ...]

    @property
    def jobs(self) -> tuple[Arm, ...]:
        """The arms whose weights are tuned."""
        return tuple(arm for arm in self.arms if arm.job is not None)

    @property
    def searched(self) -> dict[tuple[str, int], Arm]:
        """The arms with whose job a learning rate is looked for, by pool and size: those of the first draw."""
        return {arm.place: arm for arm in reversed(self.jobs) if arm.held_out}

    def by_engine(self, arms: Sequence[Arm], adapts: bool) -> list[tuple[str, list[Arm]]]:
        """Return what each engine is loaded for, in the order in which they are.

        Args:
            arms: of this plan.
            adapts: whether one engine puts adapters on the study's model; else each is merged and stands by itself.

        What it loads is one of `LOADED`.
        """
        base, together = self.arms[0].model, adapts and self.options.method == "lora"
        found: dict[tuple[str, str | int], list[Arm]] = {}
        for arm in arms:
            if arm.job is None:
                key: tuple[str, str | int] = (BASE if arm.model == base else OTHER, arm.model)
            else:
                key = (ADAPTING, "") if together else (WHOLE, arm.number)
            found.setdefault(key, []).append(arm)
        return [(kind, own) for (kind, _), own in sorted(found.items(), key=lambda item: LOADED.index(item[0][0]))]

    @property
    def identity(self) -> JsonObject:
        """Settings that may not change under one study name beside its finished arms, as plain JSON types."""
        return {"method": self.options.method}

    def check_finished(self, name: str, records: Mapping[int, TrialRecord]) -> None:
        """Raise `StudyMismatchError` where the finished arms of a study are not this plan's, but for larger sizes.

        Args:
            name: of the study.
            records: what the store keeps of its trials, by their numbers.
        """
        own = {arm.number: arm for arm in self.arms}
        labels = {arm.label for arm in self.arms}
        found = [
            line for number, record in sorted(records.items()) for line in _changed(record, own.get(number), labels)
        ]
        if found:
            raise StudyMismatchError(
                f"the study {name!r} has finished arms that are not asked for now:\n  "
                + "\n  ".join(found)
                + "\nlarger sizes can be added to it; for anything else use --name (what weights and answers there are "
                "is used again), or --fresh to start this one again"
            )


async def plan_tuning(
    spec: StudySpec,
    options: TuningConfig,
    model: ResolvedModel,
    backend: Backend,
    tokens: Tokens,
    trusted: bool,
    encoder: Encoder | None = None,
) -> TuningPlan:
    """Return the arms of a study.

    Args:
        spec: its baseline is the zero-shot prompt, its pools hold whole conversations.
        options: what is asked for.
        model: what is tuned, and
        tokens: its tokenizer.
        backend: counts what prompts take of the context; not started.
        trusted: whether the model may run Python code of its own.
        encoder: of the comparison of URIAL's demonstrations with the queries; None compares texts alone.

    Raises:
        PoolError: a pool has too few examples.
        PromptError: not even the smallest size fits the context.
        UsageError: the baseline is no zero-shot prompt.
    """
    if spec.baseline.prompt.shots:
        raise UsageError(
            f"{spec.config.path}: the baseline of this study is the zero-shot prompt, which the tuned model is asked "
            "with too; set shots = 0"
        )
    maker = _Maker(spec, options, model, tokens, trusted)
    arms, notes = maker.references(encoder)
    for prepared in spec.pools:
        examples, left_out = maker.learnable(prepared)
        found, too_long = await maker.compared(examples, backend)
        arms, notes = [*arms, *found], [*notes, *left_out, *too_long]
    if not any(arm.way == ICL for arm in arms):
        raise PromptError(
            f"there is nothing to compare with: {'; '.join(notes)}; lower --sizes, or raise --engine max_model_len"
        )
    notes += options.unused
    arms.sort(key=lambda arm: arm.examples)  # of one size in the order of pools and draws
    return TuningPlan(options, tuple(replace(arm, number=number) for number, arm in enumerate(arms)), tuple(notes))


@dataclass(frozen=True)
class _Examples:
    """Examples of a pool that can be learned as they are.

    Attributes:
        chooser: draws from what is neither left out nor held out.
        samples: of each example by its id.
        held_out: answers that no training of the study learns; none where no rate is looked for.
    """

    chooser: Chooser
    samples: Mapping[str, Sequence[Sample]]
    held_out: tuple[Sample, ...]


@dataclass(frozen=True)
class _Maker:
    """Makes arms."""

    spec: StudySpec
    options: TuningConfig
    model: ResolvedModel
    tokens: Tokens
    trusted: bool

    def references(self, encoder: Encoder | None) -> tuple[list[Arm], list[str]]:
        """Return the lines that both ways are read against, and what is left out of them."""
        baseline, notes = self.spec.baseline, list[str]()
        shown = build_parts(system_prompt="full", template=baseline.prompt.template.name)
        arms = [Arm(0, ZERO_SHOT, baseline, self.model.name)]
        if overlaps := find_overlaps(shown.shots, self.spec.queries, encoder):
            notes.append(f"URIAL's line is left out: {'; '.join(map(str, overlaps))}")
        else:
            arms.append(Arm(0, URIAL, self._asked(ICL, shown), self.model.name))
        if self.options.aligned is not None:
            chat = build_parts(system_prompt="none", template=CHAT.name, shots=0)
            decoding = replace(baseline.decoding, stop="headings")
            condition = Condition(decoding, chat, weights=self.options.aligned)
            arms.append(Arm(0, ALIGNED, condition, self.options.aligned))
        return arms, notes

    async def compared(self, examples: _Examples, backend: Backend) -> tuple[list[Arm], list[str]]:
        """Return both ways of each size and draw of a pool, and which sizes the context does not hold."""
        arms, notes, draws = list[Arm](), list[str](), range(self.options.draws)
        fits, pool = True, examples.chooser.pool.name
        for place, size in enumerate(self.options.sizes):
            if fits:
                conditions = [self.in_context(examples.chooser, size, draw) for draw in draws]
                needs = [await longest_need(backend, one, self.spec.queries) for one in conditions]
                most = max((need.tokens for need in needs if need is not None), default=0)
                fits = backend.context_length is None or most <= backend.context_length
                arms += [
                    Arm(0, ICL, one, self.model.name, pool, size, draw) for draw, one in enumerate(conditions) if fits
                ]
            if not fits and not notes:  # larger sizes of a draw begin with its smaller ones
                left = ", ".join(map(str, self.options.sizes[place:]))
                notes.append(
                    f"{size} examples of {pool} need {most} tokens and the context holds {backend.context_length}: "
                    f"only fine-tuning continues with {left}"
                )
            arms += [self.tuned(examples, size, draw) for draw in draws]
        return arms, notes

    def in_context(self, chooser: Chooser, size: int, draw: int) -> Condition:
        """Return the condition that shows the examples of a draw."""
        system_prompt = str(self.spec.config.baseline.get("system_prompt", "full"))
        template = self.spec.baseline.prompt.template.name
        parts = build_parts(system_prompt, template, size, source="random", draw=draw, chooser=chooser)
        return self._asked(ICL, parts)

    def learnable(self, prepared: Prepared) -> tuple[_Examples, list[str]]:
        """Return the examples that can be learned as they are, and which ones are left out and why.

        Raises:
            PoolError: too few are left for the largest size.
        """
        options, pool = self.options, prepared.chooser.pool
        silent = [
            one.id for one in pool.demonstrations if not all((answer or "").strip() for _, answer in one.exchanges)
        ]
        usable = [one for one in pool.demonstrations if one.id not in set(silent)]
        samples = {one.id: make_samples([one], self.spec.baseline.prompt, self.tokens) for one in usable}
        long = [name for name, own in samples.items() if max(len(one.tokens) for one in own) > options.max_tokens]
        notes = [
            f"{len(names)} of {len(pool.demonstrations)} examples of {pool.name} {why} and are left out of both ways: "
            f"{listed(names)}"
            for names, why in ((silent, "lack an answer"), (long, f"are longer than {options.max_tokens} tokens"))
            if names
        ]
        usable = [one for one in usable if one.id not in set(long)]
        apart = options.apart
        if len(usable) < options.sizes[-1] + apart:
            besides = f" and {apart} held out for the learning rate" if apart else ""
            lower = "lower --sizes, or " if len(usable) > apart else "lower tuning.held_out, or " if usable else ""
            raise PoolError(
                f"the pool {pool.name!r} holds {len(usable)} examples that can be learned, and the largest size asks "
                f"for {options.sizes[-1]}{besides}; {lower}give a larger pool with --pools"
                + "".join(f" ({note})" for note in notes)
            )
        held_out = random.Random(f"{self.spec.seed}|held out").sample(usable, apart)
        drawn = tuple(one for one in usable if one.id not in {one.id for one in held_out})
        chooser = replace(prepared.chooser, pool=replace(pool, demonstrations=drawn))
        return _Examples(chooser, samples, tuple(sample for one in held_out for sample in samples[one.id])), notes

    def tuned(self, examples: _Examples, size: int, draw: int) -> Arm:
        """Return the arm that learns the examples of a draw."""
        shown, held_out = examples.chooser.choose("random", size, draw).common, examples.held_out
        learned = tuple(sample for one in shown for sample in examples.samples[one.id])
        recipe = self.options.recipe_for(len(learned), self.spec.seed + draw)
        job = Job(self.model, recipe, learned, trusted=self.trusted)
        searched = content_hash([[one.prompt, one.target] for one in held_out]) if held_out else ""
        condition = self._asked(IFT, self.spec.baseline.prompt, weights=f"{job.key}{searched}")
        name = f"{self.model.name}, tuned ({recipe.method})"
        return Arm(0, IFT, condition, name, examples.chooser.pool.name, size, draw, job, held_out)

    def _asked(self, way: str, parts: PromptParts, weights: str = "") -> Condition:
        decoding = replace(self.spec.baseline.decoding, **self.options.decoding.get(way, {}))  # type: ignore[arg-type]
        return Condition(decoding, parts, weights)


def counted(number: int, one: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "draw"), counted(2, "step")
    ('1 draw', '2 steps')
    """
    return f"{number} {one}{'' if number == 1 else 's'}"


def _changed(record: TrialRecord, arm: Arm | None, planned: Collection[str]) -> list[str]:
    """Return what of a stored arm is not the planned one's in its place, in words; `planned` are all labels."""
    label = record.label
    if arm is None or arm.label != label:
        return [f"{label}: {'others come before it now' if label in planned else 'not asked for now'}"]
    if record.condition_id == arm.condition.condition_id:
        return []
    before, now = (
        plain_values(record.values),
        plain_values(arm.condition.values()),
    )
    if arm.job is not None and record.recipe is not None:
        searched = ("learning_rate",) if arm.held_out else ()
        for values, recipe in ((before, Recipe.from_dict(record.recipe)), (now, arm.job.recipe)):
            values |= {f"tuning.{key}": value for key, value in recipe.to_dict().items() if key not in searched}
    return [f"{label}: {'; '.join(differences(before, now)) or 'other examples, prompt or model'}"]
