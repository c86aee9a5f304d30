"""Claims about the reader of JSON rows."""

from pathlib import Path

import pytest

from ablations.core.errors import QueryError
from ablations.core.jsonl import read_rows


def read(folder: Path, text: str) -> list[tuple[str, dict[str, object]]]:
    path = folder / "rows"
    path.write_text(text, encoding="utf-8")
    return list(read_rows(path, "mine", QueryError))


def test_lines_and_lists_hold_the_same_rows_each_with_its_place(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": 1}\n\n{"a": 2}\n') == [("mine line 1", {"a": 1}), ("mine line 3", {"a": 2})]
    assert read(tmp_path, '\n[{"a": 1},\n {"a": 2}]') == [("mine item 1", {"a": 1}), ("mine item 2", {"a": 2})]


def test_a_line_separator_inside_a_text_ends_no_row(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": "one\u2028two\x85three"}\n') == [("mine line 1", {"a": "one\u2028two\x85three"})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a"\n', "mine line 2 is not valid JSON: .* at column 5; correct that line"),
        ('[{"a": 1},\n}]', "mine line 2 is not valid JSON: .* correct that line"),
        ("[1]", "mine item 1 is not an object but int"),
        ('"a"\n', "mine line 1 is not an object but str"),
    ],
)
def test_a_broken_row_is_named_by_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        read(tmp_path, text)


def test_a_file_that_is_no_text_or_absent_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("bytes", "absent"):
        with pytest.raises(QueryError, match=r"mine cannot be read: .*; give a UTF-8 file"):
            list(read_rows(tmp_path / name, "mine", QueryError))
