"""Claims about a report's tables: what a cell says, which rows and columns a terminal shows."""

import polars as pl

from analysis.report.tables import (
    IDENTICAL,
    difference_interval,
    effect_interval,
    interval,
    largest,
    make_table,
    mean_interval,
    outcomes,
    p_value,
    rows_of,
    share,
    side_by_side,
    signed,
)


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


def test_equal_scores_are_called_identical_whatever_the_width() -> None:
    same = {"difference": 0.0, "low": -0.1, "high": 0.1, "wins": 0, "losses": 0}
    assert effect_interval(same) == difference_interval(same) == IDENTICAL
    other = {"difference": -0.001, "low": -0.2, "high": 0.2}
    assert difference_interval(other) == "+0.00 [-0.20, +0.20]"
    assert difference_interval(other | {"verdict": "open"}) == "+0.00 [-0.20, +0.20] open"
    assert make_table("t", pl.DataFrame([same]), {"interval": effect_interval}).numeric == (True,)


def test_a_mean_without_an_interval_stands_alone() -> None:
    assert mean_interval({"mean": 3.0, "low": None, "high": None}) == "3.00"
    assert mean_interval({"mean": None, "low": None, "high": None}) == "–"


def test_a_terminal_is_shown_the_rows_and_columns_that_are_marked_so() -> None:
    frame = pl.DataFrame({"name": list("abc"), "x": [1.0, -3.0, 2.0], "n": [1, 2, 3]})
    table = make_table("t", frame, {"name": "name", "x": signed("x"), "n": "n"}, "mind", ("n",), largest(frame, "x", 2))
    brief = table.brief()
    assert (brief.columns, brief.rows) == (("name", "x"), (("b", "-3.00"), ("c", "+2.00")))
    assert (brief.numeric, brief.note) == ((False, True), "mind")
    assert "2 of 3 rows" in brief.caption
    assert make_table("t", frame, {"x": "x"}, short=()).brief().rows == ()
    assert make_table("t", frame, {"x": "x"}).brief().caption == "t"


def test_values_of_one_column_stand_side_by_side_and_what_is_missing_is_a_dash() -> None:
    frame = pl.DataFrame({"k": ["a", "a", "b"], "turn": ["1", "2", "2"], "mean": [1.0, 2.0, 3.0], "n": [4, 5, 6]})
    frame = frame.with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64))
    table = side_by_side("t", frame, {"key": "k"}, "turn", mean_interval, {"n": "n"})
    assert table.columns == ("key", "1", "2", "n")
    assert table.rows == (("a", "1.00", "2.00", "5"), ("b", "–", "3.00", "6"))
