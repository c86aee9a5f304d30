"""What each command does: puts spec, backend, judge, store and tracker together.

Knows every part and does the work of none.
"""

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablations.cli.plan import show_plan, show_studies
from ablations.cli.progress import make_console
from ablations.cli.render import show
from ablations.core.condition import PROMPT_PARAMETERS
from ablations.core.errors import AblationError, PartFailedError, StorageError, UsageError, redacted
from ablations.core.records import Query
from ablations.datasets.pools import load_pool
from ablations.datasets.queries import choose_subset, load_queries
from ablations.datasets.selection import Chooser
from ablations.judges.base import ComparingJudge, Judge
from ablations.judges.registry import DEFAULT_JUDGE, make_judge
from ablations.models.base import Backend
from ablations.prompts.components import build_parts, read_prompt_file
from ablations.prompts.render import render_prompt
from ablations.prompts.urial_file import read_urial
from ablations.storage.store import Store
from ablations.storage.workspace import Places, check_sqlite
from ablations.studies.alignment.study import compare_models, run_models, study_names
from ablations.studies.conditions.confirm_session import ConfirmedSession
from ablations.studies.config.assembly import (
    Assembly,
    assembled,
    check_model,
    engine_backend,
    make_backend,
    server_backend,
)
from ablations.studies.config.file import SEARCH_SPACES, StudyFile, read_study_file
from ablations.studies.config.flags import engine_settings, judge_settings, options_in_force, study_file
from ablations.studies.engine.runner import Session, run_audit
from ablations.studies.greedy.session import SearchSession
from ablations.studies.spec import DEFAULTS
from ablations.studies.views.report import report_study
from ablations.tracking.client import serve_ui, trial_of_run

if TYPE_CHECKING:
    from ablations.judges.audit.audit import Planted
    from ablations.studies.views.reproduction import KeptTrial


def run(flags: argparse.Namespace) -> int:
    """Run a study, or list the studies."""
    console = make_console(flags.quiet)
    if flags.list:
        show_studies(console, [_describe(path) for path in sorted(SEARCH_SPACES.glob("*.toml"))])
        return 0
    file = study_file(flags)
    models = _models(flags, file)
    if not models:
        asyncio.run(_run(flags, file, console))
        return 0
    name, options = flags.name or file.name, options_in_force(flags, file)
    names = study_names(name, models)
    if options["confirm"]:
        raise UsageError(
            f"--confirm is for the study of one model, and {len(models)} are compared here; give one with --model, or "
            "--confirm 0"
        )
    for model in models:  # a misspelt one is found before the first is paid for
        check_model({**options, "model": model}, {**file.engine, **engine_settings(flags.engine)})
    run_models(flags.arguments, names, console)
    if not flags.dry_run:
        places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
        asyncio.run(compare_models(name, file, names, places, console))
    return 0


def _models(flags: argparse.Namespace, file: StudyFile) -> list[str]:
    """Return the models that are studied one after the other; empty where there is one."""
    if flags.model is not None:  # also in the process of one of them
        if flags.models is not None and not flags.one_of_models:
            raise UsageError("--models names several models and --model one; drop one of the flags")
        return []
    if flags.models is not None:
        if not file.conditions:
            raise UsageError(f"--models is for a study of listed conditions, and {file.name} has none; use --model")
        models = [model.strip() for model in flags.models.split(",")]
        if len(set(models)) < len(models):
            raise UsageError(f"--models {flags.models!r} names a model twice; drop one")
        if not all(models):
            raise UsageError(f"--models {flags.models!r} has an empty name; write for example --models base,aligned")
        return models
    return [] if flags.base_url is not None else list(file.models)


