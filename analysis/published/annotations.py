"""Annotations: AlpacaEval's published files, read and checked.

Knows the files' columns and how each value is read; computes no rate.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ablations.core.errors import UsageError, reason
from ablations.core.jsonl import JsonObject

TEXTS = ("instruction", "output_1", "output_2", "generator_1", "generator_2")
DRAW = 1.5
_GAMED_NUMBERS = ("preference", "std_delta_len", "instruction_difficulty")
_BOOLEANS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def read_annotations(path: Path) -> pl.DataFrame:
    """Return an `annotations.json` of AlpacaEval, one row per comparison, in the file's order.

    Columns: index (of the instruction: the file's own, or the row's position from 0, as upstream has it),
    instruction, output_1 (the baseline's answer), output_2 (the model's), generator_1, generator_2, and
    preference (1 = baseline to 2 = model; null where left out). A preference of 0 is an old way to write a
    draw and is read as 1.5; a missing, null or NaN one and any number outside 1 to 2, such as the -1 of a
    failed annotation, is left out. Every row counts, also where an instruction comes twice: upstream drops
    repetitions before it annotates, and none afterwards.

    Raises:
        UsageError: the file cannot be read, is no list of such rows, or holds several models or baselines.
    """
    rows = _json_rows(path)
    columns: dict[str, list[Any]] = {"index": _indices(path, rows)}
    for name in TEXTS:
        columns[name] = [_text(path, number, row, name) for number, row in enumerate(rows, 1)]
    columns["preference"] = [_preference(path, number, row) for number, row in enumerate(rows, 1)]
    for name in ("generator_1", "generator_2"):
        for number, value in enumerate(columns[name], 1):
            if value != columns[name][0]:
                raise _wrong(
                    path,
                    number,
                    f"{name} is {value!r}, above it is {columns[name][0]!r}",
                    "give a file with one model and one baseline",
                )
    texts = dict.fromkeys(TEXTS, pl.String)
    return pl.DataFrame(columns, schema={"index": pl.Int64, **texts, "preference": pl.Float64})


def read_difficulty(path: Path) -> pl.DataFrame:
    """Return an `instruction_difficulty.csv` of AlpacaEval's hub data set: columns index, instruction_difficulty.

    The file has two columns, the instruction's index and its difficulty (log-odds), under any names.

    Raises:
        UsageError: the file cannot be read, has other columns, or names an instruction twice.
    """
    table = _csv(path)
    if table.width != 2:
        raise UsageError(
            f"{path}: {table.width} columns ({', '.join(table.columns)}), expected two: an instruction's index and "
            "its difficulty; give AlpacaEval's instruction_difficulty.csv"
        )
    numbers = [_whole(path, number, "index", text) for number, text in enumerate(table.to_series(0), 1)]
    values = [_number(path, number, "difficulty", text) for number, text in enumerate(table.to_series(1), 1)]
    seen: dict[int, int] = {}
    for number, index in enumerate(numbers, 1):
        if index in seen:
            raise _wrong(path, number, f"index {index} is also in row {seen[index]}", "keep one of them")
        seen[index] = number
    return pl.DataFrame(
        {"index": numbers, "instruction_difficulty": values},
        schema={"index": pl.Int64, "instruction_difficulty": pl.Float64},
    )


def read_gamed(path: Path) -> pl.DataFrame:
    """Return a `df_gamed.csv` of AlpacaEval's hub data set: how the judge saw the verbose and concise baselines.

    Columns: index, preference (0 = baseline to 1 = gamed baseline; null where missing), std_delta_len (length
    difference over its standard deviation), instruction_difficulty (log-odds), not_gamed_baseline (false on
    every row of the published file). Other columns of the file are left out.

    Raises:
        UsageError: the file cannot be read, lacks a column, or has a value of another kind.
    """
    table = _csv(path)
    expected = ("index", *_GAMED_NUMBERS, "not_gamed_baseline")
    lacking = [name for name in expected if name not in table.columns]
    if lacking:
        raise UsageError(f"{path}: no column {', '.join(lacking)}; give AlpacaEval's df_gamed.csv")
    columns: dict[str, list[Any]] = {name: [] for name in expected}
    for number, row in enumerate(table.iter_rows(named=True), 1):
        columns["index"].append(_whole(path, number, "index", row["index"]))
        for name in _GAMED_NUMBERS:
            missing = name == "preference" and (row[name] or "").strip().lower() in ("", "nan")
            columns[name].append(None if missing else _number(path, number, name, row[name]))
        share = columns["preference"][-1]
        if share is not None and not 0 <= share <= 1:
            raise _wrong(path, number, f"preference is {share}", "it lies between 0 and 1 here")
        columns["not_gamed_baseline"].append(_boolean(path, number, "not_gamed_baseline", row["not_gamed_baseline"]))
    numbers = dict.fromkeys(_GAMED_NUMBERS, pl.Float64)
    return pl.DataFrame(columns, schema={"index": pl.Int64, **numbers, "not_gamed_baseline": pl.Boolean})


def _json_rows(path: Path) -> list[JsonObject]:
    try:
        content = json.loads(_content(path))
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path} is no JSON: {error.msg} at line {error.lineno}, column {error.colno}; "
            "give an annotations.json of AlpacaEval"
        ) from error
    if not isinstance(content, list) or not content:
        found = "an empty list" if content == [] else f"a JSON {type(content).__name__}"
        raise UsageError(f"{path} holds {found}, not a list of annotations; give an annotations.json of AlpacaEval")
    for number, row in enumerate(content, 1):
        if not isinstance(row, dict):
            raise _wrong(path, number, f"{row!r} is no object", f"every row needs {', '.join(TEXTS)}, preference")
    if not any("preference" in row for row in content):
        raise UsageError(f"{path}: no row has a preference; give the file the annotator wrote, not the model's outputs")
    return content


def _indices(path: Path, rows: Sequence[JsonObject]) -> list[int]:
    if not any("index" in row for row in rows):
        return list(range(len(rows)))
    for number, row in enumerate(rows, 1):
        index = row.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            raise _wrong(path, number, f"index is {index!r}", "give every row a whole number as index, or none of them")
    return [row["index"] for row in rows]


def _text(path: Path, number: int, row: JsonObject, name: str) -> str:
    if name not in row:
        raise _wrong(path, number, f"no {name}", f"every row needs {', '.join(TEXTS)}")
    if not isinstance(row[name], str):
        raise _wrong(path, number, f"{name} is {row[name]!r}", 'give a text, "" for an empty answer')
    return str(row[name])


def _preference(path: Path, number: int, row: JsonObject) -> float | None:
    value = row.get("preference")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(
            path, number, f"preference is {value!r}", "give a number, 1 (baseline) to 2 (model), or null where missing"
        )
    if value == 0:
        return DRAW
    return float(value) if 1 <= value <= 2 else None


def _csv(path: Path) -> pl.DataFrame:
    try:
        table = pl.read_csv(_content(path).encode(), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise UsageError(
            f"{path} is no CSV table: {str(error).splitlines()[0]}; give the hub's file as it is"
        ) from error
    if table.is_empty():
        raise UsageError(f"{path} has no rows; give the hub's file as it is")
    return table


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}; name an existing file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start}); give the published file") from error


def _whole(path: Path, number: int, name: str, text: str | None) -> int:
    value = _number(path, number, name, text)
    if not value.is_integer():
        raise _wrong(path, number, f"{name} is {text!r}", "give a whole number")
    return int(value)


def _number(path: Path, number: int, name: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _wrong(path, number, f"{name} is {text!r}", "give a number")
    return value


def _boolean(path: Path, number: int, name: str, text: str | None) -> bool:
    value = _BOOLEANS.get((text or "").strip().lower())
    if value is None:
        raise _wrong(path, number, f"{name} is {text!r}", "give True or False")
    return value


def _wrong(path: Path, number: int, what: str, remedy: str) -> UsageError:
    """Return the error of one row; rows count from 1, a table's header not included."""
    return UsageError(f"{path}, row {number}: {what}; {remedy}")
