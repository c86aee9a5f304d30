"""Arguments of the command line: flags -> one typed value for each command.

Knows how things are called, not how they are done. The flags of a study come from the keys of its tables.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ablations.cli.arguments import (
    Arguments,
    AuditArguments,
    ImportArguments,
    PlanArguments,
    PromptArguments,
    RebuildArguments,
    ReportArguments,
    ReproduceArguments,
    RunArguments,
    SchemaArguments,
    UiArguments,
    WinRateArguments,
)
from ablations.core.condition import PARAMETERS
from ablations.core.errors import UsageError, closest
from ablations.storage.workspace import Places
from ablations.studies.config.config import Override
from ablations.studies.config.file import read_setting
from ablations.studies.config.keys import DATA, JUDGE, MODEL, SHOTS, WALK, Field, read_flags, table_fields
from ablations.studies.config.space import RENAMED
from ablations.studies.config.tables import JudgeTable
from ablations.studies.registry import configs, flagged

_EXAMPLES = """\
examples:
  python ablations/run.py --study decoding                      the embedded default
  python ablations/run.py --study decoding --dry-run            what it would do
  python ablations/run.py --study decoding --name llama \\
      --model meta-llama/Llama-3.1-8B --queries question.jsonl  your model, your queries
  python ablations/run.py --study decoding --model ./my-70b \\
      --engine tensor_parallel_size=4 --engine quantization=fp8 any engine argument of vLLM
  python ablations/run.py --study decoding --backend openai --base-url http://localhost:8000/v1
  python ablations/run.py --study decoding --mode search --sampler tpe --trials 60 --confirm 3

exit codes: 0 finished; 2 you can fix it; 3 a part failed, the same command resumes; 130 interrupted, likewise
"""
A = TypeVar("A", bound=Arguments)
_Argparse = Any
"""Objects to which `argparse` adds parsers and arguments; it does not name their types."""


def parse(arguments: Sequence[str]) -> Arguments:
    """Return what the command line asks for; raise `UsageError` for what it cannot."""
    found = _build_parser().parse_args(arguments)
    if found.asked is None:
        raise UsageError(f"say what to do: python -m ablations COMMAND, one of {', '.join(found.commands)}")
    if found.asked is RunArguments:
        return _take(RunArguments, found, overrides=tuple(_overrides(found)))
    if found.asked is AuditArguments:
        given = {name: _given(found, "judge", one) for name, one in table_fields(JudgeTable).items()}
        settings = read_flags(JudgeTable, {name: value for name, value in given.items() if value is not None})
        return _take(AuditArguments, found, settings=settings, judge=getattr(found, "study.judge"))
    made: Arguments = _take(found.asked, found)
    return made


def _take(asked: type[A], found: argparse.Namespace, **more: object) -> A:
    if "places" in (names := {field.name for field in fields(asked)}):
        more["places"] = Places.choose(found.mlruns, found.store, found.storage, found.tracking_uri)
    given = {name: getattr(found, name) for name in names - more.keys()}
    return asked(**given, **more)  # type: ignore[arg-type]


def _overrides(found: argparse.Namespace) -> Iterator[Override]:
    """Yield what flags put over a study file."""
    for name, flag in (("name", "--name"), ("server", "--base-url")):
        if (value := getattr(found, name)) is not None:
            yield Override(name, value, flag)
    for table, field in flagged():
        if (value := _given(found, table, field)) is not None:
            yield Override(f"{table}.{field.name}", value, field.key.flag)
    for pair in found.engine:
        key, value = read_setting(pair)
        yield Override(f"engine.{key}", value, "--engine")


def _given(found: argparse.Namespace, table: str, field: Field) -> object:
    """Return a flag's value as its key holds it, or None where it is not given."""
    value = getattr(found, f"{table}.{field.name}", None)
    if not field.many or field.key.repeated or value is None:
        return value
    names = [name.strip() for name in str(value).split(",")]
    flag, example = field.key.flag, "3,8,24" if field.type is int else "one,another"
    if not all(names):
        raise UsageError(f"{flag} {value!r} has an empty name; write for example {flag} {example}")
    try:
        return tuple(map(field.type, names))
    except ValueError as error:
        raise UsageError(f"{flag} {value!r} is no list of whole numbers; write for example {flag} {example}") from error


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one message, like all others, and of the command that was asked for."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is not known here: argparse would leave it to the parser of all commands."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0].removeprefix("--")
            known = re.findall(r"--([a-z0-9-]+)", self.format_usage())
            if (now := RENAMED.get(name, "").replace("_", "-")) in known:
                self.error(f"--{name} is called --{now} now")
            if (parameter := name.replace("-", "_")) in PARAMETERS:
                places = f"[study.baseline] or [parameters.{parameter}]"
                self.error(f"--{name} is no flag: a study file says {parameter}, in {places}")
            near = closest(name, known) if unknown[0].startswith("--") else None
            self.error(f"{unknown[0]!r} is no argument of this command" + (f"; did you mean --{near}?" if near else ""))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(prog="python -m ablations", description="Ablations of decoding parameters and prompt components.")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    for add in (_add_run, _add_plan, _add_prompt, _add_audit, _add_winrate, _add_import, _add_report, _add_reproduce):
        add(commands)
    for add in (_add_ui, _add_rebuild, _add_schema):
        add(commands)
    parser.set_defaults(asked=None, commands=tuple(commands.choices))
    return parser


