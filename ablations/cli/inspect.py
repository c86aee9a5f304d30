"""Commands that show or rewrite what is there: prompts, reports, views, trials, schemas, MLflow's pages.

Knows every part and does the work of none; what runs a study is in `run`.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.cli.arguments import (
    ImportArguments,
    PlanArguments,
    PromptArguments,
    RebuildArguments,
    ReportArguments,
    ReproduceArguments,
    SchemaArguments,
    UiArguments,
)
from ablations.cli.progress import ConsoleReporter, make_console
from ablations.cli.run import study_path
from ablations.core.condition import PROMPT_PARAMETERS
from ablations.core.errors import PartFailedError, StorageError, UsageError, reason, redacted
from ablations.core.records import Query
from ablations.datasets.pools import load_pool
from ablations.datasets.selection import Chooser
from ablations.judges.registry import free_judge
from ablations.models.base import Backend
from ablations.models.placement import server_backend
from ablations.prompts.components import build_parts, read_prompt_file
from ablations.prompts.render import render_prompt
from ablations.prompts.urial_file import read_urial
from ablations.storage.store import Store
from ablations.storage.workspace import Places, check_sqlite, sqlite_path
from ablations.studies.config.config import load_config
from ablations.studies.config.schema import fill_tables, study_schema
from ablations.studies.config.tables import SERVER
from ablations.studies.registry import configs
from ablations.studies.views.report import find_study, report_study
from ablations.studies.views.sources import open_results
from ablations.tracking.client import serve_ui, trial_of_run

if TYPE_CHECKING:
    from ablations.studies.views.reproduction import StoredTrial

Inspecting = (
    PromptArguments
    | ImportArguments
    | ReportArguments
    | PlanArguments
    | RebuildArguments
    | ReproduceArguments
    | SchemaArguments
    | UiArguments
)


def perform(asked: Inspecting) -> int:
    """Do what was asked for and return the exit code."""
    match asked:
        case PromptArguments():
            return prompt(asked)
        case ImportArguments():
            return import_prompt(asked)
        case ReportArguments():
            return report(asked)
        case PlanArguments():
            return plan(asked)
        case RebuildArguments():
            return rebuild(asked)
        case ReproduceArguments():
            return reproduce(asked)
        case SchemaArguments():
            return schema(asked)
        case UiArguments():
            return ui(asked)


def prompt(asked: PromptArguments) -> int:
    """Print the exact prompt of a query and nothing else."""
    if (asked.turn_1_answer is None) != (asked.turn_2_query is None):
        raise UsageError("the second turn needs both --turn-1-answer and --turn-2-query")
    config = load_config(study_path(asked.study, asked.search_space), (), configs())
    baseline = config.baseline
    turns = (asked.query,) if asked.turn_2_query is None else (asked.query, asked.turn_2_query)
    query = Query("prompt", "", turns)
    pool = asked.pool or (None if config.kind.adds_shots else config.pool.name)
    if asked.prompt_file:
        parts = read_prompt_file(asked.prompt_file, str(baseline.get("template", "urial")))
    else:
        components = {name: baseline[name] for name in PROMPT_PARAMETERS if name in baseline}
        chooser = Chooser(load_pool(pool), [query]) if pool else None
        parts = build_parts(**components, chooser=chooser)  # type: ignore[arg-type]
    answers = () if asked.turn_1_answer is None else (asked.turn_1_answer,)
    sys.stdout.write(render_prompt(query, parts, answers).text)
    return 0


def import_prompt(asked: ImportArguments) -> int:
    """Take a prompt file apart, write what was asked for, and print what is in it as one JSON object."""
    file = read_urial(asked.file)
    shown = file.demonstrations
    rows = ({"id": one.id, "query": one.query, "answer": one.answer} for one in shown)
    texts = {
        asked.system_prompt: file.system_prompt.removesuffix("\n")
        if file.messages
        else file.system_prompt,  # without the heading's line break
        asked.pool: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        asked.write_back: file.written,
    }
    for path, text in texts.items():
        if path is not None:
            _write(path, text)
    found = {
        "file": str(asked.file),
        "system_prompt_characters": len(file.system_prompt),
        "demonstrations": len(shown),
        "without_answer": sum(one.answer is None for one in shown),
        "note": None if shown else "no role line was found, so that the whole text counts as system prompt",
        "identical_when_written_back": file.written.encode() == asked.file.read_bytes(),
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


def _write(path: Path, text: str) -> None:
    if path.exists():
        raise UsageError(f"{path} exists and is not written over; name another file, or delete it")
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {reason(error)}; name another file") from error


def report(asked: ReportArguments) -> int:
    """Write the report of a study as HTML and as Markdown."""
    for path in report_study(asked.study, asked.places, asked.out):
        print(path)
    return 0


def plan(asked: PlanArguments) -> int:
    """Print how many queries an effect takes, from the results of a study."""
    from ablations.studies.planning.forecast import forecast

    open_results(asked.study, asked.places)  # says what to run where there are none
    study = find_study(asked.study, asked.places)
    found = forecast(study.results, study.record, asked.effect, asked.power, study.manifest.price)
    ConsoleReporter(make_console(quiet=False)).show(found)
    return 0


def rebuild(asked: RebuildArguments) -> int:
    """Rebuild MLflow's and Optuna's views from the results of record; 3 where some studies were left out."""
    from ablations.studies.views.rebuild import rebuild as rebuild_views

    left_out = rebuild_views(asked.places, asked.name, ConsoleReporter(make_console(quiet=False)).say)
    return PartFailedError.exit_code if left_out else 0


def reproduce(asked: ReproduceArguments) -> int:
    """Make a trial's requests again and print what differs; 1 where an answer or a score does."""
    if asked.limit is not None and asked.limit < 1:
        raise UsageError(f"--limit {asked.limit} leaves no query; give 1 or more")
    places = asked.places
    for address in (places.store, places.tracking_uri):
        if (path := sqlite_path(address)) is not None and not path.is_file():
            raise StorageError(f"{path} does not exist; name the folder of the trial's study with --mlruns")
    study, number = trial_of_run(places.tracking_uri, asked.run_id)
    return asyncio.run(_reproduce(asked, study, number, places))


