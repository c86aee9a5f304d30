"""Claims about the report: what is on it, that it needs nothing else, and that both forms say the same."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from ablations.core.errors import StorageError
from ablations.studies.views.sources import open_models, open_results
from analysis.examples import read_examples, telling_conditions
from analysis.report import About, ExamplesPage, Report, models_report, search_report, study_report, write_report
from analysis.report.tables import interval, make_table, outcomes, p_value, rows_of, share, signed

MLRUNS = Path(__file__).parents[2] / "fixtures" / "mlruns"
ABOUT = About("a <study>", (("model", "gemma & co"), ("judge", "reference")))


@cache
def components() -> Report:
    """The report of a real study, small enough that importances are withheld."""
    return study_report(open_results("components-loo", MLRUNS), ABOUT)


class Reader(HTMLParser):
    """Collects what a page loads from elsewhere, its text, and tags that are left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loaded += [value for name, value in attributes if name in ("src", "href") and value]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


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
    hostile = open_results("components-loo", MLRUNS).with_columns(answer=pl.lit("<script>alert(1)</script>"))
    page = ExamplesPage(read_examples(hostile, telling_conditions(hostile)))._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_both_forms_have_headline_sections_tables_and_answers(html: str, markdown: str, folder: Path) -> None:
    text = " ".join("".join(Reader(html).text).split())
    assert components().headline in text
    assert f"**{components().headline}**" in markdown
    for section in components().sections:
        assert section.title in text
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


def test_a_figure_of_the_tables_is_that_of_the_findings() -> None:
    shapley = components()["Components"].tables[0]
    assert shapley.columns[:4] == ("component", "on", "off", "contribution")
    contributions = [float(row[3]) for row in shapley.rows]
    effects = components()["Effects"].tables[1]
    bare = next(row for row in effects.rows if "shots=0" in row[0] and "system_prompt=none" in row[0])
    assert sum(contributions) == pytest.approx(-float(bare[3]), abs=0.04)


def test_too_few_conditions_say_why_there_is_no_importance() -> None:
    importance = components()["Importance"]
    assert "No importance by fanova: 8 conditions are too few; fanova needs 10." in importance.text
    assert "importance" not in importance.figures


def test_a_confirmation_is_on_the_page_of_its_study() -> None:
    results = open_results("decoding", MLRUNS).filter(pl.col("trial").is_in([0, 1, 2, 3, 4, 11, 12]))
    confirmed = open_results("decoding.confirmation", MLRUNS)
    section = study_report(results, ABOUT, confirmed)["Confirmation"]
    assert "confirmation" in section.figures
    assert section.tables[0].rows[0][1].startswith("+0.29")
    assert study_report(results, ABOUT)["Confirmation"].tables == ()


def test_a_greedy_search_reports_its_races_and_the_held_back_queries() -> None:
    report = search_report(open_results("greedy-search", MLRUNS), ABOUT)
    assert "On 8 queries that chose nothing, the chosen prompt scores -0.20 [-0.86, +0.46]" in report.headline
    assert set(report["Races"].figures) == {"race_1", "race_2"}
    assert len(report["Races"].tables[0].rows) == 23
    assert report["Answers side by side"].examples


def test_models_side_by_side_have_their_gaps(tmp_path: Path) -> None:
    report = models_report(open_models("alignment", MLRUNS), ABOUT)
    assert report.headline.startswith("Gaps whose interval excludes 0: ")
    scores, gaps = report["Models side by side"].tables
    assert {row[0] for row in scores.rows} == {"gemma-3-270m", "smollm2-135m-instruct"}
    assert any("in context" in row[1] and "chat template" in row[0] for row in gaps.rows)
    assert "Models side by side" in written(report, tmp_path)[1]


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="report cannot be written"):
        write_report(models_report(open_models("alignment", MLRUNS), ABOUT), tmp_path / "file")


def test_cells_show_what_is_missing_and_never_minus_zero() -> None:
    assert signed("x")({"x": -0.0}) == "+0.00"
    assert signed("x")({"x": None}) == share("x")({"x": None}) == p_value("x")({"x": None}) == "–"
    assert interval()({"low": None, "high": None}) == "–"
    assert interval()({"low": -0.5, "high": 1}) == "[-0.50, +1.00]"
    assert p_value("x")({"x": 0.0001}) == "< 0.001"
    assert outcomes({"wins": 1, "draws": 2, "losses": 3}) == "1 / 2 / 3"


def test_a_long_table_keeps_the_largest_rows_and_says_so() -> None:
    frame = pl.DataFrame({"name": list("abc"), "x": [1.0, -3.0, 2.0]})
    kept, note = rows_of(frame, 2, "x")
    assert kept.get_column("name").to_list() == ["b", "c"]
    assert note == "The 2 largest of 3; all are in the results and in MLflow."
    assert rows_of(frame, 3, "x")[1] == ""
    table = make_table("t", frame, {"name": "name", "x": signed("x")}, note="mind")
    assert table.numeric == (False, True)
    assert table._repr_markdown_().endswith("\nmind\n")


def test_the_audit_of_the_judge_is_on_the_page_where_there_is_one() -> None:
    audit = {
        "control": ["empty", "shuffled words"],
        "wins": [9, 3],
        "pairs": [10, 10],
        "low": [0.6, 0.1],
        "high": [1.0, 0.6],
        "least": [0.8, 0.8],
        "passed": [True, False],
    }
    results = open_results("components-loo", MLRUNS)
    section = study_report(results, About("s", (), audit))["Audit of the judge"]
    assert "judge_audit" in section.figures
    assert section.tables[0].rows == (
        ("empty", "9 of 10", "[60%, 100%]", "80%", "yes"),
        ("shuffled words", "3 of 10", "[10%, 60%]", "80%", "no"),
    )
    assert components()["Audit of the judge"].tables == ()


def test_a_confirmed_study_has_the_confirmations_headline() -> None:
    results = open_results("decoding", MLRUNS).filter(pl.col("trial").is_in([0, 1, 2, 3, 4, 11, 12]))
    report = study_report(results, ABOUT, open_results("decoding.confirmation", MLRUNS))
    assert "on 8 held-back queries" in report.headline
    assert "best of" in study_report(results, ABOUT).headline


def test_a_search_whose_held_back_trial_failed_has_no_verdict() -> None:
    results = open_results("greedy-search", MLRUNS)
    failed = (
        pl.when(pl.col("label") == "held back: the chosen prompt").then(pl.lit("failed")).otherwise(pl.col("state"))
    )
    why = pl.lit("2 of 8 replies lacked a score")
    report = search_report(results.with_columns(state=failed, failed_because=why), ABOUT)
    assert report.headline == "No verdict: held back: the chosen prompt: 2 of 8 replies lacked a score."
    assert report["Races"].figures


def test_one_number_of_a_condition_stands_on_the_whole_page() -> None:
    """The condition temperature=0.6 has a replicate with other seeds."""
    results = open_results("decoding", MLRUNS).filter(pl.col("trial").is_in([0, 1, 2, 3, 4, 11, 12]))
    report = study_report(results, ABOUT)
    own = next(row for row in report["Effects"].tables[1].rows if row[0] == "temperature=0.6")
    base = next(row for row in report["Length, form and cost"].tables[1].rows if row[0] == "baseline")
    raw = next(row for row in report["Length, form and cost"].tables[0].rows if row[0] == "temperature=0.6")
    assert own[3] == raw[1]
    assert float(own[1]) - float(base[3]) == pytest.approx(float(own[3]), abs=0.011)
