"""What one study is put together from: flags over the study file over the defaults.

Knows every part and starts none. Whatever can be wrong is found here, before anything runs.
"""

import argparse
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablations.core.condition import PROMPT_PARAMETERS, Condition, content_hash, plain_value
from ablations.core.errors import PromptError, UsageError, redacted
from ablations.core.prompt import PromptParts, Value
from ablations.core.records import Query
from ablations.datasets.prepare import prepare_pool
from ablations.datasets.queries import BUILT_IN, choose_subset, load_queries
from ablations.judges.base import Judge
from ablations.judges.registry import make_judge
from ablations.models.base import Backend
from ablations.models.resolve import ResolvedModel
from ablations.prompts.components import read_prompt_file, read_prompt_parts
from ablations.prompts.templates import CHAT
from ablations.storage.store import Store
from ablations.storage.workspace import PROMPT_FILE, Places
from ablations.studies.conditions.confirmation import Confirmation
from ablations.studies.conditions.leakage import (
    check_held_back,
    check_start,
    flattered,
    plan_confirmation,
    queries_that_chose,
)
from ablations.studies.config.file import StudyFile
from ablations.studies.config.flags import (
    check_confirmation,
    engine_settings,
    judge_settings,
    options_in_force,
    pool_settings,
    tuning_options,
    with_search,
)
from ablations.studies.config.space import Choices, Range, SearchSpace
from ablations.studies.engine.lengths import largest_fitting
from ablations.studies.spec import StudySpec

if TYPE_CHECKING:
    from ablations.models.vllm.engine import VllmBackend

GREEDY_STUDY = "greedy-search"


@dataclass
class Assembly:
    """A study put together.

    Attributes:
        spec, options, judge, places: as `Session` takes them.
        backend: made already where prompts had to be counted, else None.
        confirmation: what is evaluated again when the study has ended, or None.
        informed_judge: one for estimates, which has read what it needs for held-back queries too.
    """

    spec: StudySpec
    options: dict[str, Any]
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
async def assembled(flags: argparse.Namespace, file: StudyFile, console: Console) -> AsyncIterator[Assembly]:
    """Put a study together; what was opened for that is given back at the end.

    Raises:
        UserError: something the user gave cannot be.
    """
    options = options_in_force(flags, file)
    file = with_search(flags, file, options)
    check_confirmation(flags, options)
    judge = make_judge(options["judge"], judge_settings(flags, options["seed"]))
    queries = _queries(flags, options)
    judge.check(queries)
    check_model(options, {**file.engine, **engine_settings(flags.engine)})
    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    file, greedy, notes = _with_greedy(flags, file, places)
    chosen_by = queries_that_chose(greedy or flags.prompt_file)
    notes += flattered(chosen_by, queries)
    settings = pool_settings(flags, file, greedy)
    if options["mode"] == "icl-vs-ift":
        settings = replace(settings, name=tuning_options(flags, file, {}).pools[0], whole=True)
    leaves_out = file.pool.get("fit") == "leave-out"
    asks_chat = any(values.get("template") == CHAT.name for values in file.conditions)
    async with AsyncExitStack() as opened:
        backend = count_tokens = None
        if settings.limited or leaves_out or asks_chat:
            log_file = places.engine_log(flags.name or file.name)
            backend = await make_backend(flags, file, options, log_file, console)
            opened.push_async_callback(backend.close)
            count_tokens = backend.count_tokens
            if asks_chat and backend.chat_template is None:
                file = replace(file, conditions=tuple(v for v in file.conditions if v.get("template") != CHAT.name))
                notes.append("the model has no chat template that is known here: it is not asked as an aligned model")
        vectors = None if flags.dry_run else Vectors(places)
        if vectors is not None:
            opened.callback(vectors.close)
        built_in = options["queries"] in BUILT_IN
        prepared = await prepare_pool(settings, queries, built_in, options["seed"], count_tokens, vectors)
        if not prepared.chooser.styled and "style" in file.space.names:
            file = replace(file, space=file.space.without("style"))
            notes.append("style is left out of what is varied: the pool has its demonstrations in one style")
        spec = StudySpec(
            name=flags.name or file.name,
            file=file,
            mode=options["mode"],
            sampler=options["sampler"],
            trials=options["trials"],
            levels=options["levels"],
            seed=options["seed"],
            concurrency=options["concurrency"],
            queries=queries,
            min_coverage=options["min_coverage"],
            design_name=options["design"],
            fixed_parts=_fixed_parts(flags, file),
            prepared=replace(prepared, notes=(*prepared.notes, *notes)),
            racing=not flags.no_racing,
        )
        if backend is not None and leaves_out:
            spec = await fitted(spec, backend)
        spec = _noted(spec, _shortened_greedy(spec) + _shown_numbers(spec))
        check_start(spec, settings, built_in, vectors)
        confirmation, informed = None, judge
        if options["confirm"]:
            whole = load_queries(options["queries"], flags.reference_answers)
            asked = (options["confirm"], options["held_back"])
            confirmation = plan_confirmation(spec, whole, *asked, settings, built_in, chosen_by, vectors)
            informed = make_judge(options["judge"], judge_settings(flags, options["seed"]))
            opened.push_async_callback(informed.close)
            check_held_back(informed, confirmation.follow_up(spec, []).queries)
        yield Assembly(spec, options, judge, places, backend, confirmation, informed)


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
    if spec.mode == "ablation" and spec.prepared is not None and spec.prepared.chooser.limits.total is not None:
        parts = {content_hash(one.content()): one for one in (spec.to_condition(p.values).prompt for p in spec.design)}
        for one in parts.values():
            numbers = [len(one.shown_to(query.id)) for query in spec.queries]
            if one.asked is not None and min(numbers) < one.asked:
                draw = f" (draw {one.draw})" if one.source.startswith("random") else ""
                notes.append(f"{one.source}{draw}: {one.asked} asked for, {min(numbers)} to {max(numbers)} shown")
    return notes


