"""The page of an ablation or a search: effects, importances, components, scores, costs, answers.

Knows what findings mean; neither HTML nor Markdown nor where anything lies.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from ablations.studies.conditions.confirmation_findings import ConfirmationFindings
from ablations.studies.conditions.findings import Findings, find
from analysis.effects.importance import FANOVA
from analysis.examples import read_examples, telling_conditions
from analysis.figures import audit_figures
from analysis.planning import detectable_effect
from analysis.report import prose
from analysis.report.page import About, Report, Section
from analysis.report.tables import EFFECT, Columns, Table, interval, make_table, number, p_value, rows_of, share, signed

MOST_ROWS = 60
_ALWAYS = ("Importance", "Method and limits")
"""Sections that are there whatever the study has: why there are no importances is worth a line."""


def study_report(results: pl.DataFrame, about: About, confirmed: pl.DataFrame | None = None) -> Report:
    """Return the report of an ablation or a search.

    Args:
        results: its results of record.
        about: what it was made from.
        confirmed: the results of its confirmation, where there was one.
    """
    findings = find(results)
    again = None if confirmed is None else ConfirmationFindings.of(results, confirmed)
    sections = [
        _effects(findings),
        *([] if again is None else [_confirmation(again)]),
        _importance(findings),
        _components(findings),
        _demonstrations(findings),
        _scores(findings),
        _answers(findings),
        _planning(findings),
        audit_section(about, findings.judge),
        _examples(results),
        Section("Method and limits", prose.METHOD),
    ]
    headline = findings.headline if again is None else again.headline
    return Report(about, headline, tuple(section for section in sections if _says_something(section)))


def _says_something(section: Section) -> bool:
    return bool(section.figures or section.tables or section.examples) or section.title in _ALWAYS


def _effects(findings: Findings) -> Section:
    frames = findings.frames
    changed = frames["conditions"].join(frames["trials"].select("trial", "change", "mean", "coverage"), on="trial")
    conditions, note = rows_of(changed.sort("difference", descending=True), MOST_ROWS, "difference")
    one, cut = rows_of(frames["effects"], MOST_ROWS, "difference")
    moved: Columns = {
        "parameter": "parameter",
        "from": "against",
        "to": "value",
        "around": lambda row: row["around"] or "baseline",
    }
    tables = [
        make_table("One parameter at a time, all else held still", one, {**moved, **EFFECT}, cut),
        make_table(
            "Every condition against the baseline",
            conditions,
            {"condition": "change", "mean": number("mean"), "coverage": share("coverage"), **EFFECT},
            note,
        ),
        make_table("The same condition twice, with other seeds (A/A)", frames["noise_floor"], {"": "label", **EFFECT}),
    ]
    figures = {name: figure for name, figure in findings.figures.items() if name.startswith("parameter_")}
    return Section("Effects", prose.EFFECTS, figures, _filled(tables))


def _confirmation(found: ConfirmationFindings) -> Section:
    columns: Columns = {"condition": "label"}
    named = {
        "as selected": "selected",
        "fresh seeds": "fresh",
        "held-back queries": "held_back",
        "shrinkage": "shrinkage",
    }
    for title, name in named.items():
        columns |= {title: signed(name), f"{title}, 95 %": interval(f"{name}_low", f"{name}_high")}
    table = make_table("Lead over the baseline", found.table, columns)
    same = any(row["selected"] is not None and row["selected"] == row["fresh"] for row in found.table.to_dicts())
    text = (prose.CONFIRMATION, prose.SAME_ANSWERS) if same else (prose.CONFIRMATION,)
    return Section("Confirmation", text, found.figures, _filled([table]))


def _importance(findings: Findings) -> Section:
    frames, found = findings.frames, findings.importances
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
    known = frames["interactions"].sort(pl.col("difference").abs(), descending=True, nulls_last=True)
    tables = [make_table("Importances", found.table.sort("method"), columns)]
    if not known.get_column("difference").is_null().all():
        shown, note = rows_of(known, MOST_ROWS, "difference")
        notes = " ".join(filter(None, (prose.INTERACTIONS, note)))
        tables.append(make_table("Interactions of two parameters", shown, {**pairs, **reasons}, notes))
    withheld = tuple(f"No importance by {method}: {reason}." for method, reason in found.withheld.items())
    names = ("importance", "marginals", "temperature_by_repetition_penalty")
    text = prose.IMPORTANCE if len(found.of(FANOVA)) else ()
    return Section("Importance", (*text, *withheld), _of(findings, names), _filled(tables))


def _components(findings: Findings) -> Section:
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
    table = make_table("Shapley values", findings.frames["shapley"], columns)
    return Section("Components", prose.COMPONENTS, _of(findings, ("waterfall", "shapley")), _filled([table]))


def _demonstrations(findings: Findings) -> Section:
    frames = findings.frames
    curve: Columns = {
        "source": "source",
        "shots": "shots",
        "draws": "draws",
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
    tables = [
        make_table("Score by number and source", frames["curve"], curve),
        make_table("How scores grow with the number", frames["scaling"], scaling, prose.BEND),
        make_table("Sources against each other", frames["contrasts"], {**contrasts, **difference}, prose.CONTRASTS),
    ]
    return Section("Demonstrations", (), _of(findings, ("shots",)), _filled(tables))


def _scores(findings: Findings) -> Section:
    frames = findings.frames
    changes = dict(frames["trials"].select("trial", "change").iter_rows())
    columns: Columns = {
        "condition": lambda row: changes[row["trial"]],
        "": "group",
        "mean": number("mean"),
        "95 % interval": interval(sign=False),
        "scored": lambda row: f"{row['n_scored']} of {row['n_judged']}",
    }
    rates: Columns = {"condition": lambda row: changes[row["trial"]]}
    for name, title in {"win": "wins", "draw": "draws", "loss": "losses", "first_twice": "first shown, twice"}.items():
        rates |= {title: share(name), f"{title}, 95 %": interval_of_shares(name)}
    unscored: Columns = {"reason": "reason", "completions": "n", "trials": "trials"}
    tables = [
        make_table("By turn and category", frames["scores"], columns),
        make_table("Against the answers that the judge compares with", frames["comparisons"], {**rates, "pairs": "n"}),
        make_table("Completions without a score", frames["unscored"], unscored),
    ]
    return Section("Scores", (), _of(findings, ("turns", "categories")), _filled(tables))


def interval_of_shares(name: str) -> Any:
    """Return a reader of a share's interval in percent."""
    return lambda row: "–" if row[f"{name}_low"] is None else f"[{row[f'{name}_low']:.0%}, {row[f'{name}_high']:.0%}]"


