"""What each command does: puts spec, backend, judge, store and tracker together.

Knows every part and does the work of none.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablations.backends import BACKENDS, Backend
from ablations.conditions import PROMPT_PARAMETERS
from ablations.errors import AblationError, PartFailedError, StorageError, UsageError, nearest
from ablations.judges import DEFAULT_JUDGE, ComparingJudge, Judge, JudgeSettings, Limits, make_judge
from ablations.models import ResolvedModel
from ablations.places import Places, check_sqlite, redacted
from ablations.prompts import build_parts, read_prompt_file, read_urial, render_prompt
from ablations.queries import choose_subset, load_queries
from ablations.records import Query
from ablations.session import Session, run_audit
from ablations.spec import DEFAULTS, StudySpec
from ablations.study_file import SEARCH_SPACES, StudyFile, find_study_file, read_study_file
from ablations.terminal import make_console, show_plan, show_studies
from ablations.tracking import ui_command

if TYPE_CHECKING:
    from ablations.judges.audit import Planted


def run(flags: argparse.Namespace) -> int:
    """Run a study, or list the studies."""
    console = make_console(flags.quiet)
    if flags.list:
        show_studies(console, [_describe(path) for path in sorted(SEARCH_SPACES.glob("*.toml"))])
        return 0
    file = _study_file(flags)
    options = _options(flags, file)
    judge = make_judge(options["judge"], _judge_settings(flags, options["seed"]))
    spec = _spec(flags, file, options)
    judge.check(spec.queries)
    _check_model(options, {**file.engine, **_engine_settings(flags.engine)})
    model = options["model"] or f"what {flags.base_url} serves"
    show_plan(console, spec, model, judge, list_conditions=flags.dry_run)
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
        min_coverage=options["min_coverage"],
        design_name=options["design"],
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
            note = f"{file.path.name}: [engine] is for the engine in this process; the server keeps its own"
            console.print(note, markup=False)
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
    components: dict[str, Any] = {name: file.baseline[name] for name in PROMPT_PARAMETERS if name in file.baseline}
    parts = (
        read_prompt_file(flags.prompt_file, components.get("headings", "urial"))
        if flags.prompt_file
        else build_parts(**components)
    )
    turns = (flags.query,) if flags.turn_2_query is None else (flags.query, flags.turn_2_query)
    answers = () if flags.turn_1_answer is None else (flags.turn_1_answer,)
    sys.stdout.write(render_prompt(Query("prompt", "", turns), parts, answers).text)
    return 0


def import_prompt(flags: argparse.Namespace) -> int:
    """Take a prompt file apart, write what was asked for, and print what is in it as one JSON object."""
    file = read_urial(flags.file)
    shown = file.demonstrations
    rows = ({"id": one.id, "query": one.query, "answer": one.answer} for one in shown)
    texts = {
        flags.rules: file.rules,
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
        "identical_when_written_back": file.written.encode() == flags.file.read_bytes(),
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another file") from error


def audit_judge(flags: argparse.Namespace) -> int:
    """Print how often a good answer beats each planted control, and keep the verdict for later studies."""
    from ablations.judges.pairs import read_pairs

    console = make_console(quiet=False)
    judge = make_judge(flags.judge or DEFAULT_JUDGE, _judge_settings(flags, DEFAULTS["seed"]))
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
    from ablations.judges.audit import plant_controls
    from ablations.judges.calibration import halves
    from ablations.queries import second_answers, wrong_answers

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


def _judge_settings(flags: argparse.Namespace, seed: int) -> JudgeSettings:
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


def winrate(flags: argparse.Namespace) -> int:
    """Print the win rates in a published file of annotations as one JSON object: AlpacaEval's, or Han's."""
    from ablations.judges.published import holds_two_scores

    rates = _two_score_rates(flags) if holds_two_scores(flags.annotations) else _alpaca_eval_rates(flags)
    print(json.dumps(rates, indent=2, allow_nan=False))
    return 0


def _two_score_rates(flags: argparse.Namespace) -> dict[str, Any]:
    from ablations.judges.parsing import FIRST, SECOND, TIE
    from ablations.judges.published import read_two_scores
    from analysis.scores import outcome_rates

    if flags.instruction_difficulty or flags.gamed:
        raise UsageError("--instruction-difficulty and --gamed belong to AlpacaEval's annotations; drop them")
    named = {FIRST: "win_rate", TIE: "draw_rate", SECOND: "loss_rate", None: None}
    verdicts = read_two_scores(flags.annotations)
    return outcome_rates(
        [[named[verdict] for verdict in of_one] for of_one in verdicts], [*filter(None, named.values())]
    )


def _alpaca_eval_rates(flags: argparse.Namespace) -> dict[str, Any]:
    from analysis.annotations import read_annotations, read_difficulty, read_gamed
    from analysis.win_rate import win_rate

    difficulty = read_difficulty(flags.instruction_difficulty) if flags.instruction_difficulty else None
    gamed = read_gamed(flags.gamed) if flags.gamed else None
    rate = asdict(win_rate(read_annotations(flags.annotations), difficulty, gamed))
    shown = ("win_rate", "standard_error", "length_controlled_win_rate", "reason", "n", "n_missing", "lacking")
    counts = ("n_wins", "n_draws", "n_losses")
    return {name: rate[name] for name in (*shown, *counts)}


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
    "import": import_prompt,
    "audit-judge": audit_judge,
    "winrate": winrate,
    "ui": ui,
}
