"""What one study is put together from: flags over the study file over the defaults.

Knows every part and starts none. Whatever can be wrong is found here, before anything runs.
"""

import argparse
import json
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console

from ablations.backends import BACKENDS, Backend
from ablations.conditions import Condition, PromptParts
from ablations.demonstrations import PoolSettings, find_overlaps, prepare_pool
from ablations.errors import PromptError, UsageError, nearest
from ablations.judges import Judge, JudgeSettings, Limits, make_judge
from ablations.lengths import largest_fitting
from ablations.models import ResolvedModel
from ablations.places import Places
from ablations.prompts import CHAT, read_prompt_file, read_prompt_parts
from ablations.queries import BUILT_IN, choose_subset, load_queries
from ablations.records import Query
from ablations.search_plan import PROMPT_FILE, SELECTION_FILE
from ablations.search_space import Choices, Range
from ablations.spec import DEFAULTS, StudySpec
from ablations.store import Store
from ablations.study_file import StudyFile, find_study_file, read_study_file

GREEDY_STUDY = "greedy-search"
LIMITS = ("max_tokens_each", "max_tokens_total")


@dataclass
class Assembly:
    """A study put together.

    Attributes:
        spec, options, judge, places: as `Session` takes them.
        backend: made already where prompts had to be counted, else None.
    """

    spec: StudySpec
    options: dict[str, Any]
    judge: Judge
    places: Places
    backend: Backend | None


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
    file = _with_search(flags, file, options)
    judge = make_judge(options["judge"], judge_settings(flags, options["seed"]))
    queries = _queries(flags, options)
    judge.check(queries)
    check_model(options, {**file.engine, **engine_settings(flags.engine)})
    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    file, greedy, notes = _with_greedy(flags, file, places)
    notes += _flattered(greedy, queries)
    settings = _pool_settings(flags, file, greedy)
    leaves_out = file.pool.get("fit") == "leave-out"
    asks_chat = any(values.get("headings") == CHAT.name for values in file.conditions)
    async with AsyncExitStack() as opened:
        backend = count_tokens = None
        if settings.limited or leaves_out or asks_chat:
            log_file = places.engine_log(flags.name or file.name)
            backend = await make_backend(flags, file, options, log_file, console)
            opened.push_async_callback(backend.close)
            count_tokens = backend.count_tokens
            if asks_chat and backend.chat_template is None:
                file = replace(file, conditions=tuple(v for v in file.conditions if v.get("headings") != CHAT.name))
                notes.append("the model has no chat template that is known here: it is not asked as an aligned model")
        vectors = None if flags.dry_run else Vectors(places)
        if vectors is not None:
            opened.callback(vectors.close)
        built_in = options["queries"] in BUILT_IN
        prepared = await prepare_pool(settings, queries, built_in, options["seed"], count_tokens, vectors)
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
            fixed_parts=_fixed_parts(flags, file, queries),
            prepared=replace(prepared, notes=(*prepared.notes, *notes)),
        )
        if backend is not None and leaves_out:
            spec = await fitted(spec, backend)
        yield Assembly(spec, options, judge, places, backend)


def _queries(flags: argparse.Namespace, options: Mapping[str, Any]) -> tuple[Query, ...]:
    """Return the evaluation set; a greedy search asks first turns alone."""
    whole = load_queries(options["queries"], flags.reference_answers)
    queries = choose_subset(whole, options["limit"], options["seed"])
    return tuple(query.first_turn for query in queries) if options["mode"] == "greedy-search" else queries


def _fixed_parts(flags: argparse.Namespace, file: StudyFile, queries: Sequence[Query]) -> PromptParts | None:
    """Return what a prompt file holds; as it is, or taken apart where a search is to add to it."""
    path = flags.prompt_file
    if path is None:
        return None
    headings = str(file.baseline.get("headings", "urial"))
    searches = file.options.get("mode") == "greedy-search"
    apart = read_prompt_parts(path, headings) if searches or not flags.allow_overlap else None
    if apart is not None and not flags.allow_overlap and (found := find_overlaps(apart.demonstrations, queries, None)):
        raise UsageError(
            f"--prompt-file {path}: its demonstrations hold what the evaluation asks ({'; '.join(map(str, found))}, "
            "counted in the file's order), and a prompt file is used as it is; take them out, choose other queries, or "
            "give --allow-overlap, which is recorded"
        )
    return apart if searches else read_prompt_file(path, headings)


