"""Claims about a report's page: that it needs nothing else, and that both of its forms say the same."""

import re
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from ablations.core.errors import StorageError
from ablations.studies.conditions.findings import summarise
from analysis.examples import read_examples, telling_conditions
from analysis.report.page import About, Report
from analysis.report.render import ExamplesPage, write_report
from tests.support.html import Reader
from tests.support.recorded import recorded, results

ABOUT = About("a <study>", (("model", "gemma & co"), ("judge", "reference")), description="what <it> is about")


@cache
def components() -> Report:
    """The report of a real study, small enough that importances are withheld."""
    return summarise(results("components-loo")).report(ABOUT)


def written(report: Report, folder: Path) -> tuple[str, str]:
    html, markdown = write_report(report, folder)
    return html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the report of `components()` lies, written once."""
    path = tmp_path_factory.mktemp("report")
    write_report(components(), path)
    return path


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def markdown(folder: Path) -> str:
    return (folder / "report.md").read_text(encoding="utf-8")


def test_the_page_needs_nothing_else_and_is_well_formed(html: str) -> None:
    page = Reader(html)
    assert page.open == []
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.loaded)
    assert sum(address.startswith("data:") for address in page.loaded) == sum(
        len(section.figures) for section in components().sections
    )


def test_what_users_and_models_wrote_is_shown_as_text(html: str) -> None:
    assert "a &lt;study&gt;" in html
    assert "gemma &amp; co" in html
    hostile = recorded("components-loo").with_columns(answer=pl.lit("<script>alert(1)</script>"))
    page = ExamplesPage(read_examples(hostile, telling_conditions(hostile)))._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_both_forms_have_headline_sections_tables_and_answers(html: str, markdown: str, folder: Path) -> None:
    text = " ".join("".join(Reader(html).text).split())
    assert components().headline in text
    assert f"**{components().headline}**" in markdown
    assert "what <it> is about" in text
    for section in components().sections:
        assert section.title in text
        assert all(" ".join(sentence.split()) in text for sentence in section.statements)
        assert all(f"- {sentence}\n" in markdown for sentence in section.statements)
        assert f"## {section.title}" in markdown
        for table in section.tables:
            assert table.caption in text
            assert f"**{table.caption}**" in markdown
            assert all(cell in text for cell in table.rows[0] if cell.strip())
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert pictures
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_a_markdown_table_has_as_many_cells_in_every_line(markdown: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) > 5
    for table in tables:
        cells = {line.replace("\\|", "").count("|") for line in table.splitlines()}
        assert len(cells) == 1, table[:300]


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="report cannot be written"):
        write_report(Report(ABOUT, "h", ()), tmp_path / "file")
