"""Named prompt components -> PromptParts: the rules and demonstrations written for this project.

Knows neither queries nor models.
"""

from functools import cache
from pathlib import Path

from ablations.conditions import Demonstration, PromptParts
from ablations.errors import ConditionError, nearest
from ablations.prompts.arrangement import match_answers, put_in_order
from ablations.prompts.built_in import read_lines, read_text
from ablations.prompts.formats import find_headings
from ablations.prompts.prompt_file import read_prompt_text

RULES = ("full", "short", "none")
STYLES = ("warm", "steps", "plain", "terse")
"""How demonstrations are written: URIAL's way, with a warm opening and closing around structured content; the
structured content alone; prose; one line."""
DEFAULT_DEMONSTRATIONS = 3
_FENCED = {"full": "; each text is enclosed between two lines of triple backticks (```)"}
_FENCED["short"] = ", all enclosed between lines of triple backticks (```)"


@cache
def built_in_rules(name: str, headings: str = "urial") -> str:
    """Return the text of the rules called `name`, which explain these headings.

    Raises:
        ConditionError: an unknown name.
    """
    if name not in RULES:
        raise ConditionError(f"rules = {name!r} is not known; {nearest(name, RULES)}")
    if name == "none":
        return ""
    shown = find_headings(headings)
    fenced = _FENCED[name] if shown.fence else ""
    text = read_text(f"rules_{name}.txt").replace("{query}", shown.query).replace("{answer}", shown.answer)
    return text.replace("{fenced}", fenced) + ("\n" if shown.inline else "")


@cache
def built_in_demonstrations(style: str = STYLES[0]) -> tuple[Demonstration, ...]:
    """Return the demonstrations written for this project, in their order of use and one of `STYLES`.

    Raises:
        ConditionError: an unknown style.
    """
    if style not in STYLES:
        raise ConditionError(f"style = {style!r} is not known; {nearest(style, STYLES)}")
    rows = read_lines("demonstrations.jsonl")
    return tuple(Demonstration(row["id"], row["query"], row["answers"][style]) for row in rows)


def build_parts(
    rules: str = "full",
    headings: str = "urial",
    demonstrations: int = DEFAULT_DEMONSTRATIONS,
    style: str = STYLES[0],
    order: str = "given",
    matching: str = "correct",
) -> PromptParts:
    """Return the built-in components by name and count.

    The answers are matched to the queries shown before these are put in order, so that an order never changes who is
    answered by what.

    Raises:
        ConditionError: an unknown name, or more demonstrations than there are.
    """
    pool = built_in_demonstrations(style)
    if isinstance(demonstrations, bool) or not isinstance(demonstrations, int):
        raise ConditionError(f"demonstrations = {demonstrations!r} is not a whole number; give 0 to {len(pool)}")
    if not 0 <= demonstrations <= len(pool):
        raise ConditionError(f"demonstrations = {demonstrations} is out of range; the project has 0 to {len(pool)}")
    return PromptParts(
        rules=built_in_rules(rules, headings),
        headings=find_headings(headings),
        demonstrations=put_in_order(match_answers(pool[:demonstrations], matching, pool), order),
        rules_name=rules,
        style=style,
        order=order,
        matching=matching,
    )


def read_prompt_file(path: Path, headings: str = "urial") -> PromptParts:
    """Return parts whose rules are the file's whole text, and which have no demonstrations of their own.

    So a prompt file of URIAL or of Zhao et al. is used as it is, byte for byte.

    Raises:
        PromptError: the file cannot be read as UTF-8 text.
    """
    return PromptParts(rules=read_prompt_text(path), headings=find_headings(headings), rules_name=path.name)