def _with_search(flags: argparse.Namespace, file: StudyFile, options: Mapping[str, Any]) -> StudyFile:
    """Return the study file with the search that the flags ask for."""
    given = {name: getattr(flags, name) for name in ("rounds", "candidates") if getattr(flags, name) is not None}
    if (given or flags.no_racing) and options["mode"] != "greedy-search":
        raise UsageError("--rounds, --candidates and --no-racing belong to a greedy search; drop them")
    for name, value in given.items():
        if value < 1:
            raise UsageError(f"--{name} {value} leaves nothing to search; give 1 or more")
    return replace(file, search={**file.search, **given})


def _with_greedy(
    flags: argparse.Namespace, file: StudyFile, places: Places
) -> tuple[StudyFile, Path | None, list[str]]:
    """Return the study file, the prompt of a greedy search where it is needed, and what there is to say of that.

    Where no such prompt exists, the source `greedy` is taken out of the space.
    """
    varied = "source" in file.space.names and "greedy" in file.space["source"].domain.values()
    if not varied and file.baseline.get("source") != "greedy":
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


def _flattered(greedy: Path | None, queries: Sequence[Query]) -> list[str]:
    """Say by how many of the queries the greedy prompt was chosen."""
    path = None if greedy is None else greedy.with_name(SELECTION_FILE)
    if path is None or not path.is_file():
        return []
    try:
        chosen_by = set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error}; run the greedy search again, or delete the file") from error
    same = sum(query.id in chosen_by for query in queries)
    return [f"the greedy prompt was chosen by {same} of the {len(queries)} queries, which flatters it"] if same else []


def _pool_settings(flags: argparse.Namespace, file: StudyFile, greedy: Path | None) -> PoolSettings:
    given = {name: file.pool[name] for name in ("name", "encoder", *LIMITS) if name in file.pool}
    given |= {name: value for name, value in (("name", flags.pool), ("encoder", flags.encoder)) if value is not None}
    return PoolSettings(**given, greedy=greedy, allow_overlap=flags.allow_overlap)


async def fitted(spec: StudySpec, backend: Backend) -> StudySpec:
    """Return the study without the numbers of demonstrations that the pool or the context does not hold.

    What is left out is named in the notes, with the largest number that would fit.
    """
    if "demonstrations" not in spec.space.names or spec.prepared is None:
        return spec
    chooser, domain = spec.prepared.chooser, spec.space["demonstrations"].domain
    numbers = sorted(int(value) for value in domain.values())  # type: ignore[arg-type]
    sources = spec.space["source"].domain.values() if "source" in spec.space.names else (spec.baseline.prompt.source,)
    most = chooser.most("first")
    notes = (
        [f"the pool holds {most}: {_listed(numbers, most)} demonstrations are left out"] if numbers[-1] > most else []
    )

    draws = spec.space["draw"].domain.values() if "draw" in spec.space.names else (spec.baseline.prompt.draw,)

    def conditions(number: int) -> Iterator[Condition]:
        for source, draw in product(map(str, sources), draws):
            if number <= chooser.most(source):
                yield spec.to_condition({"demonstrations": number, "source": source, "draw": draw})

    within = [number for number in numbers if number <= most]
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
    if len(within) < 2 or spec.file.baseline["demonstrations"] not in within:
        raise PromptError(f"too little of the study is left: {'; '.join(notes)}; raise --engine max_model_len")
    kept = Range(within[0], within[-1], integer=True) if isinstance(domain, Range) else Choices(tuple(within))
    file = replace(spec.file, space=spec.space.with_domain("demonstrations", kept))
    prepared = replace(spec.prepared, notes=(*spec.prepared.notes, *notes))
    return replace(spec, file=file, prepared=prepared)


