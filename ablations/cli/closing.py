"""What the person at the terminal sees at the end: effects, scores, importances, what judging took, an audit.

Knows what to show, not how it was computed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ablations.cli.cells import IDENTICAL, shown_bounds, shown_interval, shown_mean, shown_signed
from ablations.cli.progress import format_money
from ablations.core.records import Usage

MOST_EFFECTS = 16
ALPHA = 0.05


def show_findings(console: Console, findings: Any) -> None:
    """Print the closing page of `analysis.findings.Findings`: headline, one table, what to mind."""
    frames = findings.frames
    console.print()
    console.print(findings.headline, style="bold", markup=False)
    console.print()
    for row in frames["trials"].filter(pl.col("role") == "baseline").iter_rows(named=True):
        console.print(
            f"Baseline ({escape(row['label'])}): mean score {shown_mean(row)} over {row['n_queries']} queries, "
            f"coverage {row['coverage']:.0%}"
        )
    if len(frames["curve"]):
        _show_curve(console, frames["curve"])
    else:
        _show_effects(console, frames["effects"])
    _show_importances(console, findings)
    _show_scores(console, findings)
    _show_comparisons(console, findings)
    _show_length_control(console, findings)
    for row in frames["noise_floor"].iter_rows(named=True):
        console.print(f"A/A noise floor, {escape(row['label'])}: {_shown(row)}")
    effects = sorted(set(frames["planning"].get_column("effect")))
    for planned in effects[-2:-1]:  # half a point of a judge that rates from 1 to 10
        row = frames["planning"].row(by_predicate=(pl.col("effect") == planned) & (pl.col("seeds") == 1), named=True)
        needed = "more than 100,000" if row["queries"] is None else f"{row['queries']:,}"
        console.print(
            f"To see a difference of {row['effect']:g} points four times in five, this spread needs {needed} queries"
        )
    _show_gaps(console, frames)


def _show_effects(console: Console, effects: pl.DataFrame) -> None:
    """Print the largest effects of one parameter at a time."""
    if effects.is_empty():
        return
    title = "Effect of one parameter at a time"
    if len(effects) > MOST_EFFECTS:
        title += f", the {MOST_EFFECTS} largest of {len(effects)} (all in the report)"
    table = Table("parameter", "from", "to", "around", "change", "95 % interval", "p (Holm)", "win/draw/lose")
    table.title, table.title_justify, table.box = title, "left", None
    largest = effects.sort(pl.col("difference").abs(), descending=True).head(MOST_EFFECTS)
    for row in largest.sort("parameter", "value").iter_rows(named=True):
        change = shown_signed(row["difference"])
        clear = row["p_holm"] is not None and row["p_holm"] < ALPHA
        table.add_row(
            row["parameter"],
            escape(row["against"]),
            escape(row["value"]),
            escape(row["around"]) or "the baseline",
            f"[bold]{change}[/bold]" if clear else change,
            shown_interval(row),
            "-" if row["p_holm"] is None else f"{row['p_holm']:.3f}{'*' * clear}",
            f"{row['wins']}/{row['draws']}/{row['losses']}",
        )
    console.print(table)
    console.print(f"p is corrected for the {len(effects)} effects together; *: below {ALPHA:g}")


def _show_gaps(console: Console, frames: Mapping[str, pl.DataFrame]) -> None:
    """Print what did not count, and why."""
    for row in frames["trials"].filter(pl.col("state") == "failed").iter_rows(named=True):
        console.print(f"Trial {row['trial']} counts for nothing: {row['failed_because']}", markup=False)
    coverage = frames["trials"].get_column("coverage").to_numpy()
    console.print(
        f"Coverage (scored completions): {coverage.mean():.1%} overall, {coverage.min():.1%} in the worst trial"
    )
    for row in frames["unscored"].iter_rows(named=True):
        console.print(f"Without a score: {row['n']} x {row['reason']}, in {row['trials']} trials", markup=False)


def _show_curve(console: Console, curve: pl.DataFrame) -> None:
    """Print the scores by number and source of demonstrations."""
    table = Table("source", "shots", "draws", "mean", "against the baseline", "95 % interval", "queries", box=None)
    table.title, table.title_justify = "Demonstrations", "left"
    for row in curve.iter_rows(named=True):
        draws = str(row["draws"])
        if row["draws"] > 1:
            draws += f" ({row['lowest_draw']:.2f} to {row['highest_draw']:.2f})"
        cells = (row["source"], str(row["shots"]), draws, shown_mean(row), shown_signed(row["difference"]))
        table.add_row(*cells, shown_interval(row), str(row["n"]))
    console.print(table)


def show_alignment(console: Console, table: pl.DataFrame, gaps: pl.DataFrame, missing: Sequence[str]) -> str:
    """Print the frames of `analysis.alignment` and what is missing; return the headline, which is printed too."""
    console.print()
    groups = list(dict.fromkeys(table.get_column("group")))
    shown = Table("model", "asked", *groups, "scored", title="Models side by side", title_justify="left", box=None)
    for (model, way), own in table.group_by("model", "way", maintain_order=True):
        rows = {row["group"]: row for row in own.iter_rows(named=True)}
        cells = [f"{shown_mean(rows[group])} {shown_bounds(rows[group])}" if group in rows else "-" for group in groups]
        last = rows[groups[-1]]
        shown.add_row(str(model), str(way), *cells, f"{last['n_scored']}/{last['n_judged']}")
    console.print(shown)
    shown = Table("gap", "", *groups, "queries", title="Gaps, paired over queries", title_justify="left", box=None)
    for (better, worse), own in gaps.group_by("better", "worse", maintain_order=True):
        rows = {row["group"]: row for row in own.iter_rows(named=True)}
        cells = [
            f"{shown_signed(rows[g]['difference'])} {shown_interval(rows[g])}" if g in rows else "-" for g in groups
        ]
        shown.add_row(str(better), f"minus {worse}", *cells, str(max(row["n"] for row in rows.values())))
    console.print(shown)
    for text in missing:
        console.print(f"Not in the table: {text}", style="yellow", markup=False)
    clear = [
        f"{row['better']} minus {row['worse']}, {row['group']}: {shown_signed(row['difference'])} "
        f"[{shown_signed(row['low'])}, {shown_signed(row['high'])}]"
        for row in gaps.iter_rows(named=True)
        if row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    ]
    headline = f"Gaps whose interval excludes 0: {'; '.join(clear) or 'none'}."
    console.print()
    console.print(headline, style="bold", markup=False)
    return headline


def show_search(console: Console, findings: Any) -> None:
    """Print the rounds of an `analysis.searches.SearchFindings`, and what the chosen prompt is worth."""
    console.print()
    table = Table("round", "candidates", "best", "gain", "95 % interval", "cost of full", "", title="Rounds", box=None)
    table.title_justify = "left"
    for row in findings.rounds.iter_rows(named=True):
        gain = "-" if row["gain"] is None else shown_signed(row["gain"])
        interval = "-" if row["low"] is None else f"\\[{shown_signed(row['low'])}, {shown_signed(row['high'])}]"
        kept = "kept" if row["kept"] else "not kept"
        cells = (str(row["round"]), str(row["candidates"]), row["winner"] or "none", gain, interval)
        table.add_row(*cells, f"{row['share']:.0%}", kept)
    console.print(table)
    spent, full = (findings.numbers[name] for name in ("evaluations", "evaluations_without_racing"))
    if full:
        console.print(f"Races: {spent:.0f} of {full:.0f} evaluations ({spent / full:.0%}); --no-racing takes all")
    console.print("A round's gain is that of the best of many on the queries that chose it, and so flattered.")
    for row in findings.scores.iter_rows(named=True):
        start, chosen = ("none" if row[name] is None else f"{row[name]:.2f}" for name in ("start", "chosen"))
        console.print(f"Queries {row['queries']}: start prompt {start}, chosen prompt {chosen}", markup=False)
    start, chosen = findings.scores.row(0, named=True)["start"], findings.scores.row(0, named=True)["chosen"]
    if start is not None and chosen is not None and chosen < start:
        console.print(
            "[yellow]The chosen prompt scores below the start prompt even on the queries that chose it; "
            'stop = "no-gain" in the study file ends a search before that[/yellow]'
        )
    console.print(f"The search ended because {findings.why_ended}.", markup=False)
    console.print()
    console.print(findings.headline, style="bold", markup=False)


def show_reproduction(console: Console, trial: Any, found: Any) -> None:
    """Print what a `reproduction.Reproduction` of a `reproduction.KeptTrial` found otherwise."""
    console.print()
    same = sum(turn.same for turn in found.turns)
    console.print(
        f"Trial {trial.number} of {trial.study} ({trial.label}): {same} of {len(found.turns)} answers are the same, "
        "character for character",
        style="bold",
        markup=False,
    )
    if not found.judged:
        console.print("The judge was not asked again: its answers cost money, or nothing of it is kept.")
    if found.differing:
        table = Table("query", "turn", "same up to", "then", "now", "score then", "score now", box=None)
        for turn in found.differing:
            at = turn.first_difference
            texts = (_from(turn.request.completion.text, at), _from(turn.completion.text, at))
            scores = (turn.request.judgment.score.value, turn.score)
            shown = ("-" if score is None else f"{score:.2f}" for score in scores)
            table.add_row(escape(turn.request.query_id), str(turn.request.turn), str(at), *map(escape, texts), *shown)
        console.print(table)
    for text in found.ingredients:
        console.print(f"other ingredients: {text}", markup=False)
    if found.environment is None:
        console.print("The environment of that time was not kept.")
    elif not found.environment:
        console.print("Versions, machine and code are those of that time.")
    for name, (then, now) in (found.environment or {}).items():
        console.print(f"{name}: {then} then, {now} now", markup=False)


def _from(text: str, at: int) -> str:
    """Return a text from a place on, cut and in one line."""
    return repr(text[at : at + 24])[1:-1] + ("…" if len(text) > at + 24 else "")


def show_confirmation(console: Console, findings: Any) -> None:
    """Print the leads of an `analysis.confirmation.ConfirmationFindings` and how much they shrank."""
    console.print()
    columns = {"selected": "as selected", "fresh": "fresh seeds", "held_back": "held back", "shrinkage": "shrinkage"}
    table = Table("condition", *columns.values(), title="Lead over the baseline, 95 % intervals", box=None)
    table.title_justify = "left"
    rows = findings.table.to_dicts()
    for row in rows:
        table.add_row(escape(row["label"]), *(_lead(row, name) for name in columns))
    if rows:
        console.print(table)
        console.print(
            f"{rows[0]['n_fresh']} queries as before and {rows[0]['n_held_back']} held back; shrinkage is the lead as "
            "selected minus the held-back one, between different queries (Welch)"
        )
    for text in findings.failed:
        console.print(f"Counts for nothing: {text}", markup=False)
    if same := sum(row["same_answers"] for row in rows):
        console.print(
            f"{same} of {len(rows)} conditions, like the baseline, answer the same queries as before whatever the seed "
            "(greedy decoding): only held-back queries say something new of them"
        )
    console.print()
    console.print(findings.headline, style="bold", markup=False)


def _lead(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if low is None else f" \\[{shown_signed(low)}, {shown_signed(high)}]"
    return f"{shown_signed(row[name])}{interval}"


def _show_importances(console: Console, findings: Any) -> None:
    found = findings.importances.of("fanova")
    if found.is_empty():
        console.print(f"No importances: {findings.importances.withheld['fanova']}")
        return
    shares = [
        f"{row['parameter']} {row['importance']:.2f} \\[{row['low']:.2f}, {row['high']:.2f}]"
        for row in found.iter_rows(named=True)
    ]
    console.print(f"Importance (fANOVA, share of the variance between conditions): {', '.join(shares)}")


def _show_scores(console: Console, findings: Any) -> None:
    """Print the baseline's and the best condition's scores by turn."""
    columns = {"baseline": findings.baseline, "best": findings.best}
    shown = {name: trial for name, trial in columns.items() if trial is not None}
    if findings.baseline == findings.best:
        shown.pop("best", None)
    rows = {(row["trial"], row["group"]): row for row in findings.frames["scores"].iter_rows(named=True)}
    groups = [group for trial, group in rows if trial in shown.values() and _is_turn(group)]
    table = Table("", *dict.fromkeys(groups), "scored", title="Scores by turn", title_justify="left", box=None)
    for name, trial in shown.items():
        cells = [
            f"{shown_mean(rows[trial, group])} {shown_bounds(rows[trial, group])}" for group in dict.fromkeys(groups)
        ]
        last = rows[trial, groups[-1]]
        table.add_row(name, *cells, f"{last['n_scored']}/{last['n_judged']}")
    if shown:
        console.print(table)


def _is_turn(group: str) -> bool:
    return group.startswith("turn ") or group == "average"


def _show_comparisons(console: Console, findings: Any) -> None:
    """Print wins, draws and losses against the judge's reference outputs, and what the order of answers did."""
    comparisons = findings.frames["comparisons"]
    if comparisons.is_empty():
        return
    names = {"win": "wins", "draw": "draws", "loss": "losses", "first_twice": "first twice"}
    names["second_twice"] = "second twice"
    table = Table(
        "", *names.values(), "pairs", title="Against the answers to compare with", title_justify="left", box=None
    )
    for row in comparisons.iter_rows(named=True):
        roles = {findings.baseline: "baseline", findings.best: "best"}
        if row["trial"] in roles:
            cells = [f"{row[n]:.0%} \\[{row[f'{n}_low']:.0%}, {row[f'{n}_high']:.0%}]" for n in names]
            table.add_row(roles[row["trial"]], *cells, str(row["n"]))
    console.print(table)
    console.print(
        "95 % Wilson intervals over queries; first/second twice: the judge preferred what stood there in both orders"
    )