def _add_run(commands: _Argparse) -> None:
    run = commands.add_parser(
        "run",
        prog="python ablations/run.py",
        help="run a study",
        description="Which decoding parameters make this model follow instructions, by how much, and how sure are we?",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.set_defaults(asked=RunArguments)
    what = run.add_argument_group("what to study")
    what.add_argument("--study", metavar="NAME", help="a file of search_spaces/, without .toml")
    what.add_argument("--search-space", type=Path, metavar="PATH", help="a study file of your own")
    what.add_argument("--name", help="the study's name in all records (default: the file's name)")
    what.add_argument("--list", action="store_true", help="list the studies and stop")
    groups = {title: run.add_argument_group(title) for title in (MODEL, DATA, SHOTS, JUDGE, WALK)}
    for table, field in flagged():
        title = field.key.group
        group = groups.get(title) or groups.setdefault(title, run.add_argument_group(title))
        _add_flag(group, table, field)
    model, walk = groups[MODEL], groups[WALK]
    model.add_argument(
        "--base-url",
        dest="server",
        action="append",
        metavar="URL",
        help="the server's address; implies --backend openai; several times for servers that share the requests",
    )
    model.add_argument(
        "--engine", action="append", default=[], metavar="KEY=VALUE", help="an engine argument of vLLM; may be repeated"
    )
    walk.add_argument("--fresh", action="store_true", help="start the study again; stored completions are reused")
    walk.add_argument("--dry-run", action="store_true", help="print the plan, run and write nothing")
    walk.add_argument("--quiet", action="store_true", help="print errors only")
    _add_places(run)


def _add_flag(parser: _Argparse, table: str, field: Field) -> None:
    """Add the flag of a key."""
    key, dest = field.key, f"{table}.{field.name}"
    default = key.default or ("" if field.type is bool or field.default in (None, "", ()) else field.default)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else f"{default}"
    said = f"{key.flag_help or key.help} (default: {shown})" if shown else key.flag_help or key.help
    said = said.replace("`", "").replace("%", "%%") + (f": {', '.join(configs())}" if key.flag == "--mode" else "")
    if field.type is bool:
        value = not key.flag.startswith("--no-")
        parser.add_argument(key.flag, dest=dest, action="store_const", const=value, help=said)
    elif key.repeated:
        parser.add_argument(key.flag, dest=dest, action="append", metavar=key.metavar, help=said)
    else:
        kind = str if field.many else field.type
        parser.add_argument(key.flag, dest=dest, type=kind, metavar=key.metavar, help=said)


def _add_audit(commands: _Argparse) -> None:
    audit = commands.add_parser("audit-judge", help="how often a judge prefers good answers to planted controls")
    audit.set_defaults(asked=AuditArguments)
    group = audit.add_argument_group(JUDGE)
    for table, field in flagged():
        if field.key.group == JUDGE and field.name != "also_judge":  # each judge has an audit of its own
            _add_flag(group, table, field)
    audit.add_argument("--queries", metavar="NAME|PATH", help="queries whose reference answers are the good ones")
    audit.add_argument("--reference-answers", type=Path, metavar="FILE", help="FastChat's reference_answer JSONL")
    audit.add_argument("--limit", type=int, metavar="N", help="a seeded subset of the queries")
    audit.add_argument(
        "--pairs", type=Path, metavar="FILE", help="two answers and a human's or a published preference, for agreement"
    )
    _add_places(audit)


def _add_winrate(commands: _Argparse) -> None:
    winrate = commands.add_parser("winrate", help="win rates from AlpacaEval's or Han's annotations file, as JSON")
    winrate.set_defaults(asked=WinRateArguments)
    winrate.add_argument("annotations", type=Path, metavar="ANNOTATIONS.json")
    winrate.add_argument(
        "--instruction-difficulty", type=Path, metavar="CSV", help="AlpacaEval's instruction difficulties"
    )
    winrate.add_argument("--gamed", type=Path, metavar="CSV", help="AlpacaEval's annotations of gamed baselines")


def _add_import(commands: _Argparse) -> None:
    taken = commands.add_parser(
        "import",
        help="take a prompt file apart into system prompt and demonstrations",
        description="Take a prompt file apart, check that it comes back byte for byte, and print what is in it.",
    )
    taken.set_defaults(asked=ImportArguments)
    taken.add_argument("format", choices=("urial",), help="the file's manner")
    taken.add_argument("file", type=Path, metavar="FILE")
    taken.add_argument("--system-prompt", type=Path, metavar="OUT", help="write the system prompt to this file")
    taken.add_argument("--pool", type=Path, metavar="OUT", help="write the demonstrations to this JSONL file")
    taken.add_argument("--write-back", type=Path, metavar="OUT", help="write the whole prompt, put together again")


def _add_report(commands: _Argparse) -> None:
    report = commands.add_parser("report", help="one page on a study, as HTML that works offline and as Markdown")
    report.set_defaults(asked=ReportArguments)
    report.add_argument("--study", required=True, metavar="NAME", help="the study's name in the records")
    report.add_argument("--out", type=Path, metavar="DIR", help="where it goes (default: the study's results folder)")
    _add_places(report)


def _add_plan(commands: _Argparse) -> None:
    plan = commands.add_parser(
        "plan",
        help="how many queries an effect takes, from the spread of a finished study",
        description="Say how many queries, completions, minutes and dollars a study takes to see an effect of a given "
        "size, from the spread, the speed and the cost of one that was run, on few queries if you like.",
    )
    plan.set_defaults(asked=PlanArguments)
    plan.add_argument("--study", default="decoding", metavar="NAME", help="the finished study (default: decoding)")
    plan.add_argument(
        "--effect", type=float, default=10.0, metavar="PERCENT", help="of the judge's scale (default: 10)"
    )
    plan.add_argument("--power", type=float, default=0.8, metavar="CHANCE", help="of seeing it (default: 0.8)")
    _add_places(plan)


def _add_reproduce(commands: _Argparse) -> None:
    again = commands.add_parser(
        "reproduce",
        help="make a trial's requests again and say what differs",
        description="Make the requests of a finished trial again as they were sent, and compare answers, scores, "
        "what was sent and environment. Nothing is written. The exit code is 1 where an answer or a score differs. A "
        "judge that costs money is not asked again.",
    )
    again.set_defaults(asked=ReproduceArguments)
    again.add_argument("run_id", metavar="RUN_ID", help="of a trial, from its page in MLflow")
    again.add_argument("--limit", type=int, metavar="N", help="its first N queries alone")
    again.add_argument("--model", metavar="ALIAS|DIR|HUB_ID", help="where the model lies now (default: as then)")
    again.add_argument("--base-url", metavar="URL", help="the server's address now, for a trial of a server")
    _add_places(again)


def _add_ui(commands: _Argparse) -> None:
    ui = commands.add_parser("ui", help="browse the results in MLflow, on this machine only")
    ui.set_defaults(asked=UiArguments)
    ui.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: 5000)")
    _add_places(ui)


