"""Claims about a report at the terminal: it fits, nothing is cut, and what is not text stays text."""

import io
from collections.abc import Callable
from functools import cache

import polars as pl
import pytest
from rich.console import Console

from ablations.cli.render import fold, layout, show
from ablations.studies.alignment.findings import summarise as alignment
from ablations.studies.conditions.findings import summarise as conditions
from ablations.studies.greedy.findings import summarise as greedy
from ablations.studies.icl_vs_ift.findings import summarise as icl_vs_ift
from ablations.studies.kind import Results
from analysis.report.page import About, Report, Section
from analysis.report.tables import make_table, signed
from tests.support.recorded import losses, models, recorded, results
from tests.support.temperatures import make_results

WIDTHS = (40, 80, 200)
KINDS: dict[str, Callable[[], Report]] = {
    "components": lambda: conditions(results("components-loo")).report(About("s")),
    "confirmed": lambda: conditions(
        Results("s", recorded("decoding"), confirmation=recorded("decoding.confirmation"))
    ).report(About("s", judging=("Judging: 3 calls, $0.0001.",))),
    "many-shot": lambda: conditions(results("many-shot")).report(About("s")),
    "greedy": lambda: greedy(results("greedy-search")).report(About("s")),
    "icl-vs-ift": lambda: icl_vs_ift(results("icl-vs-ift", losses=losses())).report(About("s")),
    "alignment": lambda: alignment(models()).report(About("s")),
}
HOSTILE = (
    "a_parameter_whose_name_is_longer_than_any_column_could_be_at_eighty_characters",
    "[bold]markup[/bold]",
    '["[/INST]", "[end]", "# Query:"]',
    "temperature=0.6 top_p=0.8 repetition_penalty=1.15 max_tokens=32 stop=headings",
    "",
)


@cache
def report_of(kind: str) -> Report:
    return KINDS[kind]()


def shown(report: Report, width: int, brief: bool = True) -> str:
    text = io.StringIO()
    show(Console(file=text, width=width, soft_wrap=True), report, brief)
    return text.getvalue()


def bare(text: str) -> str:
    """A text without its blanks, which is what may be lost where a line ends."""
    return "".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_report_fits_and_ends_with_its_headline(kind: str, width: int) -> None:
    report = report_of(kind)
    text = shown(report, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert bare(text).endswith(bare(report.headline))


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_and_no_heading_of_a_brief_table_is_lost_at_80_columns(kind: str) -> None:
    for section in report_of(kind).brief:
        for table in (table.brief() for table in section.tables):
            if table.rows:
                lines = [line.plain for line in layout(table, 80)]
                words = {word for row in (table.columns, *table.rows) for text in row for word in text.split()}
                assert words <= set(" ".join(lines).split())


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_a_report_is_shown_where_it_is_asked_for(kind: str) -> None:
    text = shown(report_of(kind), 80, brief=False)
    assert max(map(len, text.splitlines())) <= 80
    for section in report_of(kind).sections:
        assert section.title in text
        assert all(bare(paragraph) in bare(text) for paragraph in (*section.text, *section.statements))


@pytest.mark.parametrize("width", [20, *WIDTHS])
def test_hostile_names_and_markup_are_shown_as_they_are(width: int) -> None:
    frame = pl.DataFrame({"parameter": HOSTILE, "to": HOSTILE[::-1], "change": [1.0, -2.0, 0.0, 0.5, 3.0]})
    columns = {"parameter": "parameter", "to": "to", "change [points]": signed("change")}
    table = make_table("[red]caption[/red]", frame, columns, "[/INST] note")
    section = Section("[title]", (), ("[bold]said[/bold] of [/INST]",), tables=(table,), brief=True)
    text = shown(Report(About("s"), "The best is [bold]x[/bold] [/INST].", (section,)), width)
    assert max(map(len, text.splitlines())) <= width
    for expected in (*HOSTILE[1:3], "[red]caption[/red]", "[/INST] note", "[bold]said[/bold] of [/INST]", "[title]"):
        assert all(word in text for word in expected.split() if len(word) <= 16)
    assert all(f"{change:+.2f}" in text for change in frame.get_column("change"))
    if width == 200:
        assert all(name in text for name in HOSTILE)


def test_a_parameters_name_stands_unbroken_at_80_columns_beside_long_values() -> None:
    names = ["repetition_penalty", "presence_penalty", "a_parameter_that_somebody_named_in_forty_signs"]
    values = ['["# Query:", "# Answer:", "[/INST]"]', "x" * 200, "a value of several words that goes on and on " * 3]
    frame = pl.DataFrame({"parameter": names, "from": values, "to": values[::-1], "x": [1.0, 2.0, 3.0]})
    columns = {"parameter": "parameter", "from": "from", "to": "to", "change": signed("x"), "again": signed("x")}
    lines = [line.plain for line in layout(make_table("t", frame, columns), 80)]
    assert all(any(name in line for line in lines) for name in names)
    assert sum(line.count("x") for line in lines) >= 400  # both long values, whole
    assert max(map(len, lines)) <= 80


def test_text_is_folded_at_blanks_first_and_loses_nothing_else() -> None:
    for width in (5, 9, 20):
        for text in HOSTILE:
            lines = fold(text, width)
            assert max(map(len, lines)) <= width
            assert bare("".join(lines)) == bare(text)
    assert fold("one two", 4) == ["one", "two"]
    assert fold("", 10) == [""]


def test_a_table_in_which_everything_fits_has_a_line_for_each_row() -> None:
    table = conditions(Results("s", make_results(trials=6))).report(About("s"))["Effects"].tables[0].brief()
    assert len(layout(table, 200)) == 1 + len(table.rows)


def test_a_section_that_is_not_brief_or_says_nothing_is_left_out() -> None:
    page = make_table("t", pl.DataFrame({"a": ["x"]}), {"a": "a"}, short=())
    sections = (
        Section("not brief", statements=("n",)),
        Section("only how it is read", ("text",), brief=True),
        Section("only for a page", tables=(page,), brief=True),
        Section("brief", statements=("said",), brief=True),
    )
    text = shown(Report(About("s"), "headline", sections), 80)
    assert text.split("\n") == ["", "brief", "said", "", "headline", ""]