async def _run(flags: argparse.Namespace, file: StudyFile, console: Console) -> None:
    async with assembled(flags, file, console) as study:
        spec, options = study.spec, study.options
        if spec.mode == "icl-vs-ift":
            await _run_tuning(flags, file, study, console)
            return
        model = options["model"] or f"what {', '.join(map(redacted, flags.base_url))} serves"
        show_plan(console, spec, model, study.informed_judge, flags.dry_run, study.confirmation)
        if flags.dry_run:
            _check_engine(flags)
            return
        backend = study.backend or await make_backend(flags, file, options, study.places.engine_log(spec.name), console)
        given = (spec, options | {"name": spec.name}, backend, study.judge, study.places, console, flags.fresh)
        if study.confirmation is not None:
            await ConfirmedSession(*given, confirmation=study.confirmation).run()
            return
        kind = SearchSession if spec.mode == "greedy-search" else Session
        await kind(*given).run()


async def _run_tuning(flags: argparse.Namespace, file: StudyFile, study: Assembly, console: Console) -> None:
    from ablations.studies.icl_vs_ift.assembly import tuning_session

    session = await tuning_session(flags, file, study, console)
    if session is not None:
        await session.run()


def _check_engine(flags: argparse.Namespace) -> None:
    """Raise `UsageError` for settings that vLLM's engine does not know; a run finds them when it makes the engine."""
    if flags.engine:
        from ablations.models.vllm.settings import check_settings

        check_settings(engine_settings(flags.engine))


def _describe(path: Path) -> tuple[str, str]:
    try:
        return path.stem, str(read_study_file(path).options.get("description", ""))
    except AblationError as error:
        return path.stem, f"cannot be read: {error}"


def prompt(flags: argparse.Namespace) -> int:
    """Print the exact prompt of a query and nothing else."""
    if (flags.turn_1_answer is None) != (flags.turn_2_query is None):
        raise UsageError("the second turn needs both --turn-1-answer and --turn-2-query")
    file = study_file(flags)
    components: dict[str, Any] = {name: file.baseline[name] for name in PROMPT_PARAMETERS if name in file.baseline}
    turns = (flags.query,) if flags.turn_2_query is None else (flags.query, flags.turn_2_query)
    query = Query("prompt", "", turns)
    searches = file.options.get("mode") == "greedy-search"  # begins with the built-in demonstrations
    pool = flags.pool or (None if searches else file.pool.get("name"))
    parts = (
        read_prompt_file(flags.prompt_file, components.get("template", "urial"))
        if flags.prompt_file
        else build_parts(**components, chooser=Chooser(load_pool(pool), [query]) if pool else None)
    )
    answers = () if flags.turn_1_answer is None else (flags.turn_1_answer,)
    sys.stdout.write(render_prompt(query, parts, answers).text)
    return 0