def _add_rebuild(commands: _Argparse) -> None:
    again = commands.add_parser(
        "rebuild",
        help="rebuild MLflow's pages and Optuna's database, also of a folder of results that was moved",
        description="Rebuild MLflow's and Optuna's views from store.db and results.parquet. What stood there before "
        "is renamed, never deleted; a failure changes nothing.",
    )
    again.set_defaults(asked=RebuildArguments)
    again.add_argument("--name", help="one study alone (default: all of the folder)")
    _add_places(again)


def _add_schema(commands: _Argparse) -> None:
    schema = commands.add_parser("schema", help="print the JSON Schema of a study file")
    schema.set_defaults(asked=SchemaArguments)
    schema.add_argument("--study", metavar="NAME", help="of the kind of this study alone (default: of every kind)")
    schema.add_argument("--search-space", type=Path, metavar="PATH", help="of the kind of a study file of your own")
    schema.add_argument("--readme", type=Path, metavar="FILE", help="draw a page's tables again instead")


def _add_places(parser: argparse.ArgumentParser) -> None:
    places = parser.add_argument_group("where results are stored")
    places.add_argument("--mlruns", metavar="DIR", help="folder of all results (default: mlruns in the project)")
    places.add_argument("--storage", metavar="URL", help="Optuna's database")
    places.add_argument("--store", metavar="URL", help="database of completions and judgments")
    places.add_argument("--tracking-uri", metavar="URL", help="MLflow's address")


def _add_prompt(commands: _Argparse) -> None:
    prompt = commands.add_parser("prompt", help="print the exact prompt of a query, and nothing else")
    prompt.set_defaults(asked=PromptArguments)
    prompt.add_argument("--study", default="decoding", metavar="NAME")
    prompt.add_argument("--search-space", type=Path, metavar="PATH")
    prompt.add_argument("--query", required=True, metavar="TEXT")
    prompt.add_argument("--prompt-file", type=Path, metavar="FILE")
    prompt.add_argument("--pool", metavar="NAME|PATH|HUB_ID", help="demonstrations in place of the study's own")
    prompt.add_argument("--turn-1-answer", metavar="TEXT", help="the model's answer to the first turn")
    prompt.add_argument("--turn-2-query", metavar="TEXT", help="asks for the second turn's prompt")
