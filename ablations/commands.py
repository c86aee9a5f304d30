"""What each command does: puts spec, backend, judge, store and tracker together.

Knows every part and does the work of none.
"""

import argparse
import asyncio
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ablations.backends import BACKENDS, Backend
from ablations.errors import AblationError, PartFailedError, StorageError, UsageError, nearest
from ablations.judges import make_judge
from ablations.models import ResolvedModel
from ablations.places import Places, check_sqlite, redacted
from ablations.prompts import build_parts, read_prompt_file, render_prompt
from ablations.queries import choose_subset, load_queries
from ablations.records import Query
from ablations.session import Session
from ablations.spec import DEFAULTS, StudySpec
from ablations.study_file import SEARCH_SPACES, StudyFile, find_study_file, read_study_file
from ablations.terminal import make_console, show_plan, show_studies
from ablations.tracking import ui_command


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
    _check_model(options, {**file.engine, **_engine_settings(flags.engine)})
    model = options["model"] or f"what {flags.base_url} serves"
    show_plan(console, spec, model, judge.name, list_conditions=flags.dry_run)
    if flags.dry_run:
        return 0
    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    backend = _backend(flags, file, options, places.engine_log(spec.name), console)
    session = Session(spec, options | {"name": spec.name}, backend, judge, places, console, fresh=flags.fresh)
    asyncio.run(session.run())
    return 0


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
        options["model"] = file.options.get("model")  # the default is a packaged model, which no server has
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


def _check_model(options: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise `ModelError` for a model that cannot be, without converting one."""
    from ablations.models import GENERATING

    if options["backend"] == "vllm" and options["model"] not in GENERATING:
        _resolved(options["model"], settings, say=lambda _: None)


def _resolved(model: str, settings: Mapping[str, Any], say: Callable[[str], None]) -> ResolvedModel:
    from ablations.models import resolve_model

    trusted = bool(settings.get("trust_remote_code", False))
    return resolve_model(model, trust_remote_code=trusted, revision=settings.get("revision"), say=say)


def _backend(
    flags: argparse.Namespace, file: StudyFile, options: Mapping[str, Any], log_file: Path, console: Console
) -> Backend:
    """Return a backend that is not started; a wrong model, setting or address is found here."""
    settings = {**file.engine, **_engine_settings(flags.engine)}
    if options["backend"] == "openai":
        if flags.engine:
            raise UsageError("--engine sets arguments of the engine in this process; a server has its own")
        if settings:
            console.print(f"{file.path.name}: [engine] is for the engine in this process; the server keeps its own")
        from ablations.backends.openai_api import OpenAIBackend, probe_server

        model, server = asyncio.run(probe_server(flags.base_url, options["model"]))
        return OpenAIBackend(model, flags.base_url, server)
    from ablations.backends.vllm_engine import VllmBackend, check_settings

    console.print("checking model and engine settings")
    check_settings(settings)
    backend = VllmBackend(_resolved(options["model"], settings, say=console.print), settings, log_file)
    if settings:
        backend.check_values()
    return backend


def _engine_settings(pairs: list[str]) -> dict[str, Any]:
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
        check_sqlite(path)
    if places.artifacts is None:
        raise UsageError(f"{redacted(places.tracking_uri)} is an MLflow server: open its address in a browser")
    command, environment = ui_command(places.tracking_uri, places.artifacts, "127.0.0.1", flags.port)
    print(
        f"MLflow shows {redacted(places.tracking_uri)} at http://127.0.0.1:{flags.port} (stop with Ctrl-C)", flush=True
    )
    if code := subprocess.run(command, env=environment, check=False).returncode:
        raise PartFailedError(
            f"MLflow's server ended with code {code}; is port {flags.port} free? choose another with --port"
        )
    return 0


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "prompt": prompt,
    "audit-judge": audit_judge,
    "ui": ui,
}
