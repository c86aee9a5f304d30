"""What one study is put together from: its configuration and what that names.

Knows every part and starts none. Whatever can be wrong is found here, before anything runs.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ablations.core.condition import PROMPT_PARAMETERS, Condition, content_hash, plain_value
from ablations.core.errors import PromptError, UsageError, redacted
from ablations.core.prompt import PromptParts, Value
from ablations.datasets.prepare import PoolSettings, prepare_pool
from ablations.datasets.queries import BUILT_IN, choose_subset, load_queries
from ablations.judges.base import Judge
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import Limits
from ablations.judges.registry import make_judge
from ablations.models.base import Backend
from ablations.models.resolve import ResolvedModel
from ablations.prompts.components import read_prompt_file, read_prompt_parts
from ablations.prompts.templates import CHAT
from ablations.storage.store import Store
from ablations.storage.workspace import PROMPT_FILE, Places
from ablations.studies.conditions.config import ConditionsConfig
from ablations.studies.conditions.confirmation import Confirmation
from ablations.studies.conditions.leakage import (
    check_held_back,
    check_start,
    flattered,
    plan_confirmation,
    queries_that_chose,
)
from ablations.studies.config.config import KindConfig, StudyConfig
from ablations.studies.config.space import Choices, Range, SearchSpace
from ablations.studies.config.tables import SERVER, JudgeTable
from ablations.studies.engine.lengths import largest_fitting
from ablations.studies.spec import StudySpec

if TYPE_CHECKING:
    from ablations.models.vllm.engine import VllmBackend

Config = StudyConfig[KindConfig]
Settings = Mapping[str, object]


@dataclass
class Assembly:
    """A study put together.

    Attributes:
        spec, judge, places: as `Session` takes them.
        backend: made already where prompts had to be counted, else None.
        confirmation: what is evaluated again when the study has ended, or None.
        informed_judge: one for estimates, which has read what it needs for held-back queries too.
    """

    spec: StudySpec
    judge: Judge
    places: Places
    backend: Backend | None
    confirmation: Confirmation | None
    informed_judge: Judge


class Vectors:
    """Embeddings kept in the store, which is opened when the first are asked for."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._opened = False

    @cached_property
    def _store(self) -> Store:
        self._places.prepare()
        self._opened = True
        return Store(self._places.store)

    def find_vectors(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return what is kept."""
        return self._store.find_vectors(keys)

    def add_vectors(self, vectors: Mapping[str, bytes]) -> None:
        """Keep vectors."""
        self._store.add_vectors(vectors)

    def close(self) -> None:
        """Give back the store's connections, where it was opened."""
        if self._opened:
            self._store.close()


@asynccontextmanager
async def assembled(config: Config, places: Places, console: Console, dry_run: bool = False) -> AsyncIterator[Assembly]:
    """Put a study together; what was opened for that is given back at the end.

    Args:
        config: of the study.
        places: where its results are.
        console: where what happens is said.
        dry_run: whether nothing may be written, embeddings neither.

    Raises:
        UserError: something the user gave cannot be.
    """
    study = config.study
    settings_of_judge = judge_settings(config.judge, study.seed)
    judge = make_judge(study.judge, settings_of_judge)
    whole = load_queries(study.queries, study.reference_answers)
    queries = config.kind.asked(choose_subset(whole, study.limit, study.seed))
    judge.check(queries)
    check_model(config)
    config, greedy, notes = _with_greedy(config, places)
    chosen_by = queries_that_chose(greedy or study.prompt_file)
    notes += flattered(chosen_by, queries)
    settings = config.kind.pool(pool_settings(config, greedy))
    leaves_out, kind = config.pool.fit == "leave-out", config.kind
    listed = kind.conditions if isinstance(kind, ConditionsConfig) else ()
    asks_chat = any(values.get("template") == CHAT.name for values in listed)
    async with AsyncExitStack() as opened:
        backend = count_tokens = None
        if settings.limited or leaves_out or asks_chat:
            backend = await make_backend(config, places.engine_log(config.name), console)
            opened.push_async_callback(backend.close)
            count_tokens = backend.count_tokens
            if asks_chat and backend.chat_template is None and isinstance(kind, ConditionsConfig):
                others = tuple(values for values in listed if values.get("template") != CHAT.name)
                config = replace(config, kind=replace(kind, conditions=others))
                notes.append("the model has no chat template that is known here: it is not asked as an aligned model")
        vectors = None if dry_run else Vectors(places)
        if vectors is not None:
            opened.callback(vectors.close)
        built_in = study.queries in BUILT_IN
        prepared = await prepare_pool(settings, queries, built_in, study.seed, count_tokens, vectors)
        if not prepared.chooser.styled and "style" in config.space.names:
            config = replace(config, space=config.space.without("style"))
            notes.append("style is left out of what is varied: the pool has its demonstrations in one style")
        prepared = replace(prepared, notes=(*prepared.notes, *notes))
        spec = StudySpec(config, queries, _fixed_parts(config), prepared)
        if backend is not None and leaves_out:
            spec = await fitted(spec, backend)
        spec = _noted(spec, _shortened_greedy(spec) + _shown_numbers(spec))
        check_start(spec, settings, built_in, vectors)
        confirmation, informed = None, judge
        if best := spec.walk.confirmed:
            held_back = spec.walk.held_back
            confirmation = plan_confirmation(spec, whole, best, held_back, settings, built_in, chosen_by, vectors)
            informed = make_judge(study.judge, settings_of_judge)
            opened.push_async_callback(informed.close)
            check_held_back(informed, confirmation.follow_up(spec, []).queries)
        yield Assembly(spec, judge, places, backend, confirmation, informed)


def judge_settings(table: JudgeTable, seed: int) -> JudgeSettings:
    """Return what the tables say of the judge."""
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
        reply_tokens=table.max_tokens or JudgeSettings().reply_tokens,
        seed=seed,
    )


