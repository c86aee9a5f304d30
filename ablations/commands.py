"""What each command does: puts spec, backend, judge, store and tracker together.

Knows every part and does the work of none.
"""

import argparse
import asyncio
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ablations.backends import BACKENDS, Backend, refuse_unsupported
from ablations.backends.openai_api import OpenAIBackend, probe_server
from ablations.conditions import neutral_value
from ablations.errors import AblationError, PartFailedError, StorageError, UnsupportedError, UsageError, nearest
from ablations.evaluation import Evaluator, check_prompt_lengths
from ablations.judges import Judge, make_judge
from ablations.places import Places
from ablations.prompts import build_parts, read_prompt_file, render_prompt
from ablations.queries import choose_subset, load_queries
from ablations.records import Query
from ablations.results import results_frame, write_results
from ablations.spec import DEFAULTS, StudySpec, check_same_study
from ablations.store import Store
from ablations.study import Study, delete_optuna_study
from ablations.study_file import SEARCH_SPACES, StudyFile, find_study_file, read_study_file
from ablations.terminal import make_console, progress_display, show_findings, show_plan, show_studies
from ablations.tracking import Tracker, ui_command


def run(flags: argparse.Namespace) -> int:
    """Run a study, or list the studies."""
    console = make_console(flags.quiet)
    if flags.list:
        show_studies(console, [_describe(path) for path in sorted(SEARCH_SPACES.glob("*.toml"))])
        return 0
    file = _study_file(flags)
    options = _options(flags, file)
    judge = make_judge(options["judge"])
    spec = _spec(flags, file, options)
    judge.check(spec.queries)
    conditions = [spec.to_condition(point.values) for point in spec.design]
    if flags.dry_run:
        _check_model(options)
    show_plan(
        console, spec, options["model"] or f"what {flags.base_url} serves", judge.name, list_conditions=flags.dry_run
    )
    if flags.dry_run:
        return 0
    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    backend = _backend(flags, file, options, places.engine_log(spec.name), console)
    refuse_unsupported(backend.name, backend.honours, [condition.effective for condition in conditions])
    for name in spec.space.names:
        if hasattr(spec.baseline.decoding, name) and name not in backend.honours:
            raise UnsupportedError(
                f"the study varies {name}, which the backend {backend.name!r} is not known to honour; "
                f"leave it at {neutral_value(name)!r}, or use the vllm backend"
            )
    places.prepare()
    lock = places.lock(spec.name)
    try:
        return asyncio.run(_run_study(console, spec, options, places, backend, judge, fresh=flags.fresh))
    finally:
        lock.release()


async def _run_study(
    console: Console,
    spec: StudySpec,
    options: Mapping[str, Any],
    places: Places,
    backend: Backend,
    judge: Judge,
    *,
    fresh: bool,
) -> int:
    store = Store(places.store)
    identity = spec.identity(backend.identity.to_dict(), judge.identity)
    experiment = spec.file.name
    if fresh:
        store.forget_study(spec.name)
        delete_optuna_study(spec.name, places.storage)
    stored = store.find_study(spec.name)
    if stored is not None:
        check_same_study(spec.name, stored, identity)
    tracker = Tracker(places.tracking_uri, places.artifacts, experiment, spec.name)
    status = "FAILED"
    begun = time.monotonic()
    try:
        console.print(f"starting the {backend.name} backend; the engine's log is {places.engine_log(spec.name)}")
        parameters = {**options, "name": spec.name, "engine": identity["engine"], "queries_hash": identity["queries"]}
        files = {"search_space.toml": spec.file.text}
        await asyncio.gather(
            backend.start(),
            judge.start(),
            tracker.start(spec.file.options.get("description", ""), parameters, files, fresh),
        )
        ready = time.monotonic()
        console.print(f"ready after {ready - begun:.0f} s")
        conditions = [spec.to_condition(point.values) for point in spec.design]
        check_prompt_lengths(backend, conditions, spec.queries)
        if stored is None:
            store.add_study(spec.name, identity)
        evaluator = Evaluator(backend, judge, store, spec.seed)
        study = Study(spec, places.storage, evaluator, store, tracker)
        if restored := study.restore_finished({query.id: query for query in spec.queries}):
            console.print(f"{restored} trials are finished already; going on with the rest")
        with progress_display(console, spec, study, evaluator.progress):
            await study.run()
        seconds = time.monotonic() - ready
        done = evaluator.progress
        console.print(
            f"study took {seconds:.0f} s: {done.generated} completions generated, {done.reused} reused, "
            f"{done.completion_tokens:,} tokens ({done.completion_tokens / max(seconds, 1e-9):.0f} tokens/s)"
        )
        await _close_study(console, spec, places, store, tracker)
        status = "FINISHED"
    except asyncio.CancelledError:
        status = "KILLED"
        raise
    finally:
        await _close_all(tracker, status, backend, judge, store)
    return 0


async def _close_study(console: Console, spec: StudySpec, places: Places, store: Store, tracker: Tracker) -> None:
    """Export the results of record, compute what the study found, show and log it."""
    from analysis.report import find

    frame = results_frame(store, spec.name, spec.queries)
    path = places.results(spec.name)
    write_results(frame, path)
    findings = await asyncio.to_thread(find, frame)
    show_findings(console, findings)
    await tracker.log_findings(findings.metrics(), findings.headline, findings.tables(), findings.figures)
    await tracker.log_files([path])
    console.print(f"results: {path}")
    console.print(
        f"MLflow: {places.tracking_uri}, experiment {spec.file.name!r}, run {spec.name!r}; browse it with: make ui"
    )


async def _close_all(tracker: Tracker, status: str, backend: Backend, judge: Judge, store: Store) -> None:
    """Give everything back, whatever state it is in."""
    try:
        await tracker.finish(status)
    finally:
        await backend.close()
        await judge.close()
        store.close()


