"""JSON: values with a round trip, and rows of files, each with a text that says where it stands.

Knows neither queries nor judges; what a row must hold is its caller's.
"""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ablations.core.errors import UserError, reason

DATA = Path(__file__).resolve().parents[1] / "data"
"""Folder of the texts and tables that ship with the project."""
JsonObject = dict[str, Any]
"""An object as JSON holds it, before it has become a record."""


@dataclass(frozen=True)
class Record:
    """A frozen value with a JSON round trip: `type(r).from_json(r.to_json()) == r`."""

    def to_dict(self) -> JsonObject:
        """Return the fields as plain JSON types."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, fields: JsonObject) -> Self:
        """Build the record from what `to_dict` returned."""
        return cls(**fields)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Build the record from what `to_json` returned."""
        return cls.from_dict(json.loads(line))


def read_rows(path: Path, name: str, error: type[UserError]) -> Iterator[tuple[str, JsonObject]]:
    """Yield each row of a UTF-8 file that holds one JSON list of objects, or one JSON object a line.

    Args:
        path: the file.
        name: what messages call it; a row stands at "NAME line 3", or "NAME item 3" of a list.
        error: raised where the file cannot be read or a row is no object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"{name} cannot be read: {reason(cause)}; give a UTF-8 file of JSON rows") from cause
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as cause:
            raise error(f"{name} line {cause.lineno} is not valid JSON: {cause.msg}; correct that line") from cause
        for number, row in enumerate(rows, start=1):
            yield _object(row, f"{name} item {number}", error)
        return
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: a text may hold U+2028
        if line.strip():
            where = f"{name} line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as cause:
                raise error(
                    f"{where} is not valid JSON: {cause.msg} at column {cause.colno}; correct that line"
                ) from cause
            yield _object(row, where, error)


def _object(row: object, where: str, error: type[UserError]) -> tuple[str, JsonObject]:
    if not isinstance(row, dict):
        raise error(f"{where} is not an object but {type(row).__name__}; give one JSON object a row")
    return where, row