def pool_settings(config: Config, greedy: Path | None) -> PoolSettings:
    """Return which pool is used and how; `greedy` is the prompt file of a greedy search, or None."""
    pool = config.pool
    return PoolSettings(
        name=pool.name or PoolSettings.name,
        encoder=pool.encoder,
        max_tokens_each=pool.max_tokens_each,
        max_tokens_total=pool.max_tokens_total,
        greedy=greedy,
        allow_overlap=pool.allow_overlap,
    )


def _noted(spec: StudySpec, notes: Sequence[str]) -> StudySpec:
    """Return the study with more to say of its pool."""
    if spec.prepared is None or not notes:
        return spec
    return replace(spec, prepared=replace(spec.prepared, notes=(*spec.prepared.notes, *notes)))


def _shortened_greedy(spec: StudySpec) -> list[str]:
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


def _shown_numbers(spec: StudySpec) -> list[str]:
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


def _fixed_parts(config: Config) -> PromptParts | None:
    """Return what a prompt file holds; as it is, or taken apart where a search is to add to it."""
    if config.study.prompt_file is None:
        return None
    template = str(config.baseline.get("template", "urial"))
    return (read_prompt_parts if config.kind.adds_shots else read_prompt_file)(config.study.prompt_file, template)


def _with_greedy(config: Config, places: Places) -> tuple[Config, Path | None, list[str]]:
    """Return the configuration, the prompt of a greedy search where it is needed, and what there is to say of that.

    Where no such prompt exists, the source `greedy` is taken out of the space.
    """
    space, asked_for = config.space, "pool.greedy" in config.flags
    varied = "source" in space.names and "greedy" in space["source"].domain.values()
    if not varied and config.baseline.get("source") != "greedy":
        if asked_for:
            raise UsageError(f"--greedy means nothing to {config.file}, which has no source greedy; drop it")
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


async def fitted(spec: StudySpec, backend: Backend) -> StudySpec:
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
    return _noted(_in_space(spec, _limited(spec.space, within)), notes)


def _in_space(spec: StudySpec, space: SearchSpace) -> StudySpec:
    return replace(spec, config=replace(spec.config, space=space))


def _limited(space: SearchSpace, numbers: Sequence[int]) -> SearchSpace:
    """Return the space with these numbers of demonstrations, the beginning of those that it has."""
    domain = space["shots"].domain
    if len(numbers) == len(domain.values()) or len(numbers) < 2:
        return space
    kept = replace(domain, high=numbers[-1]) if isinstance(domain, Range) else Choices(tuple(numbers))
    return space.with_domain("shots", kept)


def _prompts(spec: StudySpec) -> Iterator[dict[str, Value]]:
    """Yield the values of the study's prompts, each once, whatever their number of demonstrations."""
    known = set()
    for point in spec.design:
        full = {**spec.config.baseline, **point.values}
        values = {name: full[name] for name in PROMPT_PARAMETERS if name in full and name != "shots"}
        if (key := content_hash({name: plain_value(value) for name, value in values.items()})) not in known:
            known.add(key)
            yield values


def _listed(numbers: Sequence[int], limit: int) -> str:
    return ", ".join(str(number) for number in numbers if number > limit)


def check_model(config: Config) -> None:
    """Raise `ModelError` for a model that cannot be, without converting one."""
    from ablations.models.resolve import GENERATING

    model = config.study.model
    if config.study.backend != SERVER and model is not None and model not in GENERATING:
        _resolved(model, config.engine, say=lambda _: None)


def _resolved(model: str, settings: Settings, say: Callable[[str], None]) -> ResolvedModel:
    from ablations.models.resolve import resolve_model

    trusted, revision = bool(settings.get("trust_remote_code", False)), settings.get("revision")
    return resolve_model(
        model, trust_remote_code=trusted, revision=None if revision is None else str(revision), say=say
    )


async def make_backend(config: Config, log_file: Path, console: Console) -> Backend:
    """Return a backend that is not started; a wrong model, setting or address is found here."""
    if config.study.backend == SERVER:
        if config.engine:
            note = f"{config.path.name}: [engine] is for the engine in this process; the server keeps its own"
            console.print(note, markup=False)
        return await server_backend(config.study.model, config.server, console)
    return engine_backend(str(config.study.model), config.engine, log_file, console)


async def server_backend(model: str | None, base_urls: Sequence[str], console: Console) -> Backend:
    """Return the backend of a server, or of several that share requests; `model` is None for the only one served."""
    from ablations.models.openai.client import ATTEMPTS, OpenAIBackend, probe_server
    from ablations.models.openai.pool import ServerPool

    # Among several, a request that fails once more soon goes to another one.
    attempts, servers = ATTEMPTS if len(base_urls) == 1 else 2, list[Backend]()
    for address in base_urls:
        name, served = await probe_server(address, model)
        servers.append(OpenAIBackend(name, address, served, attempts))
    return servers[0] if len(servers) == 1 else ServerPool(servers, list(map(redacted, base_urls)), console.print)


def engine_backend(model: str, settings: Settings, log_file: Path, console: Console) -> "VllmBackend":
    """Return vLLM's engine in this process, not started, with settings that it takes."""
    from ablations.models.vllm.engine import VllmBackend
    from ablations.models.vllm.settings import check_settings

    console.print("checking model and engine settings")
    check_settings(settings)
    backend = VllmBackend(_resolved(model, settings, say=console.print), settings, log_file, console.print)
    if settings:
        backend.check_values()
    return backend
