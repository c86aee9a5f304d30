"""Sections on scores and who gave them: by turn and category, coverage, the judge's audit, answers side by side.

Knows the tables of findings, neither how they were computed nor how a page is written.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from analysis.examples import Example
from analysis.figures import audit_figures, race_figures
from analysis.frames import Row
from analysis.report import prose
from analysis.report.page import About, Figures, Section
from analysis.report.tables import (
    Column,
    Columns,
    Table,
    filled,
    interval,
    make_table,
    mean_interval,
    number,
    share,
    side_by_side,
)
from analysis.scores import AVERAGE

METHOD = "Method and limits"
SHARES = {"win": "wins", "draw": "draws", "loss": "losses", "first_twice": "first twice"}
SHARES["second_twice"] = "second twice"


def scores_sections(
    frames: Mapping[str, pl.DataFrame], baseline: int | None, best: int | None, figures: Figures
) -> tuple[Section, Section]:
    """Return what the baseline and the best condition scored: by turn, which a terminal shows, and by category.

    Takes the tables `trials`, `scores` and `comparisons`.
    """
    named = {trial: name for trial, name in ((best, "best"), (baseline, "baseline")) if trial is not None}
    changes = dict(frames["trials"].select("trial", "change").iter_rows())
    by_turn = pl.col("group").str.starts_with("turn ") | (pl.col("group") == AVERAGE)
    rates: Columns = {"condition": lambda row: changes[row["trial"]]}
    for name, title in SHARES.items():
        rates |= {title: share(name), f"{title}, 95 %": _interval_of_shares(name)}
    compared = frames["comparisons"]
    own = [at for at, trial in enumerate(compared.get_column("trial")) if trial in named]
    tables = filled(
        side_by_side(
            "By turn",
            frames["scores"].filter(by_turn),
            {"": lambda row: named[row["trial"]]},
            "group",
            mean_interval,
            {"scored": scored},
        ),
        make_table(
            "Against the answers that the judge compares with",
            compared,
            {**rates, "pairs": "n"},
            "Intervals are Wilson's, over queries. First and second twice: the judge preferred what stood there in "
            "both orders.",
            short=own,
        ),
    )
    columns: Columns = {
        "condition": lambda row: changes[row["trial"]],
        "": "group",
        "mean": number("mean"),
        "95 % interval": interval(sign=False),
        "scored": scored,
    }
    categories = make_table("By category", frames["scores"].filter(~by_turn), columns)
    return (
        Section("Scores", (), (), figures.some("turns"), tables, brief=True),
        Section("Scores by category", (), (), figures.some("categories"), filled(categories)),
    )


def scored(row: Row) -> str:
    """Return how many judgments have a score."""
    return f"{row['n_scored']} of {row['n_judged']}"


def _interval_of_shares(name: str) -> Column:
    """Return a reader of a share's interval in percent."""
    return lambda row: "–" if row[f"{name}_low"] is None else f"[{row[f'{name}_low']:.0%}, {row[f'{name}_high']:.0%}]"


def coverage_section(trials: pl.DataFrame, unscored: pl.DataFrame) -> Section:
    """Return the section on what has no score, and why.

    Takes the columns trial, state, failed_because and coverage of trials, and the frame of `scores.unscored_reasons`.
    """
    failed = trials.filter(pl.col("state") == "failed")
    coverage = trials.get_column("coverage").to_numpy()
    said = (
        f"Scored completions: {coverage.mean():.1%} overall, {coverage.min():.1%} in the worst trial.",
        *(f"Trial {number} failed: {why}." for number, why in failed.select("trial", "failed_because").iter_rows()),
    )
    columns: Columns = {"reason": "reason", "completions": "n", "trials": "trials"}
    table = make_table("Completions without a score", unscored, columns)
    return Section("Coverage", (), said, tables=filled(table), brief=True)


def races_section(raced: pl.DataFrame, text: Sequence[str] = ()) -> Section:
    """Return the section on how far trials came before they were stopped. Takes the frame of `scores.races`."""
    columns: Columns = {"round": "round", "candidate": "candidate", "queries": "queries", "of": "of"}
    columns |= {"mean": number("mean"), "outcome": "outcome"}
    table = make_table("How far each candidate came", raced, columns, short=())
    return Section("Races", tuple(text), (), race_figures(raced), filled(table))


def judge_section(about: About, judge: str) -> Section:
    """Return the section on what judging took and on the judge's newest audit, as far as these are known."""
    title, text = "Audit of the judge", (prose.AUDIT,)
    if about.audit is None:
        return Section(title, (), about.judging, brief=bool(about.judging))
    audit = pl.DataFrame(about.audit)
    figures, table = audit_figures(audit, judge), audit_table(audit, short=())
    return Section(title, text, about.judging, figures, (table,), brief=bool(about.judging))


def audit_table(audit: pl.DataFrame, short: Sequence[int] | None = None, counts: bool = False) -> Table:
    """Return how often good answers won against each planted control.

    Args:
        audit: the table of a judge's audit.
        short: as in `tables.make_table`.
        counts: whether to show ties and pairs without a score.
    """
    columns: Columns = {
        "control": "control",
        "good answer wins": lambda row: f"{row['wins']} of {row['pairs']}",
        "95 % interval": lambda row: "–" if row["low"] is None else f"[{row['low']:.0%}, {row['high']:.0%}]",
        **({"ties": "ties", "unscored": "unscored"} if counts else {}),
        "needed": share("least"),
        "passed": lambda row: "yes" if row["passed"] else "no",
    }
    return make_table("Good answers against planted controls", audit, columns, short=short)


def examples_section(examples: Sequence[Example]) -> Section:
    """Return the section with answers side by side."""
    return Section("Answers side by side", (prose.EXAMPLES,), examples=tuple(examples))


def method_section(*text: str) -> Section:
    """Return the last section of a page: what its numbers cannot show, and where its methods come from."""
    return Section(METHOD, text or prose.METHOD)
