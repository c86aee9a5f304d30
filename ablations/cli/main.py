"""The command line: flags -> commands, and errors -> exit codes.

Knows how things are called, not how they are done; that is in `commands`.

Exit codes: 0 finished; 2 the user can fix it; 3 a part failed, finished work is kept; 130 interrupted.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from ablations.core.errors import AblationError, UsageError
from ablations.studies.conditions.design import DESIGNS
from ablations.studies.config.file import MODES

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

exit codes: 0 finished; 2 you can fix it; 3 a part failed, the same command goes on; 130 interrupted, likewise
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one message, like all others."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(prog="python -m ablations", description="Ablations of decoding parameters and prompt components.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _add_run(commands)
    _add_prompt(commands)
    _add_audit(commands)
    winrate = commands.add_parser("winrate", help="win rates from AlpacaEval's or Han's annotations file, as JSON")
    winrate.add_argument("annotations", type=Path, metavar="ANNOTATIONS.json")
    winrate.add_argument(
        "--instruction-difficulty", type=Path, metavar="CSV", help="AlpacaEval's instruction difficulties"
    )
    winrate.add_argument("--gamed", type=Path, metavar="CSV", help="AlpacaEval's annotations of gamed baselines")
    _add_import(commands)
    report = commands.add_parser("report", help="one page on a study, as HTML that works offline and as Markdown")
    report.add_argument("--study", required=True, metavar="NAME", help="the study's name in the records")
    report.add_argument("--out", type=Path, metavar="DIR", help="where it goes (default: the study's results folder)")
    _add_places(report)
    again = commands.add_parser(
        "reproduce",
        help="make a trial's requests again and say what differs",
        description="Make the requests of a finished trial again as they were sent, and compare answers, scores, "
        "ingredients and environment. Nothing is written. The exit code is 1 where an answer or a score differs. A "
        "judge that costs money is not asked again.",
    )
    again.add_argument("run_id", metavar="RUN_ID", help="of a trial, from its page in MLflow")
    again.add_argument("--limit", type=int, metavar="N", help="its first N queries alone")
    again.add_argument("--model", metavar="ALIAS|DIR|HUB_ID", help="where the model lies now (default: as then)")
    again.add_argument("--base-url", metavar="URL", help="the server's address now, for a trial of a server")
    _add_places(again)
    ui = commands.add_parser("ui", help="browse the results in MLflow, on this machine only")
    ui.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: 5000)")
    _add_places(ui)
    anew = commands.add_parser(
        "rebuild",
        help="make MLflow's pages and Optuna's database anew, also of a folder of results that was moved",
        description="Make MLflow's and Optuna's views anew from store.db and results.parquet. What stood there before "
        "is moved aside, never deleted; a failure changes nothing.",
    )
    anew.add_argument("--name", help="one study alone (default: all of the folder)")
    _add_places(anew)
    return parser


def _add_import(commands: Any) -> None:
    taken = commands.add_parser(
        "import",
        help="take a prompt file apart into rules and demonstrations",
        description="Take a prompt file apart, check that it comes back byte for byte, and print what is in it.",
    )
    taken.add_argument("format", choices=("urial",), help="the file's manner")
    taken.add_argument("file", type=Path, metavar="FILE")
    taken.add_argument("--rules", type=Path, metavar="OUT", help="write the rules to this file")
    taken.add_argument("--pool", type=Path, metavar="OUT", help="write the demonstrations to this JSONL file")
    taken.add_argument("--write-back", type=Path, metavar="OUT", help="write the whole prompt, put together again")


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        prog="python ablations/run.py",
        help="run a study",
        description="Which decoding parameters make this model follow instructions, by how much, and how sure are we?",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = run.add_argument_group("what to study")
    what.add_argument("--study", metavar="NAME", help="a file of search_spaces/, without .toml")
    what.add_argument("--search-space", type=Path, metavar="PATH", help="a study file of your own")
    what.add_argument("--name", help="the study's name in all records (default: the file's name)")
    what.add_argument("--list", action="store_true", help="list the studies and stop")
    _add_model(run)
    judging = run.add_argument_group("on what, judged by what")
    judging.add_argument(
        "--queries", metavar="NAME|PATH", help="instructions (built in), MT-Bench, AlpacaEval JSON, or JSONL"
    )
    judging.add_argument("--reference-answers", type=Path, metavar="FILE", help="FastChat's reference_answer JSONL")
    judging.add_argument("--limit", type=int, metavar="N", help="a seeded subset, spread over the categories")
    judging.add_argument("--prompt-file", type=Path, metavar="FILE", help="its text replaces rules and demonstrations")
    shown = run.add_argument_group("which demonstrations")
    shown.add_argument(
        "--pool", metavar="NAME|PATH|HUB_ID", help="demonstrations, examples (built in), a prompt file, JSON rows, hub"
    )
    shown.add_argument("--encoder", metavar="NAME", help="a sentence-transformers model (default: all-minilm-l6-v2)")
    shown.add_argument("--greedy", metavar="FILE|STUDY", help="the greedy search whose prompt the source greedy uses")
    shown.add_argument(
        "--allow-overlap", action="store_true", help="keep demonstrations that equal an evaluation query; recorded"
    )
    _add_judge(run)
    walk = run.add_argument_group("how to walk through the space")
    walk.add_argument("--mode", choices=MODES[:2], help="a fixed design, or an optimiser")
    walk.add_argument("--sampler", metavar="NAME", help="qmc, grid, brute, random; in a search also tpe, gp")
    walk.add_argument("--trials", type=int, metavar="N", help="trials in all, the baseline included")
    walk.add_argument("--design", metavar="NAME", help="of an ablation: " + ", ".join(DESIGNS))
    walk.add_argument("--levels", type=int, metavar="N", help="values per parameter, one factor at a time")
    walk.add_argument("--seed", type=int, metavar="N")
    walk.add_argument("--concurrency", type=int, metavar="N", help="trials in flight on the one engine")
    walk.add_argument("--min-coverage", type=float, metavar="SHARE", help="scored completions a trial needs (0.9)")
    walk.add_argument("--rounds", type=int, metavar="N", help="of a greedy search, at most")
    walk.add_argument("--candidates", type=int, metavar="N", help="of a greedy search: a seeded sample of the pool")
    walk.add_argument("--no-racing", action="store_true", help="of a search: evaluate hopeless trials to the end")
    walk.add_argument("--fresh", action="store_true", help="start the study anew; stored completions are reused")
    walk.add_argument("--dry-run", action="store_true", help="print the plan, run and write nothing")
    walk.add_argument("--quiet", action="store_true", help="print errors only")
    tuning = run.add_argument_group("learning in context against fine-tuning (the study icl-vs-ift)")
    tuning.add_argument("--tuning", metavar="HOW", help="lora (adapters), or full (all weights)")
    tuning.add_argument("--sizes", metavar="N,N,…", help="numbers of examples, for prompts and for training")
    tuning.add_argument("--draws", type=int, metavar="N", help="seeded draws of each size")
    tuning.add_argument("--pools", metavar="A,B,…", help="pools of examples, each as --pool takes one")
    tuning.add_argument("--aligned", metavar="MODEL", help="the aligned model to compare with, or none")
    tuning.add_argument(
        "--decoding-from",
        action="append",
        default=[],
        metavar="[icl=|ift=]STUDY",
        help="decode as the best condition of an earlier study: its name, or runs:/ID; for both ways, or for one",
    )
    tuning.add_argument(
        "--tune-learning-rate", action="store_true", help="look for the learning rate on held-out examples"
    )
    after = run.add_argument_group("what is evaluated again when the study has ended")
    after.add_argument(
        "--confirm", type=int, metavar="K", help="the best K conditions, on fresh seeds and held-back queries"
    )
    after.add_argument(
        "--held-back", type=int, metavar="N", help="queries that the study does not see (default: as many as it sees)"
    )
    _add_places(run)


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("what generates")
    model.add_argument("--model", metavar="NAME|HUB_ID|DIR", help="a packaged model, a hub id or a folder")
    model.add_argument("--one-of-models", action="store_true", help=argparse.SUPPRESS)  # said to each model's process
    model.add_argument("--models", metavar="A,B,…", help="of the study alignment: one after the other")
    model.add_argument("--backend", metavar="NAME", help="vllm (in this process) or openai (a completions server)")
    model.add_argument(
        "--base-url",
        action="append",
        metavar="URL",
        help="the server's address; implies --backend openai; several times for servers that share the requests",
    )
    model.add_argument(
        "--engine", action="append", default=[], metavar="KEY=VALUE", help="an engine argument of vLLM; may be repeated"
    )


def _add_judge(parser: argparse.ArgumentParser) -> None:
    judge = parser.add_argument_group("what judges")
    judge.add_argument(
        "--judge", metavar="NAME", help="reference (default), rubric, expected-rating, pairwise, alpaca-eval, aspects"
    )
    judge.add_argument("--judge-model", metavar="NAME", help="an LLM judge's model, as its server calls it")
    judge.add_argument(
        "--judge-base-url",
        metavar="URL",
        help="its server (default: OpenAI's); the key is read from JUDGE_API_KEY or OPENAI_API_KEY",
    )
    judge.add_argument(
        "--judge-prompts", type=Path, metavar="FILE", help="judge prompts in FastChat's form, followed to the letter"
    )
    judge.add_argument(
        "--compare-with", type=Path, metavar="FILE", help="answers that pairwise and alpaca-eval compare with"
    )
    judge.add_argument("--two-scores", action="store_true", help="pairwise asks for two scores, as Han (2023) does")
    judge.add_argument("--judge-max-tokens", type=int, metavar="N", help="the longest reply (default: 2048)")
    judge.add_argument("--max-cost", type=float, metavar="USD", help="stop before judging one model's study costs more")
    judge.add_argument("--judge-prices", type=Path, metavar="FILE", help="TOML: dollars per million tokens by model")
    judge.add_argument("--judge-in-flight", type=int, metavar="N", help="judge requests at once (default: 32)")
    judge.add_argument("--judge-rpm", type=float, metavar="N", help="judge requests a minute at most")
    judge.add_argument("--judge-tpm", type=float, metavar="N", help="judge tokens a minute at most")
    judge.add_argument("--judge-timeout", type=float, metavar="S", help="seconds for one attempt (default: 120)")


def _add_audit(commands: Any) -> None:
    audit = commands.add_parser("audit-judge", help="how often a judge prefers good answers to planted controls")
    _add_judge(audit)
    audit.add_argument("--queries", metavar="NAME|PATH", help="queries whose reference answers are the good ones")
    audit.add_argument("--reference-answers", type=Path, metavar="FILE", help="FastChat's reference_answer JSONL")
    audit.add_argument("--limit", type=int, metavar="N", help="a seeded subset of the queries")
    audit.add_argument(
        "--pairs", type=Path, metavar="FILE", help="two answers and a human's or a published preference, for agreement"
    )
    _add_places(audit)


def _add_places(parser: argparse.ArgumentParser) -> None:
    places = parser.add_argument_group("where results are kept")
    places.add_argument("--mlruns", metavar="DIR", help="folder of all results (default: mlruns in the project)")
    places.add_argument("--storage", metavar="URL", help="Optuna's database")
    places.add_argument("--store", metavar="URL", help="database of completions and judgments")
    places.add_argument("--tracking-uri", metavar="URL", help="MLflow's address")


def _add_prompt(commands: Any) -> None:
    prompt = commands.add_parser("prompt", help="print the exact prompt of a query, and nothing else")
    prompt.add_argument("--study", default="decoding", metavar="NAME")
    prompt.add_argument("--search-space", type=Path, metavar="PATH")
    prompt.add_argument("--query", required=True, metavar="TEXT")
    prompt.add_argument("--prompt-file", type=Path, metavar="FILE")
    prompt.add_argument("--pool", metavar="NAME|PATH|HUB_ID", help="demonstrations in place of the study's own")
    prompt.add_argument("--turn-1-answer", metavar="TEXT", help="the model's answer to the first turn")
    prompt.add_argument("--turn-2-query", metavar="TEXT", help="asks for the second turn's prompt")


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; every foreseen error is one message on standard error."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    try:
        parsed = build_parser().parse_args(arguments)
        parsed.arguments = arguments
        from ablations.cli import commands

        return commands.COMMANDS[parsed.command](parsed)
    except AblationError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; all finished work is kept, the same command goes on", file=sys.stderr)
        return 130


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
