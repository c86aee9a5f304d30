"""Claims about the page of ICL against IFT, what the terminal shows of it, and its notebook."""

import io
from functools import cache
from pathlib import Path

import jupytext
import numpy as np
import polars as pl
import pytest
from rich.console import Console

from ablations.cli.closing_tuning import show_tuning
from ablations.cli.main import main
from ablations.core.errors import StorageError
from ablations.core.schema import RESULT_SCHEMA
from ablations.studies.icl_vs_ift.findings import TuningFindings
from ablations.studies.views.sources import open_losses
from analysis.report import About, Report, tuning_report, write_report
from tests.analysis.report.test_report import Reader
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
        state=pl.when(failed).then(pl.lit("failed")).otherwise("state"),
        failed_because=pl.when(failed).then(pl.lit("out of <memory>")),
        score=pl.when(~failed).then(pl.col("score")),
    )
    lacking = {name: kind for name, kind in RESULT_SCHEMA.items() if name not in made.columns}
    return made.with_columns(pl.lit(None, kind).alias(name) for name, kind in lacking.items())


@cache
def losses() -> pl.DataFrame:
    return simulated_losses(np.random.default_rng(3))


@cache
def report() -> Report:
    return tuning_report(results(), losses(), ABOUT)


def stored(folder: Path, with_losses: bool = True) -> Path:
    """Write the study where a session would; return the folder of all results."""
    own = folder / "results" / "icl-vs-ift"
    own.mkdir(parents=True)
    results().write_parquet(own / "results.parquet")
    if with_losses:
        losses().write_parquet(own / "losses.parquet")
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
    assert len(scores.rows) == len(frames["curve"])
    assert scores.rows[0][:3] == ("ICL", "2", "turn 1")
    assert scores.note == "Not in the table: ift pool 64: out of <memory>."
    assert [row[0] for row in lines.rows[::3]] == ["zero-shot", "urial", "aligned"]
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
    page = tuning_report(pl.concat([results(), other]), None, ABOUT)
    assert "Training" not in [section.title for section in page.sections]
    assert page["Crossover"].tables[0].columns[0] == "pool"


def test_a_study_without_a_common_size_has_a_page() -> None:
    page = tuning_report(results().filter(pl.col("arm.way") != "icl"), losses(), ABOUT)
    assert page.headline.startswith("No headline")
    assert "Crossover" not in [section.title for section in page.sections]


def shown(findings: TuningFindings) -> str:
    text = io.StringIO()
    show_tuning(Console(file=text, width=200, soft_wrap=True), findings)
    return text.getvalue()


def test_the_terminal_shows_scores_differences_crossover_costs_and_the_headline_last() -> None:
    findings = TuningFindings.of(results(), losses())
    text = shown(findings)
    for expected in (
        "Scores by number of examples, 95 % intervals over queries, and over draws where there are several",
        "IFT minus ICL",
    ):
        assert expected in text
    assert all(
        f"Crossover, {row['group']}: {row['verdict']}" in text for row in findings.frames["crossover"].to_dicts()
    )
    assert "Counts for nothing: ift pool 64: out of <memory>" in text
    assert "break-even, requests" in text
    assert "base-instruct" in text
    assert text.rstrip().endswith(findings.headline)


def test_the_terminal_says_so_where_nothing_can_be_compared() -> None:
    text = shown(TuningFindings.of(results().filter(pl.col("arm.way") != "icl"), None))
    assert text.rstrip().endswith(
        "No headline: no number of examples was scored both in the prompt and in the weights."
    )
    assert shown(TuningFindings.of(results().filter(pl.col("arm.way") == "zero-shot"), None))


def test_the_command_report_takes_the_losses_beside_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path)
    assert main(["report", "--study", "icl-vs-ift", "--mlruns", str(folder)]) == 0
    page = folder / "results" / "icl-vs-ift" / "report.md"
    assert str(page) in capsys.readouterr().out
    assert "## Training" in page.read_text(encoding="utf-8")


def test_losses_are_found_by_name_and_by_path_and_are_none_where_there_are_none(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    path = folder / "results" / "icl-vs-ift" / "results.parquet"
    for named in ("icl-vs-ift", str(path)):
        found = open_losses(named, folder)
        assert found is not None
        assert found.equals(losses())
    assert open_losses("another", folder) is None
    assert open_losses("runs:/0123", folder) is None
    path.with_name("losses.parquet").write_bytes(b"no parquet")
    with pytest.raises(StorageError, match="cannot be read"):
        open_losses("icl-vs-ift", folder)


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