def import_prompt(flags: argparse.Namespace) -> int:
    """Take a prompt file apart, write what was asked for, and print what is in it as one JSON object."""
    file = read_urial(flags.file)
    shown = file.demonstrations
    rows = ({"id": one.id, "query": one.query, "answer": one.answer} for one in shown)
    texts = {
        flags.rules: file.rules.removesuffix("\n") if file.messages else file.rules,  # the heading's own line break
        flags.pool: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        flags.write_back: file.written,
    }
    for path, text in texts.items():
        if path is not None:
            _write(path, text)
    found = {
        "file": str(flags.file),
        "rules_characters": len(file.rules),
        "demonstrations": len(shown),
        "without_answer": sum(one.answer is None for one in shown),
        "note": None if shown else "no role line was found, so that the whole text counts as rules",
        "identical_when_written_back": file.written.encode() == flags.file.read_bytes(),
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


def _write(path: Path, text: str) -> None:
    if path.exists():
        raise UsageError(f"{path} exists and is not written over; name another file, or delete it")
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another file") from error


def audit_judge(flags: argparse.Namespace) -> int:
    """Print how often a good answer beats each planted control, and keep the verdict for later studies."""
    from ablations.judges.audit.pairs import read_pairs

    console = make_console(quiet=False)
    judge = make_judge(flags.judge or DEFAULT_JUDGE, judge_settings(flags, DEFAULTS["seed"]))
    planted = _planted(flags, judge)
    pairs = read_pairs(flags.pairs) if flags.pairs else []
    if isinstance(judge, ComparingJudge):
        if flags.compare_with:
            raise UsageError("an audit compares good answers with planted ones; drop --compare-with")
    else:
        judge.check([item.query for item in planted] + [pair.query for pair in pairs])
    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    places.prepare()
    asyncio.run(run_audit(judge, planted, pairs, places, console))
    return 0


def _planted(flags: argparse.Namespace, judge: Judge) -> "list[Planted]":
    """Return controls around the built-in second answers, or around the references of other queries."""
    from ablations.datasets.queries import second_answers, wrong_answers
    from ablations.judges.audit.audit import plant_controls
    from ablations.judges.audit.calibration import halves

    if flags.queries is None:
        queries = choose_subset(halves()[1], flags.limit, DEFAULTS["seed"])
        return plant_controls(_shortened(queries, judge), second_answers(), wrong_answers())
    if judge.name == DEFAULT_JUDGE:
        raise UsageError(
            "the good answers of --queries are their reference answers, which the reference judge compares with; "
            "leave --queries out, or audit another judge"
        )
    queries = choose_subset(load_queries(flags.queries, flags.reference_answers), flags.limit, DEFAULTS["seed"])
    answers = {query.id: tuple(filter(None, query.references)) for query in queries if all(query.references)}
    if len(answers) < 2:
        raise UsageError(
            f"an audit needs good answers, and {len(answers)} of {len(queries)} queries have reference answers to all "
            "turns; give --reference-answers FILE, or leave --queries out"
        )
    return plant_controls(_shortened(queries, judge), answers)


def _shortened(queries: Sequence[Query], judge: Judge) -> list[Query]:
    """Return the queries with no more turns than the judge judges."""
    most = judge.max_turns
    return [replace(query, turns=query.turns[:most], references=query.references[:most]) for query in queries]


def winrate(flags: argparse.Namespace) -> int:
    """Print the win rates in a published file of annotations as one JSON object: AlpacaEval's, or Han's."""
    from ablations.judges.comparison.published import holds_two_scores

    rates = _two_score_rates(flags) if holds_two_scores(flags.annotations) else _alpaca_eval_rates(flags)
    print(json.dumps(rates, indent=2, allow_nan=False))
    return 0


def _two_score_rates(flags: argparse.Namespace) -> dict[str, Any]:
    from ablations.judges.comparison.published import read_two_scores
    from ablations.judges.llm.parsing import FIRST, SECOND, TIE
    from analysis.scores import outcome_rates

    if flags.instruction_difficulty or flags.gamed:
        raise UsageError("--instruction-difficulty and --gamed belong to AlpacaEval's annotations; drop them")
    named = {FIRST: "win_rate", TIE: "draw_rate", SECOND: "loss_rate", None: None}
    verdicts = read_two_scores(flags.annotations)
    return outcome_rates(
        [[named[verdict] for verdict in of_one] for of_one in verdicts], [*filter(None, named.values())]
    )


def _alpaca_eval_rates(flags: argparse.Namespace) -> dict[str, Any]:
    from analysis.published.annotations import read_annotations, read_difficulty, read_gamed
    from analysis.published.win_rate import win_rate

    difficulty = read_difficulty(flags.instruction_difficulty) if flags.instruction_difficulty else None
    gamed = read_gamed(flags.gamed) if flags.gamed else None
    rate = asdict(win_rate(read_annotations(flags.annotations), difficulty, gamed))
    shown = ("win_rate", "standard_error", "length_controlled_win_rate", "reason", "n", "n_missing", "lacking")
    counts = ("n_wins", "n_draws", "n_losses")
    return {name: rate[name] for name in (*shown, *counts)}


def report(flags: argparse.Namespace) -> int:
    """Write the report of a study as HTML and as Markdown."""
    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    for path in report_study(flags.study, places, flags.out):
        print(path)
    return 0


def rebuild(flags: argparse.Namespace) -> int:
    """Make MLflow's and Optuna's views anew from the results of record; 3 where some studies were left out."""
    from ablations.studies.views.rebuild import rebuild as make_anew

    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    left_out = make_anew(places, flags.name, make_console(quiet=False))
    return PartFailedError.exit_code if left_out else 0


def reproduce(flags: argparse.Namespace) -> int:
    """Make a trial's requests again and print what differs; 1 where an answer or a score does."""
    if flags.limit is not None and flags.limit < 1:
        raise UsageError(f"--limit {flags.limit} leaves no query; give 1 or more")
    places = Places.choose(flags.mlruns, flags.store, flags.storage, flags.tracking_uri)
    for address in (places.store, places.tracking_uri):
        path = Path(address.removeprefix("sqlite:///"))
        if address.startswith("sqlite:///") and not path.is_file():
            raise StorageError(f"{path} does not exist; name the folder of the trial's study with --mlruns")
    study, number = trial_of_run(places.tracking_uri, flags.run_id)
    return asyncio.run(_reproduce(flags, study, number, places))


async def _reproduce(flags: argparse.Namespace, study: str, number: int, places: Places) -> int:
    from ablations.studies.views.checks import reproduction_report
    from ablations.studies.views.reproduction import KeptTrial, reproduce

    console = make_console(quiet=False)
    async with AsyncExitStack() as given_back:
        store = Store(places.store)
        given_back.callback(store.close)
        kept = KeptTrial.read(store, study, number)
        backend = await _backend_of(kept, flags, places, console)
        given_back.push_async_callback(backend.close)
        judge = make_judge(DEFAULT_JUDGE) if kept.identity["judge"].get("judge") == DEFAULT_JUDGE else None
        if judge is not None:
            given_back.push_async_callback(judge.close)
            await judge.start()
        await backend.start()
        found = await reproduce(kept, backend, judge, flags.limit)
    show(console, reproduction_report(kept, found))
    return 1 if found.differing else 0


async def _backend_of(kept: "KeptTrial", flags: argparse.Namespace, places: Places, console: Console) -> Backend:
    """Return what made a trial's answers, not started; the flags say where it is now."""
    log_file = places.engine_log(kept.study)
    model = flags.model or kept.card.parameters.get("asked_model")
    if kept.identity["backend"] == "openai":
        if flags.base_url is None:
            raise UsageError("a server made this trial's answers; say where it is now with --base-url URL")
        return await server_backend(model, [flags.base_url], console)
    if flags.base_url is not None:
        raise UsageError("--base-url names a server, and an engine in this process made this trial's answers; drop it")
    if model is None:
        raise UsageError("an older version kept no name of the model; give it with --model")
    settings = {name: value for name, value in kept.identity["engine"].items() if name != "vllm"}
    if kept.arm is not None:
        from ablations.studies.icl_vs_ift.assembly import arm_backend

        return arm_backend(kept, model, settings, places, console)
    return engine_backend(model, settings, log_file, console)


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
    _check_port(flags.port)
    address = f"http://127.0.0.1:{flags.port}/#/experiments?workflowType=machine_learning"  # the pages with runs
    print(
        f"MLflow starts in some seconds and shows {redacted(places.tracking_uri)} at {address} (stop with Ctrl-C)",
        flush=True,
    )
    if code := serve_ui(places.tracking_uri, places.artifacts, "127.0.0.1", flags.port):
        raise PartFailedError(
            f"MLflow's server ended with code {code}; is port {flags.port} free? choose another with --port"
        )
    return 0


def _check_port(port: int) -> None:
    """Raise `UsageError` where no server can begin to listen."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port {port} cannot be used: {error}; choose another, 1 to 65535") from error


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "prompt": prompt,
    "import": import_prompt,
    "audit-judge": audit_judge,
    "winrate": winrate,
    "report": report,
    "rebuild": rebuild,
    "reproduce": reproduce,
    "ui": ui,
}