def _show_length_control(console: Console, findings: Any) -> None:
    """Print the best condition's lead with the judge's liking for length taken out."""
    for row in findings.frames["length_controlled"].iter_rows(named=True):
        if row["trial"] != findings.best or row["controlled"] is None:
            continue
        interval = (
            f"({row['reason']})"
            if row["controlled_low"] is None
            else f"\\[{shown_signed(row['controlled_low'])}, {shown_signed(row['controlled_high'])}]"
        )
        console.print(
            f"Best against baseline at equal length: {shown_signed(row['controlled'])} {interval}; "
            f"raw {shown_signed(row['raw'])}, with {row['extra_characters']:+.0f} characters an answer"
        )


def _shown(row: dict[str, Any]) -> str:
    """Return a difference with its interval; equal outputs are called so, because a width of 0 is no certainty."""
    interval = shown_interval(row)
    return interval if interval == IDENTICAL else f"{shown_signed(row['difference'])} {interval}"


def show_judging(
    console: Console, judge: str, used: Usage, cost: float | None, audit: Mapping[str, Any] | None
) -> None:
    """Print what judging took, and whether the judge has passed an audit."""
    if used.calls:
        console.print(f"Judging: {_took(used, cost)}")
    if audit is None:
        console.print(
            f"[yellow]The {judge} judge has no audit on record here: run audit-judge with the same judge options "
            "before you trust these scores[/yellow]"
        )
    else:
        console.print(f"Audit of the {judge} judge: {audit['verdict']}", markup=False)


