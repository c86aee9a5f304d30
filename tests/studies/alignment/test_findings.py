"""Claims about the findings of a study whose arms are models."""

import polars as pl

from ablations.studies.alignment.findings import summarise
from ablations.studies.kind import Results
from analysis.report.page import About
from tests.support.recorded import models


def test_models_side_by_side_have_their_gaps() -> None:
    report = summarise(models()).report(About("alignment"))
    assert report.headline.startswith("Gaps whose interval excludes 0: ")
    scores, gaps = report["Models side by side"].tables
    assert {row[0] for row in scores.rows} == {"gemma-3-270m", "smollm2-135m-instruct"}
    assert any("in context" in row[1] and "chat template" in row[0] for row in gaps.rows)
    assert report["Models side by side"].brief
    assert list(report.figures) == ["models"]


def test_metrics_and_tables_are_the_gaps_and_means() -> None:
    found = summarise(models())
    tables = found.tables()
    assert set(tables) == {"models", "gaps"}
    assert list(found.metrics().values()) == tables["gaps"].get_column("difference").to_list()
    assert "gap/gemma-3-270m, in context minus gemma-3-270m, zero-shot/turn 1" in found.metrics()


def test_a_way_whose_trial_failed_is_named_below_the_scores() -> None:
    results = models().frame
    chat = pl.col("arm.way") == "aligned (chat template)"
    failed = results.with_columns(
        state=pl.when(chat).then(pl.lit("failed")).otherwise("state"),
        failed_because=pl.when(chat).then(pl.lit("no [rating]")),
    )
    report = summarise(Results("s", failed)).report(About("s"))
    note = report["Models side by side"].tables[0].note
    assert note == "Not in the table: smollm2-135m-instruct, aligned (chat template): no [rating]."
    assert report.headline == "Gaps whose interval excludes 0: none."


def test_facts_name_the_models_and_count_the_arms() -> None:
    facts = dict(summarise(models()).report(About("s")).about.facts)
    assert facts["model"] == "gemma-3-270m, smollm2-135m-instruct"
    assert facts["trials"].endswith(" arms")
