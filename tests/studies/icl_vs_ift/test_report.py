"""Claims about the page of ICL against IFT, and its notebook."""

from functools import cache
from pathlib import Path

import jupytext
import numpy as np
import polars as pl
import pytest

from ablations.cli.main import main
from ablations.core.schema import RESULT_SCHEMA
from ablations.studies.engine.results import write_results
from ablations.studies.icl_vs_ift.findings import TuningFindings, summarise
from ablations.studies.kind import Results
from analysis.report.page import About, Report
from analysis.report.render import write_report
from tests.support.html import Reader
from tests.support.simulated_sizes import simulated_losses, simulated_study

ROOT = Path(__file__).resolve().parents[3]
ABOUT = About("icl-vs-ift", (("model", "tiny"),))
SECTIONS = ["Score by number of examples", "The same examples: IFT minus ICL", "Crossover", "What each way costs"]


@cache
def results() -> pl.DataFrame:
    """A study whose tuning failed once, with the columns of every results file."""
    made = simulated_study(np.random.default_rng(3), 12, 2)
    trial = made.filter((pl.col("arm.way") == "ift") & (pl.col("arm.examples") == 64)).get_column("trial")[0]
    failed = pl.col("trial") == trial
    made = made.with_columns(
        *(pl.when(~failed).then(pl.col(name)).alias(name) for name in ("score", "answer", "judge")),
        state=pl.when(failed).then(pl.lit("failed")).otherwise("state"),
        failed_because=pl.when(failed).then(pl.lit("out of <memory>")),
    )
    lacking = {name: kind for name, kind in RESULT_SCHEMA.items() if name not in made.columns}
    whole = made.with_columns(pl.lit(None, kind).alias(name) for name, kind in lacking.items())
    return whole.with_columns(decides=True, seed=0, judge_calls=0, judge_prompt_tokens=0, judge_completion_tokens=0)


@cache
def losses() -> pl.DataFrame:
    return simulated_losses(np.random.default_rng(3))


@cache
def report() -> Report:
    return page(results(), losses())


def page(results: pl.DataFrame, losses: pl.DataFrame | None = None) -> Report:
    return summarise(Results("icl-vs-ift", results, tables={} if losses is None else {"losses": losses})).report(ABOUT)


def stored(folder: Path, with_losses: bool = True) -> Path:
    """Write the study where a run would; return the folder of all results."""
    own = folder / "results" / "icl-vs-ift"
    write_results(results(), own / "results.parquet", "icl-vs-ift")
    if with_losses:
        write_results(losses(), own / "losses.parquet")
    return folder


def test_the_page_has_a_section_for_each_question() -> None:
    assert [section.title for section in report().sections] == [
        *SECTIONS,
        "Training",
        "Settings",
        "Answers side by side",
        "Method and limits",
    ]
    assert report().headline == TuningFindings.of(results(), losses()).headline
    assert list(report()["Score by number of examples"].figures) == ["size_curve"]
    assert list(report()["What each way costs"].figures) == ["training_cost"]


def test_the_tables_say_what_the_findings_hold() -> None:
    frames = TuningFindings.of(results(), losses()).frames
    scores, lines = report()["Score by number of examples"].tables
    assert scores.columns[:4] == ("on", "examples", "ICL", "IFT")
    assert sum(text != "–" for row in scores.rows for text in row[2:4]) == len(frames["curve"])
    assert scores.rows[0][:2] == ("turn 1", "2")
    assert scores.note == "Not in the table: ift pool 64: out of <memory>."
    assert [row[0] for row in lines.rows] == ["zero-shot", "urial", "aligned"]
    (crossings,) = report()["Crossover"].tables
    assert [row[-1] for row in crossings.rows] == frames["crossover"].get_column("verdict").to_list()


def test_answers_are_those_of_both_ways_with_the_same_examples() -> None:
    example = report()["Answers side by side"].examples[0]
    assert list(example.answers) == ["ICL, 16 examples", "IFT, 16 examples"]


def test_both_forms_are_written_and_need_nothing_else(tmp_path: Path) -> None:
    html, markdown = write_report(report(), tmp_path)
    page = Reader(html.read_text(encoding="utf-8"))
    assert page.open == []
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.loaded)
    text = markdown.read_text(encoding="utf-8")
    assert all(f"## {title}" in text for title in SECTIONS)
    assert "out of &lt;memory>" in text or "out of <memory>" in text


def test_without_losses_there_is_no_section_on_training_and_with_several_pools_a_column() -> None:
    other = results().filter(pl.col("arm.pool").is_not_null())
    other = other.with_columns(pl.lit("other").alias("arm.pool"), trial=pl.col("trial") + 100)
    made = page(pl.concat([results(), other]))
    assert "Training" not in [section.title for section in made.sections]
    assert made["Crossover"].tables[0].columns[0] == "pool"


def test_a_study_without_a_common_size_has_a_page() -> None:
    made = page(results().filter(pl.col("arm.way") != "icl"), losses())
    assert made.headline.startswith("No headline")
    assert "Crossover" not in [section.title for section in made.sections]
    assert page(results().filter(pl.col("arm.way") == "zero-shot")).sections


def test_a_terminal_is_shown_scores_differences_verdicts_costs_and_who_failed() -> None:
    made = report()
    assert [section.title for section in made.brief] == SECTIONS
    (verdicts,) = (table.brief() for table in made["Crossover"].tables)
    assert verdicts.columns == ("on", "verdict")
    assert "break-even, requests" in made["What each way costs"].tables[0].brief().columns
    assert made["Score by number of examples"].tables[0].brief().note.endswith("out of <memory>.")


def test_learning_rates_that_were_tried_are_said_with_the_chosen_one() -> None:
    tried = {"8 examples": [[1e-4, 1.5], [2e-4, 1.25], [4e-4, None]], "2 examples": [[1e-4, None]]}
    made = summarise(Results("s", results(), notes={"learning-rates": tried})).report(ABOUT)["Training"]
    assert made.brief
    assert made.statements[0].endswith("0.0001: 1.500, 0.0002: 1.250 (chosen), 0.0004: failed.")
    assert made.statements[1].endswith("0.0001: failed.")


def test_the_command_report_takes_the_losses_beside_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path)
    assert main(["report", "--study", "icl-vs-ift", "--mlruns", str(folder)]) == 0
    page = folder / "results" / "icl-vs-ift" / "report.md"
    assert str(page) in capsys.readouterr().out
    assert "## Training" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("with_losses", [True, False])
def test_the_code_of_the_notebook_runs_on_a_study(
    with_losses: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATIONS_MLRUNS", str(stored(tmp_path, with_losses)))
    displayed: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda *things: displayed.extend(things))
    names: dict[str, object] = {}
    for cell in jupytext.read(ROOT / "notebooks" / "06_icl_vs_ift.py").cells:
        if cell.cell_type == "code":
            exec(cell.source.replace("%matplotlib inline", ""), names)
    assert len(displayed) == (11 if with_losses else 9)
