"""What the person at the terminal sees at the end of a comparison of examples in the prompt with tuning on them.

Knows what to show, not how it was computed.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ablations.cli.cells import shown_bounds, shown_interval, shown_mean, shown_signed
from analysis.demonstrations.ways import ICL, IFT

_WAYS = {way: way.upper() for way in (ICL, IFT)}


def show_tuning(console: Console, findings: Any) -> None:
    """Print an `analysis.icl_vs_ift.TuningFindings`: scores by size, costs, crossover, levels, the headline last."""
    frames = findings.frames
    pools = frames["curve"].get_column("pool").unique().sort().to_list()
    console.print()
    for pool in pools:
        own = {name: frame.filter(pl.col("pool") == pool) for name, frame in frames.items() if "pool" in frame.columns}
        named = f" of {pool}" if len(pools) > 1 else ""
        _show_sizes(console, own, named)
        _show_costs(console, own["costs"], named)
        for row in own["crossover"].iter_rows(named=True):
            console.print(f"Crossover{named}, {row['group']}: {row['verdict']}", markup=False, highlight=False)
    _show_references(console, frames["references"])
    if findings.unlike:
        console.print(findings.unlike, style="yellow", markup=False)
    for text in findings.failed:
        console.print(f"Counts for nothing: {text}", style="yellow", markup=False)
    coverage = frames["curve"].get_column("coverage")
    if len(coverage):
        console.print(f"Coverage (scored completions): {coverage.min():.1%} in the worst arm")
    console.print()
    console.print(findings.headline, style="bold", markup=False)


def _show_sizes(console: Console, own: Mapping[str, pl.DataFrame], named: str) -> None:
    """Print what each way scored at each number of examples, and the paired difference, group by group."""
    several = max(own["curve"].get_column("draws"), default=0) > 1
    over = "queries, and over draws where there are several" if several else "queries"
    title = f"Scores by number of examples{named}, 95 % intervals over {over}"
    table = Table("on", "examples", *_WAYS.values(), "IFT minus ICL", "95 % interval", "queries", "draws", box=None)
    table.title, table.title_justify = escape(title), "left"
    means = {(row["group"], row["examples"], row["way"]): row for row in own["curve"].iter_rows(named=True)}
    pairs = {(row["group"], row["examples"]): row for row in own["differences"].iter_rows(named=True)}
    for group in own["curve"].get_column("group").unique(maintain_order=True):
        for size in sorted({size for name, size, _ in means if name == group}):
            cells = [_cell(means.get((group, size, way))) for way in _WAYS]
            pair, some = pairs.get((group, size)), [means.get((group, size, way)) for way in _WAYS]
            shown = ("-", "-") if pair is None else (shown_signed(pair["difference"]), shown_interval(pair))
            counted = pair or next(one for one in some if one is not None)
            table.add_row(group, str(size), *cells, *shown, str(counted["n"]), str(counted["draws"]))
    console.print(table)


def _cell(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{shown_mean(row)} {shown_bounds(row)}"


def _show_costs(console: Console, costs: pl.DataFrame, named: str) -> None:
    """Print what training took, what a request costs either way, and when training has paid for itself."""
    columns = {"training_tokens": "trained on", "icl_prompt_tokens": "ICL prompt", "ift_prompt_tokens": "IFT prompt"}
    columns |= {"extra_prompt_tokens": "saved a request", "break_even_requests": "break-even, requests"}
    title = f"Tokens{named}, before prefix caching"
    table = Table("examples", *columns.values(), title=escape(title), title_justify="left", box=None)
    for row in costs.iter_rows(named=True):
        cells = ("-" if row[name] is None else f"{row[name]:,.0f}" for name in columns)
        table.add_row(str(row["examples"]), *cells)
    console.print(table)


def _show_references(console: Console, references: pl.DataFrame) -> None:
    """Print what the ways without a pool's examples scored."""
    groups = references.get_column("group").unique(maintain_order=True).to_list()
    table = Table("way", "model", *groups, "queries", title="Without a pool's examples", title_justify="left", box=None)
    for (way, model), own in references.group_by("way", "model", maintain_order=True):
        rows = {row["group"]: row for row in own.iter_rows(named=True)}
        cells = [_cell(rows.get(group)) for group in groups]
        table.add_row(str(way), escape(str(model)), *cells, str(max(row["n"] for row in rows.values())))
    if groups:
        console.print(table)