def _listed(numbers: Sequence[int], limit: int) -> str:
    return ", ".join(str(number) for number in numbers if number > limit)


def study_file(flags: argparse.Namespace) -> StudyFile:
    """Return the study file that the flags name."""
    if flags.search_space is not None:
        return read_study_file(flags.search_space)
    if flags.study is None:
        raise UsageError("say what to study: --study NAME (see --list) or --search-space PATH")
    return read_study_file(find_study_file(flags.study))


def options_in_force(flags: argparse.Namespace, file: StudyFile) -> dict[str, Any]:
    """Return what is in force: flags over the study file over the defaults."""
    given = {name: getattr(flags, name) for name in DEFAULTS if getattr(flags, name, None) is not None}
    options = {**DEFAULTS, **{name: file.options[name] for name in DEFAULTS if name in file.options}, **given}
    if flags.base_url is not None:
        if flags.backend == "vllm":
            raise UsageError("--base-url names a server, --backend vllm runs in this process; drop one of them")
        options["backend"] = "openai"
    if options["backend"] not in BACKENDS:
        raise UsageError(
            f"--backend {options['backend']!r} is not a known backend; {nearest(options['backend'], BACKENDS)}"
        )
    if options["backend"] == "openai" and flags.base_url is None:
        raise UsageError("--backend openai needs the server's address; give --base-url URL")
    if options["backend"] == "openai" and flags.model is None:
        options["model"] = file.options.get("model")  # the default is a packaged model, which no server has
    return options


def check_model(options: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise `ModelError` for a model that cannot be, without converting one."""
    from ablations.models import GENERATING

    if options["backend"] == "vllm" and options["model"] not in GENERATING:
        _resolved(options["model"], settings, say=lambda _: None)


def _resolved(model: str, settings: Mapping[str, Any], say: Callable[[str], None]) -> ResolvedModel:
    from ablations.models import resolve_model

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
        from ablations.backends.openai_api import OpenAIBackend, probe_server

        model, server = await probe_server(flags.base_url, options["model"])
        return OpenAIBackend(model, flags.base_url, server)
    from ablations.backends.vllm_engine import VllmBackend, check_settings

    console.print("checking model and engine settings")
    check_settings(settings)
    backend = VllmBackend(_resolved(options["model"], settings, say=console.print), settings, log_file)
    if settings:
        backend.check_values()
    return backend


def engine_settings(pairs: list[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` with TOML's values; what is none is a text."""
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.isidentifier():
            raise UsageError(f"--engine {pair!r} is not KEY=VALUE; write for example --engine dtype=bfloat16")
        try:
            typed = value.lower() if value.lower() in ("true", "false") else value
            settings[key] = tomllib.loads(f"value = {typed}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = value
    return settings


def judge_settings(flags: argparse.Namespace, seed: int) -> JudgeSettings:
    """Return what the flags say of the judge; raise `UsageError` for a number out of range."""
    numbers = {
        "--judge-in-flight": flags.judge_in_flight,
        "--judge-rpm": flags.judge_rpm,
        "--judge-tpm": flags.judge_tpm,
        "--judge-timeout": flags.judge_timeout,
        "--judge-max-tokens": flags.judge_max_tokens,
        "--max-cost": flags.max_cost,
    }
    for name, number in numbers.items():
        if number is not None and not 0 < number < float("inf"):
            raise UsageError(f"{name} {number:g} is out of range; give a number above 0")
    given = {
        "in_flight": flags.judge_in_flight,
        "requests_per_minute": flags.judge_rpm,
        "tokens_per_minute": flags.judge_tpm,
        "call_seconds": flags.judge_timeout,
    }
    return JudgeSettings(
        model=flags.judge_model,
        base_url=flags.judge_base_url,
        prompts=flags.judge_prompts,
        prices=flags.judge_prices,
        max_cost=flags.max_cost,
        limits=Limits(**{name: number for name, number in given.items() if number is not None}),
        compare_with=flags.compare_with,
        two_scores=flags.two_scores,
        reply_tokens=flags.judge_max_tokens or JudgeSettings().reply_tokens,
        seed=seed,
    )
