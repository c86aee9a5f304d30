"""Claims about a page: figures are drawn when they are asked for, once."""

from matplotlib.figure import Figure

from analysis.report.page import About, Figures, Report, Section


def counted(drawn: list[str], *names: str) -> Figures:
    def draw(name: str) -> Figure:
        drawn.append(name)
        return Figure()

    return Figures({name: lambda name=name: draw(name) for name in names})  # type: ignore[misc]


def test_a_figure_is_drawn_when_it_is_asked_for_and_once() -> None:
    drawn: list[str] = []
    report = Report(About("s"), "h", (Section("a", figures=counted(drawn, "one", "two")), Section("b", brief=True)))
    assert list(report.figures) == ["one", "two"]
    assert "one" in report.figures
    assert len(report.figures) == 2
    assert [section.title for section in report.brief] == ["b"]
    assert drawn == []
    assert report.figures["one"] is report.figures["one"] is report["a"].figures["one"]
    assert drawn == ["one"]


def test_some_figures_are_chosen_by_how_their_names_begin_in_that_order() -> None:
    drawn: list[str] = []
    whole = counted(drawn, "cost", "race_1", "race_2")
    some = whole.some("race_", "cost", "c")
    assert list(some) == ["race_1", "race_2", "cost"]
    assert some["cost"] is whole["cost"]
    assert drawn == ["cost"]


def test_a_section_that_only_says_how_it_is_read_is_empty() -> None:
    assert Section("t", ("how",)).empty
    assert not Section("t", statements=("n",)).empty
    assert Report(About("s"), "h", ())["nothing"].empty


def test_facts_are_added_replaced_and_removed_by_name() -> None:
    about = About("s", (("model", "m"), ("seed", "7"))).having(model="n", trials="3 arms", seed="", two_words="x")
    assert about.facts == (("model", "n"), ("trials", "3 arms"), ("two words", "x"))