def _took(used: Usage, cost: float | None) -> str:
    return (
        f"{used.calls:,} calls, {used.prompt_tokens:,} tokens in, {used.completion_tokens:,} out, {format_money(cost)}"
    )


def show_audit(console: Console, judge: str, audit: Any, cost: float | None) -> None:
    """Print the table and the verdict of a `judges.audit.Audit`."""
    table = Table(
        "control",
        "good answer wins",
        "95 % interval (Wilson)",
        "ties",
        "unscored",
        "needed",
        "",
        title=f"{judge} judge: good answers against planted controls",
        title_justify="left",
        box=None,
    )
    for row in audit.rows:
        share = "-" if row.share is None else f"{row.wins}/{row.pairs} = {row.share:.1%}"
        interval = "-" if row.share is None else f"{row.low:.1%} to {row.high:.1%}"
        verdict = "passed" if row.passed else "[red]failed[/red]"
        table.add_row(row.control, share, interval, str(row.ties), str(row.unscored), f"{row.least:.0%}", verdict)
    console.print(table)
    spread = "no scored pair" if audit.spread is None else f"{audit.spread:.2f} points on average"
    console.print(f"The same answer judged twice differs by: {spread}")
    console.print(f"Scored: {audit.n_scored} of {audit.n_judged} judgments")
    for reason, count in sorted(audit.unscored.items()):
        console.print(f"  {count} x {reason}", markup=False)
    if audit.agreement is not None:
        agreed = audit.agreement
        share = "-" if agreed.share is None else f"{agreed.share:.1%}"
        kappa = "-" if agreed.kappa is None else f"{agreed.kappa:.2f}"
        console.print(f"Agreement with the given preferences: {share} of {agreed.n} pairs, Cohen's kappa {kappa}")
    if audit.usage.calls:
        console.print(f"Judging: {_took(audit.usage, cost)}")
    console.print(f"Verdict: {audit.verdict}", style="bold", markup=False)
