"""A comparison with fine-tuning whose engines and trainings are fakes; its examples, prompts and tokens are real."""

import asyncio
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablations.studies.icl_vs_ift.session import TuningSession
from ablations.studies.icl_vs_ift.study import TuningStudy
from rich.console import Console

from ablations.core.condition import DecodingParams, content_hash
from ablations.core.prompt import ChatTemplate
from ablations.core.records import Completion, Prompt
from ablations.datasets.prepare import PoolSettings, prepare_pool
from ablations.models.base import Backend, BackendIdentity
from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import Tokens
from ablations.models.training.jobs import Failure, Job, Outcome
from ablations.models.training.tuner import Tuned, TuningProgress
from ablations.models.vllm.adapters import Adapter
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.icl_vs_ift.config import TuningConfig
from ablations.studies.icl_vs_ift.plan import TuningPlan, plan_tuning
from ablations.studies.spec import StudySpec
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import load

EMPTY_TRACKING: list[Path] = []
"""A database of MLflow's without a run; making one takes seconds."""
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


class Named(FakeBackend):
    """A model with a name of its own, which is loaded alone."""

    loaded: "list[Named]" = []  # noqa: RUF012

    def __init__(self, model: str, context_length: int | None = None) -> None:
        super().__init__(context_length=context_length)
        self.model = model
        self.starts = 0

    @property
    def identity(self) -> BackendIdentity:
        return BackendIdentity(self.name, self.model, {})

    @property
    def chat_template(self) -> ChatTemplate | None:  # type: ignore[override]
        return (lambda messages: f"<chat>{messages[-1]['content']}") if self.model == "aligned" else None

    async def start(self) -> None:
        assert Named.loaded == [], "two engines at once"
        Named.loaded.append(self)
        self.starts += 1

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        assert self in Named.loaded
        made = await super().generate(prompt, decoding, seed)
        return replace(made, text=f"{self.model} {made.text}")

    async def close(self) -> None:
        if self in Named.loaded:
            Named.loaded.remove(self)


class Adapted(Named):
    """The base model with an adapter."""

    def __init__(self, base: Named, adapter: Adapter) -> None:
        super().__init__(f"{base.model}+{adapter.identity}")
        self._base, self.adapter = base, adapter

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        return await self._base.generate(prompt, decoding, seed)


@dataclass
class FakeEngines:
    """Engines by the name of what they load."""

    base: Named = field(default_factory=lambda: Named("base"))
    takes_adapters: bool = True
    made: list[Named] = field(default_factory=list)
    adapters: list[Adapter] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adapting = Named("base") if self.takes_adapters else None

    def adapted(self, adapter: Adapter) -> Backend:
        self.adapters.append(adapter)
        assert self.adapting is not None
        return Adapted(self.adapting, adapter)

    @property
    def loaded(self) -> list[str]:
        """The models of the engines that were started, in the order in which they were made."""
        every = (self.base, *([self.adapting] if self.adapting else []), *self.made)
        return [engine.model for engine in every if engine.starts]

    def other(self, model: str) -> Backend:
        self.made.append(Named(model))
        return self.made[-1]

    def whole(self, folder: Path) -> Backend:
        return self.other(str(folder))


@dataclass
class FakeTuner:
    """Trains nothing; what it made is kept as the real one keeps it."""

    store: Store
    fails: Sequence[int] = ()
    progress: TuningProgress = field(default_factory=TuningProgress)
    trained: list[str] = field(default_factory=list)

    async def tune(self, job: Job, what: str) -> Tuned | Failure:
        if len(job.samples) // 2 in self.fails:
            return Failure("loss", "the loss of step 1 of 6 is nan")
        known, folder = self.store.find_tuning(job.key), Path("weights") / job.key
        if known is not None:
            return Tuned(job, Outcome.from_dict(known), folder, reused=True)
        self.trained.append(what)
        losses = tuple((step, 3.0 / step, job.recipe.learning_rate, 10 * step) for step in range(1, 7))
        outcome = Outcome(content_hash(job.key), 60, 20, 2.0, 5, 10, 1 << 30, losses, 1.0 if job.held_out else None)
        self.store.add_tuning(job.key, outcome.to_dict())
        return Tuned(job, outcome, folder, reused=False)

    async def try_out(self, job: Job, what: str) -> Outcome | Failure:
        made = await self.tune(job, what)
        return made if isinstance(made, Failure) else made.outcome

    def pass_over(self, job: Job) -> None:
        self.progress.skipped += job.recipe.steps(len(job.samples))

    async def whole(self, tuned: Tuned) -> Path:
        return tuned.folder if tuned.job.recipe.method == "full" else tuned.folder.with_name("merged")


def spec_of(folder: Path, pool: str, **changes: Any) -> StudySpec:
    path = folder / "comparison.toml"
    path.write_text(FILE)
    queries = changes.get("queries", make_queries(3))
    settings = PoolSettings(name=pool, whole=True)
    prepared = asyncio.run(prepare_pool(settings, queries, True, 0, None, None))
    given = {"queries": queries, "prepared": prepared} | changes
    return StudySpec(load(path, name="s", concurrency=2), **given)


def plan_of(spec: StudySpec, tiny: ResolvedModel, context_length: int | None = None, **options: Any) -> TuningPlan:
    given = {"sizes": (1, 2), "aligned": "aligned"} | options
    named = replace(tiny, name="base")
    backend = Named("base", context_length)
    return asyncio.run(plan_tuning(spec, TuningConfig(**given), named, backend, Tokens(tiny), False))


class FakeSession(TuningSession):
    """A session whose trainings are fakes; `fails` are numbers of examples."""

    fails: Sequence[int] = ()

    def _make_study(self, evaluator: Any, store: Store, tracker: Any, claims: Any) -> TuningStudy:
        study = super()._make_study(evaluator, store, tracker, claims)
        self.tuner = study.tuner = FakeTuner(store, self.fails)  # type: ignore[assignment]
        return study


def run(
    spec: StudySpec, plan: TuningPlan, folder: Path, engines: FakeEngines | None = None, fails: Sequence[int] = ()
) -> tuple[str, FakeSession]:
    """Run or resume the comparison in a folder; return what was shown, and the session."""
    engines, shown = engines or FakeEngines(), io.StringIO()
    if not folder.exists():
        folder.mkdir()
        shutil.copy(EMPTY_TRACKING[0], folder / "mlflow.db")
    places = Places.choose(str(folder), None, None, None)
    given = (spec, {"queries": "made"}, engines.base, FakeJudge(), places, Console(file=shown, width=200))
    session = FakeSession(*given, plan=plan, engines=engines)
    session.fails = fails
    asyncio.run(session.run())
    return shown.getvalue(), session
