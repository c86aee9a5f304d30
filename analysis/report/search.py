"""The page of a greedy search: its races, and the chosen prompt on the held-back queries."""

import polars as pl

from analysis.effects import paired_effects
from analysis.examples import read_examples
from analysis.frames import trial_scores, trial_table
from analysis.report import prose
from analysis.report.page import About, Report, Section
from analysis.report.tables import EFFECT, Columns, interval, make_table, number, signed
from analysis.searches import race_figures, races


def search_report(results: pl.DataFrame, about: About) -> Report:
    """Return the report of a greedy search from its results: races, and the chosen prompt on the held-back queries."""
    raced, table = races(results), trial_table(results)
    pair = table.filter((pl.col("role") == "held-back") & (pl.col("state") == "complete")).get_column("trial").to_list()
    sections = []
    headline = "No verdict: the start and the chosen prompt have no scores on held-back queries."
    if len(pair) == 2:
        effects = paired_effects(trial_scores(results), [(pair[1], pair[0])])
        for row in effects.iter_rows(named=True):
            headline = (
                f"On {row['n']} queries that chose nothing, the chosen prompt scores {signed('difference')(row)} "
                f"{interval()(row)} points against the start prompt."
            )
        examples = read_examples(results, {"start prompt": pair[0], "chosen prompt": pair[1]})
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
