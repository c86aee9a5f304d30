"""Sections on what moves scores: effects, importances, components, demonstrations, length, and how many queries.

Knows the tables of findings, neither how they were computed nor how a page is written.
"""

from collections.abc import Mapping

import polars as pl

from analysis.effects.importance import FANOVA, Importances
from analysis.planning import Spread, detectable_effect
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
    """Return the section on each parameter and each condition against the baseline.

    Takes the tables `trials`, `effects`, `conditions`, `noise_floor` and `curve`, in whose place a terminal shows no
    effects.
    """
    changed = frames["conditions"].join(frames["trials"].select("trial", "change", "mean", "coverage"), on="trial")
    conditions, note = rows_of(changed.sort("difference", descending=True), MOST_ROWS, "difference")
    one, cut = rows_of(frames["effects"].sort("parameter", maintain_order=True), MOST_ROWS, "difference")
    moved: Columns = {
        "parameter": "parameter",
        "from": "against",
        "to": "value",
        "around": lambda row: row["around"] or "baseline",
    }
    compared: Columns = {"condition": "change", "mean": number("mean"), "coverage": share("coverage")}
    corrected = f"p (Holm) is corrected for {len(frames['effects'])} effects together."
    tables = filled(
        make_table(
            "One parameter at a time, all else held still",
            one,
            {**moved, **EFFECT},
            " ".join(filter(None, (corrected, cut))),
            EFFECT_DETAILS,
            () if len(frames["curve"]) else largest(one, "difference", MOST_BRIEF),
        ),
        make_table("Every condition against the baseline", conditions, {**compared, **EFFECT}, note, short=()),
        make_table(
            "The same condition twice, with other seeds (A/A)",
            frames["noise_floor"],
            {"": "label", **EFFECT},
            details=EFFECT_DETAILS,
        ),
    )
    return Section(
        "Effects", prose.EFFECTS, _baseline(frames["trials"]), figures.some("parameter_"), tables, brief=True
    )


def _baseline(trials: pl.DataFrame) -> tuple[str, ...]:
    """Say what each baseline trial scored."""
    return tuple(
        f"Baseline ({row['label']}): mean score {'none' if row['mean'] is None else number('mean')(row)} over "
        f"{row['n_queries']} queries, coverage {row['coverage']:.0%}."
        for row in trials.filter(pl.col("role") == "baseline").iter_rows(named=True)
    )


def importance_section(frames: Frames, found: Importances, figures: Figures) -> Section:
    """Return the section on how much each parameter matters, or why that is not known.

    Takes the table `interactions`.
    """
    columns: Columns = {
        "method": "method",
        "parameter": "parameter",
        "importance": number("importance"),
        "95 % interval": interval(sign=False),
        "conditions": "conditions",
        "not to be relied on": lambda row: row["mark"] or "",
    }
    pairs: Columns = {
        "": "first",
        "×": "second",
        "difference of differences": signed("difference"),
        "95 % interval": interval(),
    }
    reasons: Columns = {"p (Holm)": p_value("p_holm"), "why none": lambda row: row["reason"] or ""}
    ranked = found.table.sort("method")
    main = [at for at, method in enumerate(ranked.get_column("method")) if method == FANOVA]
    tables = [make_table("Importances", ranked, columns, details=("conditions", "not to be relied on"), short=main)]
    known = frames["interactions"].sort(pl.col("difference").abs(), descending=True, nulls_last=True)
    if not known.get_column("difference").is_null().all():
        shown, note = rows_of(known, MOST_ROWS, "difference")
        notes = " ".join(filter(None, (prose.INTERACTIONS, note)))
        tables.append(make_table("Interactions of two parameters", shown, {**pairs, **reasons}, notes, short=()))
    withheld = {method: f"No importance by {method}: {reason}." for method, reason in found.withheld.items()}
    others = tuple(text for method, text in withheld.items() if method != FANOVA)
    return Section(
        "Importance",
        (*(prose.IMPORTANCE if main else ()), *others),
        tuple(withheld[method] for method in withheld if method == FANOVA),
        figures.some("importance", "marginals", "temperature_by_repetition_penalty"),
        filled(*tables),
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
        "p (Holm)": p_value("p_holm"),
        "queries": "n",
        "method": "method",
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


def planning_section(needed: pl.DataFrame, spread: Spread | None) -> Section:
    """Return the section on how many queries would show an effect; a terminal says it of the second largest one.

    That is half a point of a judge that rates from 1 to 10.
    """
    columns: Columns = {
        "difference in points": number("effect"),
        "seeds a condition": "seeds",
        "spread": number("spread"),
        "queries": lambda row: _count(row["queries"]),
        "queries, corrected": lambda row: _count(row["queries_corrected"]),
    }
    text = () if spread is None else (prose.planning(spread.queries, spread.of_differences, detectable_effect(spread)),)
    said = tuple(
        f"To see a difference of {row['effect']:g} points four times in five, this spread needs "
        f"{_count(row['queries'])} queries."
        for effect in sorted(set(needed.get_column("effect")))[-2:-1]
        for row in needed.filter((pl.col("effect") == effect) & (pl.col("seeds") == 1)).iter_rows(named=True)
    )
    table = make_table("Queries needed", needed, columns, short=())
    return Section("How many queries would show it", text, said, tables=filled(table), brief=bool(said))


def _count(value: int | None) -> str:
    return "more than 100,000" if value is None else f"{value:,}"