async def _reproduce(asked: ReproduceArguments, study: str, number: int, places: Places) -> int:
    from ablations.studies.views.checks import reproduction_report
    from ablations.studies.views.reproduction import StoredTrial, reproduce

    reporter = ConsoleReporter(make_console(quiet=False))
    async with AsyncExitStack() as opened:
        store = Store(places.store)
        opened.callback(store.close)
        trial = StoredTrial.read(store, study, number)
        backend = await _backend_of(trial, asked, places, reporter.say)
        opened.push_async_callback(backend.close)
        judge = free_judge(trial.identity["judge"])
        if judge is not None:
            opened.push_async_callback(judge.close)
            await judge.start()
        await backend.start()
        found = await reproduce(trial, backend, judge, asked.limit)
    reporter.show(reproduction_report(trial, found))
    return 1 if found.differing else 0


async def _backend_of(
    trial: "StoredTrial", asked: ReproduceArguments, places: Places, say: Callable[[str], None]
) -> Backend:
    """Return what made a trial's answers, not started; the flags say where it is now."""
    from ablations.studies.views.reproduction import backend_of

    model = asked.model or trial.manifest.parameters.get("asked_model")
    if trial.identity["backend"] == SERVER:
        if asked.base_url is None:
            raise UsageError("a server made this trial's answers; say where it is now with --base-url URL")
        return await server_backend(None if model is None else str(model), [asked.base_url], say)
    if asked.base_url is not None:
        raise UsageError("--base-url names a server, and an engine in this process made this trial's answers; drop it")
    return backend_of(trial, str(model), places, say)


def schema(asked: SchemaArguments) -> int:
    """Print the JSON Schema of a study file, or draw a page's tables again from it."""
    if asked.readme is not None:
        try:
            asked.readme.write_text(fill_tables(asked.readme.read_text(encoding="utf-8"), configs()), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--readme {asked.readme} cannot be drawn again: {reason(error)}; name a page") from error
        return 0
    mode = None
    if asked.study is not None or asked.search_space is not None:
        mode = load_config(study_path(asked.study, asked.search_space), (), configs()).mode
    print(json.dumps(study_schema(configs(), mode), indent=2, ensure_ascii=False))
    return 0


def ui(asked: UiArguments) -> int:
    """Serve MLflow's pages on the loopback address until interrupted."""
    places = asked.places
    if (path := sqlite_path(places.tracking_uri)) is not None:
        if not path.exists():
            raise StorageError(f"{path} does not exist, so there is nothing to show; run a study first: make decoding")
        check_sqlite(path)
    if places.artifacts is None:
        raise UsageError(f"{redacted(places.tracking_uri)} is an MLflow server: open its address in a browser")
    _check_port(asked.port)
    address = f"http://127.0.0.1:{asked.port}/#/experiments?workflowType=machine_learning"  # the pages with runs
    print(
        f"MLflow starts in some seconds and shows {redacted(places.tracking_uri)} at {address} (stop with Ctrl-C)",
        flush=True,
    )
    if code := serve_ui(places.tracking_uri, places.artifacts, "127.0.0.1", asked.port):
        raise PartFailedError(
            f"MLflow's server ended with code {code}; is port {asked.port} free? choose another with --port"
        )
    return 0


def _check_port(port: int) -> None:
    """Raise `UsageError` where no server can begin to listen."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port {port} cannot be used: {reason(error)}; choose another, 1 to 65535") from error
