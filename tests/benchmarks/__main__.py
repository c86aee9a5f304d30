"""Runs the benchmarks: `python -m tests.benchmarks [NAME …] [--model ALIAS] [--json FILE]`."""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    analysis,
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
        help="throughput, sampler, prefix-cache, racing, judging, analysis, orchestration, tuning (all)",
    )
    parser.add_argument("--model", default="gemma-3-270m", help="of throughput, sampler, prefix-cache and tuning")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--queries", type=int, default=8)
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
        "racing": ("a round of a greedy search, replayed", lambda at: racing.measure()),
    }
    if unknown := set(flags.names) - set(benchmarks):
        parser.error(f"unknown benchmark {min(unknown)!r}; known: {', '.join(benchmarks)}")
    measured = {}
    for name in flags.names or benchmarks:
        title, measure = benchmarks[name]
        with tempfile.TemporaryDirectory() as folder:
            measured[name] = asyncio.run(measure(Path(folder)))
        table = Table("figure", "value", title=f"{name}: {title}")
        for figure, value in measured[name].items():
            table.add_row(figure, f"{value:.3f}" if isinstance(value, float) else str(value))
        Console().print(table)
    if flags.json:
        flags.json.write_text(json.dumps({"model": flags.model, "benchmarks": measured}, indent=2))


if __name__ == "__main__":
    main()
