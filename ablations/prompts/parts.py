"""Named prompt components -> PromptParts: the rules and demonstrations written for this project.

Knows neither queries nor models.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from ablations.conditions import Demonstration, PromptParts
from ablations.errors import ConditionError, PromptError, nearest
from ablations.prompts.formats import find_headings

RULES = ("full", "short", "none")
DEFAULT_DEMONSTRATIONS = 3


@cache
def built_in_rules(name: str) -> str:
    """Return the text of the rules called `name`; raise `ConditionError` for an unknown name."""
    if name not in RULES:
        raise ConditionError(f"rules = {name!r} is not known; {nearest(name, RULES)}")
    return "" if name == "none" else _data(f"rules_{name}.txt")


@cache
def built_in_demonstrations() -> tuple[Demonstration, ...]:
    """Return the demonstrations written for this project, in their order of use."""
    return tuple(Demonstration(**json.loads(line)) for line in _data("demonstrations.jsonl").splitlines())


def build_parts(
    rules: str = "full", headings: str = "urial", demonstrations: int = DEFAULT_DEMONSTRATIONS
) -> PromptParts:
    """Return the built-in components by name and count.

    Raises:
        ConditionError: an unknown name, or more demonstrations than there are.
    """
    pool = built_in_demonstrations()
    if isinstance(demonstrations, bool) or not isinstance(demonstrations, int):
        raise ConditionError(f"demonstrations = {demonstrations!r} is not a whole number; give 0 to {len(pool)}")
    if not 0 <= demonstrations <= len(pool):
        raise ConditionError(f"demonstrations = {demonstrations} is out of range; the project has 0 to {len(pool)}")
    return PromptParts(
        rules=built_in_rules(rules),
        headings=find_headings(headings),
        demonstrations=pool[:demonstrations],
        rules_name=rules,
    )


def read_prompt_file(path: Path, headings: str = "urial") -> PromptParts:
    """Return parts whose rules are the file's whole text, and which have no demonstrations of their own.

    So a prompt file of URIAL or of Zhao et al. is used as it is, byte for byte.

    Raises:
        PromptError: the file cannot be read as UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"prompt file {path} cannot be read: {error}; give a UTF-8 text file") from error
    return PromptParts(rules=text, headings=find_headings(headings), rules_name=path.name)


def _data(name: str) -> str:
    return (files("ablations") / "data" / name).read_text(encoding="utf-8")
