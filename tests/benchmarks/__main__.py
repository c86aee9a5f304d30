"""Runs the benchmarks: `python -m tests.benchmarks [--model ALIAS] [--json FILE]`."""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.throughput import measure


def main() -> None:
    """Measure, print a table and, where asked for, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(flags.model, flags.trials, flags.queries, Path(folder)))
    table = Table("figure", "value", title=f"{flags.model}, {flags.trials} trials of {flags.queries} queries")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if flags.json:
        flags.json.write_text(json.dumps({"model": flags.model, **figures}, indent=2))


if __name__ == "__main__":
    main()
