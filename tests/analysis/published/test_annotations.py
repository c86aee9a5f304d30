"""AlpacaEval's files: each value is read as upstream reads it, and each bad file is named with its row."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ablations.core.errors import UsageError
from analysis.published.annotations import read_annotations, read_difficulty, read_gamed


def annotation(**changes: Any) -> dict[str, Any]:
    row = {
        "instruction": "Name a colour.",
        "output_1": "Blue.",
        "output_2": "Red, for instance.",
        "generator_1": "gpt4_1106_preview",
        "generator_2": "model",
        "annotator": "weighted_alpaca_eval_gpt4_turbo",
        "preference": 1.25,
        "raw_completion": {"index": 0},
    }
    row.update(changes)
    return {name: value for name, value in row.items() if value != "absent"}


def write(folder: Path, content: Any) -> Path:
    path = folder / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (1, 1.0),
        (2.0, 2.0),
        (1.9900139974, 1.9900139974),
        (0, 1.5),
        (0.0, 1.5),
        (None, None),
        (math.nan, None),
        (-1, None),
        (2.5, None),
        (math.inf, None),
        ("absent", None),
    ],
)
def test_a_preference_is_read_as_upstream_reads_it(tmp_path: Path, written: Any, read: float | None) -> None:
    frame = read_annotations(write(tmp_path, [annotation(), annotation(preference=written)]))
    assert frame.get_column("preference").to_list() == [1.25, read]


def test_rows_keep_their_order_texts_and_repetitions(tmp_path: Path) -> None:
    frame = read_annotations(write(tmp_path, [annotation(output_2="a"), annotation(output_2=""), annotation()]))
    assert frame.get_column("index").to_list() == [0, 1, 2]
    assert frame.get_column("output_2").to_list() == ["a", "", "Red, for instance."]


def test_an_index_of_the_rows_own_is_kept(tmp_path: Path) -> None:
    frame = read_annotations(write(tmp_path, [annotation(index=7), annotation(index=3)]))
    assert frame.get_column("index").to_list() == [7, 3]


@pytest.mark.parametrize(
    ("content", "found", "remedy"),
    [
        ("", "is no JSON: Expecting value at line 1", "annotations.json"),
        ('[{"instruction": ', "is no JSON", "annotations.json"),
        ("{}", "holds a JSON dict", "annotations.json"),
        ("[]", "holds an empty list", "annotations.json"),
        ([annotation(), 3], "row 2: 3 is no object", "every row needs"),
        ([annotation(preference="absent")], "no row has a preference", "the annotator wrote"),
        ([annotation(), annotation(output_2="absent")], "row 2: no output_2", "every row needs"),
        ([annotation(output_1=None)], "row 1: output_1 is None", "an empty answer"),
        ([annotation(instruction=["a"])], "row 1: instruction is ['a']", "give a text"),
        ([annotation(), annotation(preference="m")], "row 2: preference is 'm'", "give a number"),
        ([annotation(preference=True)], "row 1: preference is True", "give a number"),
        ([annotation(index=1), annotation()], "row 2: index is None", "or none of them"),
        ([annotation(index=1.5)], "row 1: index is 1.5", "a whole number"),
        ([annotation(), annotation(generator_2="b")], "row 2: generator_2 is 'b', above it is 'model'", "one model"),
        ([annotation(), annotation(generator_1="b")], "row 2: generator_1 is 'b'", "one baseline"),
    ],
)
def test_a_bad_file_of_annotations_is_named(tmp_path: Path, content: Any, found: str, remedy: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        read_annotations(path)
    message = str(caught.value)
    assert str(path) in message
    assert found in message
    assert remedy in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"[\xff\xfe]")
    with pytest.raises(UsageError, match=r"binary\.json is not UTF-8 text \(byte 1\)"):
        read_annotations(binary)
    for read in (read_annotations, read_difficulty, read_gamed):
        with pytest.raises(UsageError, match="absent cannot be read: No such file"):
            read(tmp_path / "absent")
        with pytest.raises(UsageError, match="cannot be read: Is a directory"):
            read(tmp_path)


@pytest.mark.parametrize("header", [",instruction_difficulty", "index,instruction_difficulty", "index,0"])
def test_difficulties_are_read_under_any_names(tmp_path: Path, header: str) -> None:
    path = tmp_path / "instruction_difficulty.csv"
    path.write_text(f"{header}\n0,-1.5\n2,0.25\n", encoding="utf-8")
    assert read_difficulty(path).rows() == [(0, -1.5), (2, 0.25)]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "is no CSV table"),
        ("index,difficulty\n", "has no rows"),
        ("index\n0\n", "1 columns (index), expected two"),
        ("index,difficulty,x\n0,1,2\n", "3 columns"),
        ("index,difficulty\n0,1\n1,hard\n", "row 2: difficulty is 'hard'"),
        ("index,difficulty\n0,\n", "row 1: difficulty is None"),
        ("index,difficulty\n0.5,1\n", "row 1: index is '0.5'"),
        ("index,difficulty\n0,nan\n", "row 1: difficulty is 'nan'"),
        ("index,difficulty\n0,1\n1,2,3\n", "is no CSV table"),
        ("index,difficulty\n4,1\n5,1\n4,2\n", "row 3: index 4 is also in row 1"),
    ],
)
def test_a_bad_file_of_difficulties_is_named(tmp_path: Path, content: str, found: str) -> None:
    path = tmp_path / "difficulty.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_difficulty(path)
    assert str(path) in str(caught.value)
    assert found in str(caught.value)


GAMED = "index,model,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"


def test_gamed_baselines_are_read_with_their_missing_preferences(tmp_path: Path) -> None:
    path = tmp_path / "df_gamed.csv"
    path.write_text(f"{GAMED}\n0,verbose,0.75,-1.5,0.5,False\n1,verbose,,1,0,false\n", encoding="utf-8")
    assert read_gamed(path).rows() == [(0, 0.75, -1.5, 0.5, False), (1, None, 1.0, 0.0, False)]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("index,preference\n0,1\n", "no column std_delta_len, instruction_difficulty, not_gamed_baseline"),
        (f"{GAMED}\n0,m,1.5,0,0,False\n", "row 1: preference is 1.5"),
        (f"{GAMED}\n0,m,1,0,0,False\n0,m,1,long,0,False\n", "row 2: std_delta_len is 'long'"),
        (f"{GAMED}\n0,m,1,0,,False\n", "row 1: instruction_difficulty is None"),
        (f"{GAMED}\n0,m,1,0,0,maybe\n", "row 1: not_gamed_baseline is 'maybe'"),
        (f"{GAMED}\nx,m,1,0,0,False\n", "row 1: index is 'x'"),
    ],
)
def test_a_bad_file_of_gamed_baselines_is_named(tmp_path: Path, content: str, found: str) -> None:
    path = tmp_path / "df_gamed.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_gamed(path)
    assert str(path) in str(caught.value)
    assert found in str(caught.value)
