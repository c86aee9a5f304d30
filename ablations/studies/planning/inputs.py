"""Inputs: what a kind plans its study from. Queries, judge and model are made once, when they are first needed.

Knows every part and starts none.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ablations.core.prompt import PromptParts
from ablations.core.records import Query
from ablations.datasets.prepare import PoolSettings, Prepared, prepare_pool
from ablations.datasets.queries import BUILT_IN, choose_subset, load_queries
from ablations.judges.base import Judge
from ablations.judges.checks.registry import Accepted
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import Limits
from ablations.judges.registry import make_judge
from ablations.models.base import Backend
from ablations.models.packaged import GENERATING
from ablations.models.placement import engine_backend, other_engine, resolved, server_backend, silent
from ablations.prompts.components import read_prompt_file, read_prompt_parts
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.config.config import Config
from ablations.studies.config.tables import SERVER, JudgeTable
from ablations.studies.reporter import Reporter


class Vectors:
    """Embeddings in the store, which is opened when the first are asked for."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._opened = False

    @cached_property
    def _store(self) -> Store:
        self._places.prepare()
        self._opened = True
        return Store(self._places.store)

    def find_vectors(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return what is stored."""
        return self._store.find_vectors(keys)

    def add_vectors(self, vectors: Mapping[str, bytes]) -> None:
        """Store vectors."""
        self._store.add_vectors(vectors)

    def close(self) -> None:
        """Give back the store's connections, where it was opened."""
        if self._opened:
            self._store.close()


@dataclass
class Inputs:
    """Inputs from which a kind plans its study.

    Attributes:
        config: of the study.
        places: where its results are.
        reporter: shows messages and progress to the user.
        dry_run: whether nothing may be written, embeddings neither.
        fresh: whether what is stored under the study's name will be forgotten.
        whole: the evaluation set.
        queries: what the study asks of it.
        judge: not started; it can judge these queries.
        vectors: where embeddings are stored, or None.
    """

    config: Config
    places: Places
    reporter: Reporter
    dry_run: bool
    fresh: bool
    whole: tuple[Query, ...]
    queries: tuple[Query, ...]
    judge: Judge
    vectors: Vectors | None
    opened: AsyncExitStack
    _backend: Backend | None = field(default=None, init=False)

    @property
    def built_in(self) -> bool:
        """Whether the evaluation set is the project's own, whose demonstrations are known not to overlap with it."""
        return self.config.study.queries in BUILT_IN

    @property
    def log_file(self) -> Path:
        """Where everything goes that engines print."""
        return self.places.engine_log(self.config.name)

    async def backend(self) -> Backend:
        """Return the study's model, not started; a wrong model, setting or address is found here."""
        if self._backend is None:
            self._backend = await self._make_backend()
            self.opened.push_async_callback(self._backend.close)
        return self._backend

    async def _make_backend(self) -> Backend:
        config, say = self.config, self.reporter.say
        if config.study.backend == SERVER:
            if config.engine:
                say(f"{config.path.name}: [engine] is for the engine in this process; the server keeps its own")
            return await server_backend(config.study.model, config.server, say)
        return engine_backend(str(config.study.model), config.engine, self.log_file, say)

    async def model(self, name: str | None) -> Backend:
        """Return another model, not started; `name` is None for the only one that a server serves."""
        config, say = self.config, self.reporter.say
        if config.study.backend == SERVER:
            made: Backend = await server_backend(name, config.server, say)
        else:
            made = other_engine(str(name), config.engine, self.log_file, say)
        self.opened.push_async_callback(made.close)
        return made

    def new_judge(self) -> Judge:
        """Return another judge like the study's, for estimates about queries that the study does not see."""
        study = self.config.study
        judge = make_judge(study.judge, judge_settings(self.config.judge, study.seed), study.also_judge)
        self.opened.push_async_callback(judge.close)
        return judge

    def pool_settings(self, greedy: Path | None = None) -> PoolSettings:
        """Return which pool is used and how; `greedy` is the prompt file of a greedy search, or None."""
        pool = self.config.pool
        return self.config.kind.pool(
            PoolSettings(
                name=pool.name or PoolSettings.name,
                encoder=pool.encoder,
                max_tokens_each=pool.max_tokens_each,
                max_tokens_total=pool.max_tokens_total,
                greedy=greedy,
                allow_overlap=pool.allow_overlap,
            )
        )

    async def pool(self, settings: PoolSettings) -> Prepared:
        """Return a pool without the demonstrations that leak, what it has of each counted where a limit needs that."""
        count = (await self.backend()).count_tokens if settings.limited else None
        return await prepare_pool(settings, self.queries, self.built_in, self.config.study.seed, count, self.vectors)

    def fixed_parts(self) -> PromptParts | None:
        """Return what a prompt file holds; as it is, or taken apart where a study adds demonstrations to it."""
        path = self.config.study.prompt_file
        if path is None:
            return None
        template = str(self.config.baseline.get("template", "urial"))
        return (read_prompt_parts if self.config.kind.adds_shots else read_prompt_file)(path, template)


@asynccontextmanager
async def open_inputs(
    config: Config, places: Places, reporter: Reporter, dry_run: bool = False, fresh: bool = False
) -> AsyncIterator[Inputs]:
    """Read what a configuration names; what is opened for that is given back at the end.

    Raises:
        UserError: something the user gave cannot be.
    """
    study = config.study
    async with AsyncExitStack() as opened:
        judge = make_judge(study.judge, judge_settings(config.judge, study.seed), study.also_judge)
        accepted = Accepted(study.skip_unknown_checks)
        unread: Counter[str] = Counter()
        whole = load_queries(study.queries, study.reference_answers, accepted, unread)
        if unread:
            found = ", ".join(f"{name} ({count} rows)" for name, count in sorted(unread.items()))
            reporter.say(f"fields of {study.queries} that nothing reads: {found}", important=True)
        if accepted.skipped:
            left = ", ".join(f"{count} x {name}" for name, count in sorted(accepted.skipped.items()))
            reporter.say(f"checks left out, because they are not known or not checked: {left}", important=True)
        queries = config.kind.asked(choose_subset(whole, study.limit, study.seed))
        judge.check(queries)
        check_model(config)
        vectors = None if dry_run else Vectors(places)
        if vectors is not None:
            opened.callback(vectors.close)
        yield Inputs(config, places, reporter, dry_run, fresh, whole, queries, judge, vectors, opened)


def judge_settings(table: JudgeTable, seed: int) -> JudgeSettings:
    """Return what the table `[judge]` says, as judges take it."""
    limits = Limits()
    return JudgeSettings(
        model=table.model,
        base_url=table.base_url,
        prompts=table.prompts,
        prices=table.prices,
        max_cost=table.max_cost,
        limits=replace(
            limits,
            in_flight=table.in_flight or limits.in_flight,
            requests_per_minute=table.rpm,
            tokens_per_minute=table.tpm,
            call_seconds=table.timeout or limits.call_seconds,
        ),
        compare_with=table.compare_with,
        two_scores=table.two_scores,
        checks_score=table.checks_score,
        reply_tokens=table.max_tokens or JudgeSettings().reply_tokens,
        seed=seed,
    )


def check_model(config: Config) -> None:
    """Raise `ModelError` for a model that cannot be, without converting one."""
    model = config.study.model
    if config.study.backend != SERVER and model is not None and model not in GENERATING:
        resolved(model, config.engine, silent)
