"""The text files of the built-in prompt components. Knows their names and nothing of what is done with them."""

from functools import cache
from typing import Any

from ablations.core.errors import PromptError
from ablations.core.jsonl import DATA, read_rows


def read_text(name: str) -> str:
    """Return the text of a file that ships with the project."""
    return (DATA / name).read_text(encoding="utf-8")


@cache
def read_lines(name: str) -> tuple[dict[str, Any], ...]:
    """Return the rows of a JSON lines file that ships with the project."""
    return tuple(row for _, row in read_rows(DATA / name, name, PromptError))