def _queries(flags: argparse.Namespace, options: Mapping[str, Any]) -> tuple[Query, ...]:
    """Return the evaluation set; a greedy search asks first turns alone."""
    whole = load_queries(options["queries"], flags.reference_answers)
    queries = choose_subset(whole, options["limit"], options["seed"])
    return tuple(query.first_turn for query in queries) if options["mode"] == "greedy-search" else queries


def _fixed_parts(flags: argparse.Namespace, file: StudyFile) -> PromptParts | None:
    """Return what a prompt file holds; as it is, or taken apart where a search is to add to it."""
    if flags.prompt_file is None:
        return None
    headings = str(file.baseline.get("template", "urial"))
    searches = file.options.get("mode") == "greedy-search"
    return (read_prompt_parts if searches else read_prompt_file)(flags.prompt_file, headings)


def _with_greedy(
    flags: argparse.Namespace, file: StudyFile, places: Places
) -> tuple[StudyFile, Path | None, list[str]]:
    """Return the study file, the prompt of a greedy search where it is needed, and what there is to say of that.

    Where no such prompt exists, the source `greedy` is taken out of the space.
    """
    varied = "source" in file.space.names and "greedy" in file.space["source"].domain.values()
    if not varied and file.baseline.get("source") != "greedy":
        if flags.greedy:
            raise UsageError(f"--greedy means nothing to {file.name}, which has no source greedy; drop it")
        return file, None, []
    named = str(flags.greedy or file.pool.get("greedy", GREEDY_STUDY))
    path = Path(named).expanduser() if named.endswith(".txt") else places.results(named).with_name(PROMPT_FILE)
    if path.is_file():
        return file, path, [f"greedy: the demonstrations of {path}"]
    missing = f"the source greedy needs the prompt of a greedy search, and {path} does not exist"
    others = tuple(value for value in file.space["source"].domain.values() if value != "greedy") if varied else ()
    if flags.greedy or len(others) < 2:
        raise UsageError(f"{missing}; run --study greedy-search first, or give --greedy FILE")
    space = file.space.with_domain("source", Choices(others))
    return replace(file, space=space), None, [f"{missing}: it is left out (run --study greedy-search first)"]


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
    prompts = list(_prompts(replace(spec, file=replace(spec.file, space=_limited(spec.space, within)))))

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
    if len(within) < 2 or spec.file.baseline["shots"] not in within:
        raise PromptError(f"too little of the study is left: {'; '.join(notes)}; raise --engine max_model_len")
    return _noted(replace(spec, file=replace(spec.file, space=_limited(spec.space, within))), notes)


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
        full = {**spec.file.baseline, **point.values}
        values = {name: full[name] for name in PROMPT_PARAMETERS if name in full and name != "shots"}
        if (key := content_hash({name: plain_value(value) for name, value in values.items()})) not in known:
            known.add(key)
            yield values


def _listed(numbers: Sequence[int], limit: int) -> str:
    return ", ".join(str(number) for number in numbers if number > limit)


def check_model(options: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise `ModelError` for a model that cannot be, without converting one."""
    from ablations.models.resolve import GENERATING

    if options["backend"] == "vllm" and options["model"] not in GENERATING:
        _resolved(options["model"], settings, say=lambda _: None)


def _resolved(model: str, settings: Mapping[str, Any], say: Callable[[str], None]) -> ResolvedModel:
    from ablations.models.resolve import resolve_model

    trusted = bool(settings.get("trust_remote_code", False))
    return resolve_model(model, trust_remote_code=trusted, revision=settings.get("revision"), say=say)


async def make_backend(
    flags: argparse.Namespace, file: StudyFile, options: Mapping[str, Any], log_file: Path, console: Console
) -> Backend:
    """Return a backend that is not started; a wrong model, setting or address is found here."""
    settings = {**file.engine, **engine_settings(flags.engine)}
    if options["backend"] == "openai":
        if flags.engine:
            raise UsageError("--engine sets arguments of the engine in this process; a server has its own")
        if settings:
            note = f"{file.path.name}: [engine] is for the engine in this process; the server keeps its own"
            console.print(note, markup=False)
        return await server_backend(options["model"], flags.base_url, console)
    return engine_backend(options["model"], settings, log_file, console)


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


def engine_backend(model: str, settings: Mapping[str, Any], log_file: Path, console: Console) -> "VllmBackend":
    """Return vLLM's engine in this process, not started, with settings that it takes."""
    from ablations.models.vllm.engine import VllmBackend
    from ablations.models.vllm.settings import check_settings

    console.print("checking model and engine settings")
    check_settings(settings)
    backend = VllmBackend(_resolved(model, settings, say=console.print), settings, log_file, console.print)
    if settings:
        backend.check_values()
    return backend
