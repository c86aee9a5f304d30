"""The page of a greedy search: its races, and the chosen prompt on the held-back queries."""

import polars as pl

from ablations.studies.greedy.findings import held_back_effect
from analysis.examples import read_examples
from analysis.figures import race_figures
from analysis.races import races
from analysis.report import prose
from analysis.report.page import About, Report, Section
from analysis.report.tables import EFFECT, Columns, interval, make_table, number, signed


def search_report(results: pl.DataFrame, about: About) -> Report:
    """Return the report of a greedy search from its results: races, and the chosen prompt on the held-back queries."""
    raced, effects = races(results), held_back_effect(results)
    sections = []
    if isinstance(effects, str):
        headline = f"No verdict: {effects}."
    else:
        row = effects.row(0, named=True)
        headline = (
            f"On {row['n']} queries that chose nothing, the chosen prompt scores {signed('difference')(row)} "
            f"{interval()(row)} points against the start prompt."
        )
        examples = read_examples(results, {"start prompt": row["reference_trial"], "chosen prompt": row["trial"]})
        sections.append(Section("The chosen prompt", (), {}, (make_table("Held-back queries", effects, EFFECT),)))
        sections.append(Section("Answers side by side", (prose.EXAMPLES,), examples=tuple(examples)))
    columns: Columns = {
        "round": "round",
        "candidate": "candidate",
        "queries": "queries",
        "of": "of",
        "mean": number("mean"),
        "outcome": "outcome",
    }
    table_of_races = make_table("How far each candidate came", raced, columns)
    sections.insert(0, Section("Races", (prose.RACES,), race_figures(raced), (table_of_races,)))
    return Report(about, headline, (*sections, Section("Method and limits", prose.METHOD)))
