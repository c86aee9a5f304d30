"""A comparison with fine-tuning whose engines and trainings are fakes; its examples, prompts and tokens are real."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from ablations.core.condition import DecodingParams, content_hash
from ablations.core.records import Completion, Prompt, Query
from ablations.datasets.prepare import PoolSettings, prepare_pool
from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import Tokens
from ablations.models.training.jobs import MERGED, RESULT, Failure, Job, Outcome, StepSeen
from ablations.models.training.tuner import Tuned, Tuner
from ablations.models.vllm.settings import Adapter
from ablations.storage.store import Store
from ablations.studies.icl_vs_ift.comparison import ComparisonPlan
from ablations.studies.icl_vs_ift.config import TuningConfig
from ablations.studies.icl_vs_ift.plan import TuningPlan, plan_tuning
from ablations.studies.registry import find_kind
from ablations.studies.spec import StudySpec
from tests.support.fakes import FakeJudge, make_queries
from tests.support.models import ALIGNED, Named
from tests.support.specs import load
from tests.support.world import World

LOST = "the loss of step 1 of 6 is nan"
"""Why a training fails."""
FILE = """
[study]
mode = "icl-vs-ift"
[study.baseline]
temperature = 0.0
max_tokens = 12
system_prompt = "none"
shots = 0
[tuning]
sizes = [1, 2]
"""


class Adapted(Named):
    """The base model with an adapter."""

    def __init__(self, base: Named, adapter: Adapter) -> None:
        super().__init__(f"{base.model}+{adapter.identity}")
        self._base, self.adapter = base, adapter

    async def start(self) -> None:
        assert self._base in Named.loaded, "its engine is not loaded"

    async def close(self) -> None:
        raise AssertionError("others use its engine")

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        return await self._base.generate(prompt, decoding, seed)


class FakeTuner(Tuner):
    """Trains nothing; what it made is stored as the real one stores it, and steps are counted as the real one does.

    Args:
        store: where outcomes go.
        say: tells the user what happens.
        fails: numbers of examples of which no training succeeds.
        trained: gets the name of every training.
    """

    def __init__(
        self, store: Store, say: Callable[[str], None], fails: Collection[int] = (), trained: list[str] | None = None
    ) -> None:
        super().__init__(store, Path("weights"), Path("tuning.log"), say)
        self._fails = fails
        self.trained = [] if trained is None else trained

    async def tune(self, job: Job, what: str) -> Tuned | Failure:
        reused = self.known(job) is not None
        made = await self.try_out(job, what)
        return made if isinstance(made, Failure) else Tuned(job, made, self._folder / job.key / RESULT, reused)

    async def try_out(self, job: Job, what: str) -> Outcome | Failure:
        self.progress.what, self.progress.last = what, None
        if len(job.samples) // 2 in self._fails:
            self.pass_over(job)
            return Failure("loss", LOST)
        if (known := self.known(job)) is not None:
            self.pass_over(job)
            return known
        self.trained.append(what)
        begun, rate = self.progress.done, job.recipe.learning_rate
        steps = job.recipe.steps(len(job.samples))
        losses = tuple((step, 3.0 / step, rate, 10 * step) for step in range(1, steps + 1))
        for step, loss, _, tokens in losses:
            self._step(StepSeen(step, steps, loss, rate, tokens, 2.0), begun)
        outcome = Outcome(content_hash(job.key), 60, 20, 2.0, 5, 10, 1 << 30, losses, 1.0 if job.held_out else None)
        self._store.add_tuning(job.key, outcome.to_dict())
        return outcome

    async def whole(self, tuned: Tuned) -> Path:
        return tuned.folder if tuned.job.recipe.method == "full" else tuned.folder.with_name(MERGED)


@dataclass
class FakePlacement:
    """Engines by the name of what they load, and what tunes.

    Attributes:
        fails: numbers of examples of which no training succeeds.
        takes_adapters: whether one engine puts adapters on the base model.
        base: the study's model.
        made: the engines of other models and of weights that stand by themselves.
        adapters: those that were put on the base model.
        trained: the names of the trainings that were made.
        tuners: what made them; none where nothing was to be trained.
    """

    fails: Collection[int] = ()
    takes_adapters: bool = True
    base: Named = field(default_factory=lambda: Named("base"))
    made: list[Named] = field(default_factory=list)
    adapters: list[Adapter] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    tuners: list[FakeTuner] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adapting = Named("base") if self.takes_adapters else None

    def adapted(self, adapter: Adapter) -> Adapted:
        self.adapters.append(adapter)
        assert self.adapting is not None
        return Adapted(self.adapting, adapter)

    def other(self, model: str) -> Named:
        known = next((one for one in self.made if one.model == model), None)
        if known is None:
            known = Named(model)
            self.made.append(known)
        return known

    def whole(self, folder: Path) -> Named:
        self.made.append(Named(str(folder)))
        return self.made[-1]

    def tuner(self, store: Store, say: Callable[[str], None]) -> FakeTuner:
        self.tuners.append(FakeTuner(store, say, self.fails, self.trained))
        return self.tuners[-1]

    @property
    def loaded(self) -> list[str]:
        """The models of the engines that were started, in the order in which they were made."""
        every = (self.base, *([self.adapting] if self.adapting else []), *self.made)
        return [engine.model for engine in every if engine.starts]


def spec_of(folder: Path, pool: str, queries: tuple[Query, ...] | None = None) -> StudySpec:
    """Return the comparison `s` of three queries, whose file lies in the folder; `pool` is a file of examples."""
    path = folder / "comparison.toml"
    path.write_text(FILE)
    asked = make_queries(3) if queries is None else queries
    settings = PoolSettings(name=pool, whole=True)
    prepared = asyncio.run(prepare_pool(settings, asked, True, 0, None, None))
    return StudySpec(load(path, name="s", concurrency=2), asked, prepared=prepared)


def plan_of(spec: StudySpec, tiny: ResolvedModel, context_length: int | None = None, **options: object) -> TuningPlan:
    """Return the arms of a comparison of one and two examples with the aligned model, or with other options."""
    given = {"sizes": (1, 2), "aligned": ALIGNED} | options
    named = replace(tiny, name="base")
    backend = Named("base", context_length)
    return asyncio.run(plan_tuning(spec, TuningConfig(**given), named, backend, Tokens(tiny), False))  # type: ignore[arg-type]


def run(
    spec: StudySpec,
    plan: TuningPlan,
    world: World,
    placement: FakePlacement | None = None,
    judge: FakeJudge | None = None,
    fresh: bool = False,
) -> tuple[str, FakePlacement]:
    """Run or resume a comparison; return what was shown, and where it ran."""
    placement = placement or FakePlacement()
    comparison = ComparisonPlan(spec, plan, placement)
    shown = world.run_plan(comparison, find_kind("icl-vs-ift"), placement.base, judge, fresh)
    return shown, placement