def _study_file(flags: argparse.Namespace) -> StudyFile:
    if flags.search_space is not None:
        return read_study_file(flags.search_space)
    if flags.study is None:
        raise UsageError("say what to study: --study NAME (see --list) or --search-space PATH")
    return read_study_file(find_study_file(flags.study))


def _options(flags: argparse.Namespace, file: StudyFile) -> dict[str, Any]:
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
        options["model"] = None
    return options


def _spec(flags: argparse.Namespace, file: StudyFile, options: Mapping[str, Any]) -> StudySpec:
    queries = load_queries(options["queries"], flags.reference_answers)
    headings = str(file.baseline.get("headings", "urial"))
    return StudySpec(
        name=flags.name or file.name,
        file=file,
        mode=options["mode"],
        sampler=options["sampler"],
        trials=options["trials"],
        levels=options["levels"],
        seed=options["seed"],
        concurrency=options["concurrency"],
        queries=choose_subset(queries, options["limit"], options["seed"]),
        fixed_parts=read_prompt_file(flags.prompt_file, headings) if flags.prompt_file else None,
    )


def _check_model(options: Mapping[str, Any]) -> None:
    """Raise `ModelError` for a model that cannot be, without converting one."""
    from ablations.models import GENERATING, resolve_model

    if options["backend"] == "vllm" and options["model"] not in GENERATING:
        resolve_model(options["model"], trust_remote_code=True)


def _backend(
    flags: argparse.Namespace, file: StudyFile, options: Mapping[str, Any], log_file: Path, console: Console
) -> Backend:
    """Return a backend that is not started; a wrong model, setting or address is found here."""
    settings = {**file.engine, **_engine_settings(flags.engine)}
    if options["backend"] == "openai":
        if settings and flags.engine:
            raise UsageError("--engine sets arguments of the engine in this process; a server has its own")
        model, is_vllm, length = asyncio.run(probe_server(flags.base_url, options["model"]))
        return OpenAIBackend(model, flags.base_url, is_vllm, length)
    from ablations.backends.vllm_engine import VllmBackend, check_settings
    from ablations.models import resolve_model

    check_settings(settings)
    resolved = resolve_model(
        options["model"],
        trust_remote_code=bool(settings.get("trust_remote_code", False)),
        revision=settings.get("revision"),
        say=console.print,
    )
    return VllmBackend(resolved, settings, log_file)


def _engine_settings(pairs: list[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` with TOML's values; what is none is a text."""
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.isidentifier():
            raise UsageError(f"--engine {pair!r} is not KEY=VALUE; write for example --engine dtype=bfloat16")
        try:
            settings[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = value
    return settings


def _describe(path: Path) -> tuple[str, str]:
    try:
        return path.stem, str(read_study_file(path).options.get("description", ""))
    except AblationError as error:
        return path.stem, f"cannot be read: {error}"


def prompt(flags: argparse.Namespace) -> int:
    """Print the exact prompt of a query and nothing else."""
    if (flags.turn_1_answer is None) != (flags.turn_2_query is None):
        raise UsageError("the second turn needs both --turn-1-answer and --turn-2-query")
    file = _study_file(flags)
    components: dict[str, Any] = {
        name: file.baseline[name] for name in ("rules", "headings", "demonstrations") if name in file.baseline
    }
    parts = (
        read_prompt_file(flags.prompt_file, components.get("headings", "urial"))
        if flags.prompt_file
        else build_parts(**components)
    )
    turns = (flags.query,) if flags.turn_2_query is None else (flags.query, flags.turn_2_query)
    answers = () if flags.turn_1_answer is None else (flags.turn_1_answer,)
    sys.stdout.write(render_prompt(Query("prompt", "", turns), parts, answers).text)
    return 0


def audit_judge(flags: argparse.Namespace) -> int:
    """Print how often a good answer beats each planted control."""
    from ablations.judges.audit import audit, plant_controls
    from ablations.judges.calibration import halves
    from ablations.queries import second_answers

    judge = make_judge(flags.judge)
    planted = plant_controls(halves()[1], second_answers())
    rows = asyncio.run(audit(judge, planted))
    console = make_console(quiet=False)
    title = f"{judge.name} judge: good answers against planted controls ({len(planted)} held-back answers)"
    table = Table(
        "control", "good answer wins", "95 % interval (Wilson)", "unscored", title=title, title_justify="left", box=None
    )
    for row in rows:
        share = "-" if row.share is None else f"{row.wins}/{row.pairs} = {row.share:.1%}"
        table.add_row(row.control, share, f"{row.low:.1%} to {row.high:.1%}", str(row.unscored))
    console.print(table)
    return 0


def ui(flags: argparse.Namespace) -> int:
    """Serve MLflow's pages on the loopback address until interrupted."""
    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    if places.tracking_uri.startswith("sqlite:///"):
        path = Path(places.tracking_uri.removeprefix("sqlite:///"))
        if not path.exists():
            raise StorageError(f"{path} does not exist, so there is nothing to show; run a study first: make decoding")
        _check_sqlite(path)
    command, environment = ui_command(places.tracking_uri, places.artifacts, "127.0.0.1", flags.port)
    print(f"MLflow shows {places.tracking_uri} at http://127.0.0.1:{flags.port} (stop with Ctrl-C)", flush=True)
    if code := subprocess.run(command, env=environment, check=False).returncode:
        raise PartFailedError(
            f"MLflow's server ended with code {code}; is port {flags.port} free? choose another with --port"
        )
    return 0


def _check_sqlite(path: Path) -> None:
    try:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be used: {error}; move a damaged file away") from error


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "prompt": prompt,
    "audit-judge": audit_judge,
    "ui": ui,
}
