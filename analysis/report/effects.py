"""Sections on what moves scores: effects, importances, components, demonstrations, length, and how many queries.

Knows the tables of findings, neither how they were computed nor how a page is written.
"""

from collections.abc import Mapping

import polars as pl

from analysis.parameters.importance import FANOVA, Importances
from analysis.planning import POWER
from analysis.report import prose
from analysis.report.page import Figures, Section
from analysis.report.tables import (
    EFFECT,
    EFFECT_DETAILS,
    Columns,
    filled,
    interval,
    largest,
    make_table,
    number,
    p_value,
    rows_of,
    share,
    signed,
)

MOST_ROWS = 60
"""Rows of a table on a page, at most: those with the largest effects."""
MOST_BRIEF = 16
"""The same at a terminal."""
Frames = Mapping[str, pl.DataFrame]


def effects_section(frames: Frames, figures: Figures) -> Section:
    """Return the section on single changes, pairs, and each condition against the baseline.

    Takes the tables `trials`, `effects`, `joint`, `conditions`, `noise_floor` and `curve`, in whose place a terminal
    shows no effects.
    """
    changed = frames["conditions"].join(frames["trials"].select("trial", "change", "mean", "coverage"), on="trial")
    conditions, note = rows_of(changed.sort("difference", descending=True), MOST_ROWS, "difference")
    one, cut = rows_of(frames["effects"].sort("parameter", maintain_order=True), MOST_ROWS, "difference")
    pairs, left = rows_of(frames["joint"], MOST_ROWS, "difference")
    moved: Columns = {
        "parameter": "parameter",
        "from": "against",
        "to": "value",
        "around": lambda row: row["around"] or "baseline",
    }
    compared: Columns = {"condition": "change", "mean": number("mean"), "coverage": share("coverage")}
    together: Columns = {
        "both": lambda row: f"{row['first']}, {row['second']}",
        "baseline": number("baseline"),
        "first alone": number("first_alone"),
        "second alone": number("second_alone"),
        "if they add up": number("expected"),
        "together": number("together"),
        "difference": signed("difference"),
        "95 % interval": interval(),
        "verdict": "verdict",
        "p (family)": p_value("p_family"),
        "queries": "n",
    }
    tables = filled(
        make_table(
            "One parameter at a time, all else held still",
            one,
            {**moved, **EFFECT},
            cut,
            EFFECT_DETAILS,
            () if len(frames["curve"]) else largest(one, "difference", MOST_BRIEF),
        ),
        make_table(
            "Two parameters together, against the sum of their effects",
            pairs,
            together,
            " ".join(filter(None, (prose.JOINT, left))),
            ("baseline", "first alone", "second alone", "p (family)", "queries"),
            largest(pairs, "difference", MOST_BRIEF),
        ),
        make_table("Every condition against the baseline", conditions, {**compared, **EFFECT}, note, short=()),
        make_table(
            "The same condition twice, with other seeds (A/A)",
            frames["noise_floor"],
            {"": "label", **EFFECT},
            details=EFFECT_DETAILS,
        ),
    )
    drawn = figures.some("changes", "parameter_")
    return Section("Effects", prose.EFFECTS, _baseline(frames["trials"]), drawn, tables, brief=True)


def _baseline(trials: pl.DataFrame) -> tuple[str, ...]:
    """Say what each baseline trial scored."""
    return tuple(
        f"Baseline ({row['label']}): mean score {'none' if row['mean'] is None else number('mean')(row)} over "
        f"{row['n_queries']} queries, coverage {row['coverage']:.0%}."
        for row in trials.filter(pl.col("role") == "baseline").iter_rows(named=True)
    )


def importance_section(frames: Frames, found: Importances, figures: Figures) -> Section:
    """Return the section on how much each parameter moves, and where conditions move all of them, its share of that.

    Takes the table `largest`.
    """
    moves: Columns = {
        "parameter": "parameter",
        "largest effect": lambda row: f"{row['against']} → {row['value']}",
        "difference": signed("difference"),
        "95 % interval": interval(),
        "moves at least": number("at_least"),
        "queries": "n",
    }
    columns: Columns = {
        "method": "method",
        "parameter": "parameter",
        "importance": number("importance"),
        "null, 95 %": number("null"),
        "conditions": "conditions",
        "not to be relied on": lambda row: row["mark"] or "",
    }
    ranked = found.table.sort("method", maintain_order=True)
    main = [at for at, method in enumerate(ranked.get_column("method")) if method == FANOVA]
    own = frames["largest"]
    tables = filled(
        make_table("Largest effect of each parameter", own, moves, prose.LARGEST, details=("queries",)),
        make_table("Importances", ranked, columns, details=("conditions", "not to be relied on"), short=main),
    )
    withheld = (f"No fANOVA or permutation importance: {found.withheld}.",) if found.withheld else ()
    return Section(
        "Importance",
        prose.IMPORTANCE if main else (),
        withheld,
        figures.some("importance", "marginals", "temperature_by_repetition_penalty"),
        tables,
        brief=True,
    )


