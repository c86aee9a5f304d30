"""Runs the benchmarks: `python -m tests.benchmarks [NAME …] [--model ALIAS] [--json FILE]`.

`error-rates` also takes `--judgments FILE` (FastChat's format) and `--results FOLDER …` (as a study exports them).
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    analysis,
    error_rates,
    judging,
    orchestration,
    prefix_cache,
    racing,
    sampler,
    throughput,
    tuning,
)


def main() -> None:
    """Measure, print a table each and, where asked for, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="throughput, sampler, prefix-cache, racing, judging, analysis, orchestration, tuning, error-rates (all)",
    )
    parser.add_argument("--model", default="gemma-3-270m", help="of throughput, sampler, prefix-cache and tuning")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--judgments", type=Path, help="of error-rates: a file of ratings in FastChat's format")
    parser.add_argument(
        "--results", type=Path, nargs="+", default=[error_rates.RESULTS], help="of error-rates: folders of results"
    )
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args()
    size = f"{flags.trials} trials of {flags.queries} queries"
    benchmarks = {
        "judging": (size, lambda at: judging.measure(flags.trials, flags.queries, at)),
        "throughput": (
            f"{flags.model}, {size}",
            lambda at: throughput.measure(flags.model, flags.trials, flags.queries, at),
        ),
        "sampler": (
            f"{flags.model}, {sampler.IN_FLIGHT} requests in flight",
            lambda at: sampler.measure(flags.model, flags.trials, flags.queries, at),
        ),
        "prefix-cache": (
            f"{flags.model}, {flags.queries} queries",
            lambda at: prefix_cache.measure(flags.model, flags.queries, at),
        ),
        "orchestration": ("an engine and a judge that answer at once", lambda at: orchestration.measure(at)),
        "tuning": (flags.model, lambda at: tuning.measure(flags.model, at)),
        "analysis": ("a simulated study", lambda at: analysis.measure(at)),
        "error-rates": (
            "now, and before: plain t or its bootstrap, Holm",
            lambda at: error_rates.measure(flags.results, flags.judgments),
        ),
        "racing": ("a round of a greedy search, replayed", lambda at: racing.measure()),
    }
    if unknown := set(flags.names) - set(benchmarks):
        parser.error(f"unknown benchmark {min(unknown)!r}; known: {', '.join(benchmarks)}")
    measured = {}
    for name in flags.names or benchmarks:
        title, measure = benchmarks[name]
        with tempfile.TemporaryDirectory() as folder:
            measured[name] = asyncio.run(measure(Path(folder)))
        Console().print(_table(f"{name}: {title}", measured[name]))
    if flags.json:
        flags.json.write_text(json.dumps({"model": flags.model, "benchmarks": measured}, indent=2))


def _table(title: str, figures: Mapping[str, object]) -> Table:
    """Return a table of figures: one value each, or several of the same names."""
    rows = {figure: value if isinstance(value, dict) else {"value": value} for figure, value in figures.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table("figure", *columns, title=title)
    for figure, row in rows.items():
        values = [row.get(column, "") for column in columns]
        table.add_row(figure, *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values))
    return table


if __name__ == "__main__":
    main()