def _answers(findings: Findings) -> Section:
    frames = findings.frames
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
    if len(controlled) and controlled.get_column("controlled_low").is_null().all():
        note = " ".join(filter(None, (prose.FEW_FOR_LENGTH, note)))
    front, cut = rows_of(frames["costs"].sort("tokens"), MOST_ROWS, "mean")
    tables = [
        make_table("Effects at equal length", controlled, length, note),
        make_table("Tokens against score", front, costs, cut),
    ]
    return Section(
        "Length, form and cost", prose.ANSWERS, _of(findings, ("length", "answers", "cost")), _filled(tables)
    )


def _planning(findings: Findings) -> Section:
    spread = findings.spread
    columns: Columns = {
        "difference in points": number("effect"),
        "seeds a condition": "seeds",
        "spread": number("spread"),
        "queries": lambda row: _count(row["queries"]),
        "queries, corrected": lambda row: _count(row["queries_corrected"]),
    }
    table = make_table("Queries needed", findings.frames["planning"], columns)
    text = () if spread is None else (prose.planning(spread.queries, spread.of_differences, detectable_effect(spread)),)
    return Section("How many queries would show it", text, {}, _filled([table]))


def _count(value: int | None) -> str:
    return "more than 100,000" if value is None else f"{value:,}"


def audit_section(about: About, judge: str) -> Section:
    """Return the section on the judge's newest audit; an empty one where there is none."""
    if about.audit is None:
        return Section("Audit of the judge")
    audit = pl.DataFrame(about.audit)
    columns: Columns = {
        "control": "control",
        "good answer wins": lambda row: f"{row['wins']} of {row['pairs']}",
        "95 % interval": lambda row: "–" if row["low"] is None else f"[{row['low']:.0%}, {row['high']:.0%}]",
        "needed": share("least"),
        "passed": lambda row: "yes" if row["passed"] else "no",
    }
    table = make_table("Good answers against planted controls", audit, columns)
    return Section("Audit of the judge", (prose.AUDIT,), audit_figures(audit, judge), (table,))


def _examples(results: pl.DataFrame) -> Section:
    shown = telling_conditions(results)
    if len(shown) < 2:
        return Section("Answers side by side")
    return Section("Answers side by side", (prose.EXAMPLES,), examples=tuple(read_examples(results, shown)))


def _of(findings: Findings, names: Sequence[str]) -> dict[str, Figure]:
    return {name: findings.figures[name] for name in names if name in findings.figures}


def _filled(tables: Sequence[Table]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table.rows)