def components_section(frames: Frames, figures: Figures) -> Section:
    """Return the section on what each component of the prompt contributes. Takes the table `shapley`."""
    columns: Columns = {
        "component": "component",
        "on": "on",
        "off": "off",
        "contribution": signed("value"),
        "95 % interval": interval(),
        "p (family)": p_value("p_family"),
        "queries": "n",
    }
    table = make_table("Shapley values", frames["shapley"], columns)
    return Section("Components", prose.COMPONENTS, (), figures.some("waterfall", "shapley"), filled(table))


def demonstrations_section(frames: Frames, figures: Figures) -> Section:
    """Return the section on the number and source of demonstrations. Takes `curve`, `scaling` and `contrasts`."""
    curve: Columns = {
        "source": "source",
        "shots": "shots",
        "draws": lambda row: (
            f"{row['draws']} ({row['lowest_draw']:.2f} to {row['highest_draw']:.2f})"
            if row["draws"] > 1
            else str(row["draws"])
        ),
        "mean": number("mean"),
        "against the baseline": signed("difference"),
        "95 % interval": interval(),
        "prompt tokens": number("prompt_tokens", 0),
        "queries": "n",
    }
    scaling: Columns = {
        "source": "source",
        "points a doubling": signed("slope"),
        "95 % interval": interval("slope_low", "slope_high"),
        "bend": signed("bend"),
        "bend, 95 %": interval("bend_low", "bend_high"),
        "queries": "n",
    }
    contrasts: Columns = {"source": "source", "against": "against", "shots": "shots"}
    difference: Columns = {"difference": signed("difference"), "95 % interval": interval(), "queries": "n"}
    of_sources = {**contrasts, **difference}
    tables = filled(
        make_table("Score by number and source", frames["curve"], curve, details=("prompt tokens",)),
        make_table("How scores grow with the number", frames["scaling"], scaling, prose.BEND, short=()),
        make_table("Sources against each other", frames["contrasts"], of_sources, prose.CONTRASTS, short=()),
    )
    return Section("Demonstrations", (), (), figures.some("demonstrations"), tables, brief=True)


def length_section(frames: Frames, best: int | None, figures: Figures) -> Section:
    """Return the section on length, form and cost of answers; a terminal shows the `best` trial at equal length.

    Takes the tables `trials`, `length_controlled` and `costs`.
    """
    length: Columns = {
        "condition": "change",
        "as it is": signed("raw"),
        "95 % interval": interval("raw_low", "raw_high"),
        "at equal length": signed("controlled"),
        "at equal length, 95 %": interval("controlled_low", "controlled_high"),
        "characters more": number("extra_characters", 0),
    }
    costs: Columns = {
        "condition": "change",
        "tokens a turn": number("tokens", 0),
        "of the answer": number("completion_tokens", 0),
        "mean": number("mean"),
        "95 % interval": interval(sign=False),
        "on the front": lambda row: "yes" if row["front"] else "",
    }
    changes = frames["trials"].select("trial", "change")
    controlled, note = rows_of(frames["length_controlled"].join(changes, on="trial"), MOST_ROWS, "raw")
    few = prose.FEW_FOR_LENGTH if controlled.get_column("controlled_low").is_null().all() else ""
    note = " ".join(filter(None, (prose.LENGTH, few, note)))
    known = controlled.select("trial", "controlled").iter_rows()
    own = [at for at, (trial, value) in enumerate(known) if trial == best and value is not None]
    front, cut = rows_of(frames["costs"].sort("tokens"), MOST_ROWS, "mean")
    tables = filled(
        make_table("Effects at equal length", controlled, length, note, short=own),
        make_table("Tokens against score", front, costs, cut, short=()),
    )
    drawn = figures.some("length", "answers", "cost")
    return Section("Length, form and cost", prose.ANSWERS, (), drawn, tables, brief=bool(own))


def planning_section(needed: pl.DataFrame, power: float = POWER) -> Section:
    """Return the section on how many queries each comparison would take; a terminal says it of the median one.

    Takes the table `planning`, and the chance that its numbers of queries are for.
    """
    columns: Columns = {
        "comparison": "change",
        "effect in points": number("effect"),
        "seeds a condition": "seeds",
        "spread": number("spread"),
        "seen with": lambda row: f"{row['power']:.0%} by {row['n']}",
        "queries": lambda row: _count(row["queries"]),
        "range": lambda row: f"{_count(row['queries_low'])} to {_count(row['queries_high'])}",
    }
    said = list[str]()
    for (effect,), own in needed.filter(pl.col("seeds") == 1).group_by("effect", maintain_order=True):
        row = own.sort("spread").row(len(own) // 2, named=True)
        said.append(
            f"An effect of {effect:g} points is seen by {row['n']} queries in {row['power']:.0%} of studies (median "
            f"comparison); {power:.0%} take {_count(row['queries'])}, {_count(row['queries_low'])} to "
            f"{_count(row['queries_high'])}."
        )
    shown, note = rows_of(needed, MOST_ROWS, "spread")
    table = make_table("Queries needed", shown, columns, note, short=())
    return Section(
        "How many queries would show it", prose.PLANNING, tuple(said), tables=filled(table), brief=bool(said)
    )


def _count(value: int | None) -> str:
    return "more than 100,000" if value is None else f"{value:,}"
