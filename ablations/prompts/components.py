"""Named prompt components -> PromptParts: system prompts by name, demonstrations by how they are chosen and arranged.

Knows neither queries nor models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from ablations.core.errors import ConditionError, nearest
from ablations.core.prompt import Demonstration, PromptParts
from ablations.prompts.ordering import MATCHINGS, ORDERS, match_answers, put_in_order
from ablations.prompts.packaged import read_lines, read_text
from ablations.prompts.templates import find_template
from ablations.prompts.urial_file import read_prompt_text, read_urial

SYSTEM_PROMPTS = ("full", "short", "none")
STYLES = ("warm", "steps", "plain", "terse")
"""How demonstrations are written: URIAL's way, with a warm opening and closing around structured content; the
structured content alone; prose; one line."""
SOURCES = ("first", "random", "diverse", "greedy", "retrieved", "random-per-query")
"""How demonstrations are chosen from a pool; `datasets.selection` does it."""
DEFAULT_SHOTS = 3
_FENCED = {"full": "; each text is enclosed between two lines of triple backticks (```)"}
_FENCED["short"] = ", all enclosed between lines of triple backticks (```)"


@dataclass(frozen=True)
class Chosen:
    """Chosen demonstrations: those shown to all queries, or those of each query by its id."""

    common: tuple[Demonstration, ...] = ()
    by_query: tuple[tuple[str, tuple[Demonstration, ...]], ...] = ()


class Chooses(Protocol):
    """Chooses demonstrations from a pool, as `datasets.selection.Chooser` does."""

    @property
    def everything(self) -> Sequence[Demonstration]:
        """The whole pool."""
        ...

    @property
    def styled(self) -> bool:
        """Whether the pool has its demonstrations in several styles."""
        ...

    def choose(self, source: str, count: int, draw: int) -> Chosen:
        """Return `count` demonstrations; raise `ConditionError` where that cannot be."""
        ...


class FirstOnes:
    """Chooses the first of the built-in demonstrations."""

    styled = True

    @property
    def everything(self) -> Sequence[Demonstration]:
        """All built-in demonstrations."""
        return built_in_demonstrations()

    def choose(self, source: str, count: int, draw: int) -> Chosen:
        """Return the first `count`, whatever the draw; another source needs a pool."""
        del draw
        pool = self.everything
        if not count:
            return Chosen()
        if source != "first":
            raise ConditionError(f"source = {source!r} chooses from a pool, and none was given; use 'first'")
        if count > len(pool):
            raise ConditionError(f"shots = {count} is out of range; the project has 0 to {len(pool)}")
        return Chosen(tuple(pool[:count]))


@cache
def packaged_system_prompt(name: str, template: str = "urial") -> str:
    """Return the text of the system prompt called `name`, which explains a template's headings.

    Raises:
        ConditionError: an unknown name.
    """
    if name not in SYSTEM_PROMPTS:
        raise ConditionError(
            f"system_prompt = {name!r} is not known; {nearest(name, SYSTEM_PROMPTS)}, or a text file (*.txt)"
        )
    if name == "none":
        return ""
    shown = find_template(template)
    fenced = _FENCED[name] if shown.fence else ""
    text = read_text(f"system_prompt_{name}.txt").replace("{query}", shown.query).replace("{answer}", shown.answer)
    return text.replace("{fenced}", fenced) + ("\n" if shown.inline else "")


@cache
def built_in_demonstrations(style: str = STYLES[0]) -> tuple[Demonstration, ...]:
    """Return the demonstrations written for this project, in their order of use and one of `STYLES`.

    Raises:
        ConditionError: an unknown style.
    """
    check_component("style", style)
    rows = read_lines("demonstrations.jsonl")
    return tuple(Demonstration(row["id"], row["query"], row["answers"][style]) for row in rows)


def check_component(name: str, value: Any) -> None:
    """Raise `ConditionError` unless a prompt component can have `value`; how many there are is the pool's to say."""
    if name in ("shots", "draw"):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConditionError(f"{name} = {value!r} is not a whole number from 0 on; give one")
    elif not isinstance(value, str):
        raise ConditionError(f"{name} = {value!r} is not a name; give a text")
    elif name == "template":
        find_template(value)
    elif name == "system_prompt":
        _system_prompt(value, "urial")
    else:
        known: Sequence[str] = {"style": STYLES, "order": tuple(ORDERS), "matching": MATCHINGS, "source": SOURCES}[name]
        if value not in known:
            raise ConditionError(f"{name} = {value!r} is not known; {nearest(value, known)}")


def build_parts(
    system_prompt: str = "full",
    template: str = "urial",
    shots: int = DEFAULT_SHOTS,
    source: str = SOURCES[0],
    draw: int = 0,
    style: str = STYLES[0],
    order: str = "given",
    matching: str = "correct",
    chooser: Chooses | None = None,
) -> PromptParts:
    """Return the components by name and count.

    The answers are matched to the queries shown before these are put in order, so that an order never changes who is
    answered by what. Without a `chooser` the demonstrations are the first of the built-in ones. A system prompt whose
    name ends in `.txt` is the text of that file.

    Raises:
        ConditionError: an unknown name, or more demonstrations than there are.
    """
    for name, value in (("shots", shots), ("draw", draw), ("style", style)):
        check_component(name, value)
    chooser = chooser or FirstOnes()
    chosen = chooser.choose(source, shots, draw)
    styled = {one.id: one for one in built_in_demonstrations(style)} if chooser.styled else {}
    pool = _written(chooser.everything, styled)

    def arranged(shown: Sequence[Demonstration]) -> tuple[Demonstration, ...]:
        return put_in_order(match_answers(_written(shown, styled), matching, pool), order)

    return PromptParts(
        system_prompt=_system_prompt(system_prompt, template),
        template=find_template(template),
        shots=arranged(chosen.common),
        by_query=tuple((query, arranged(shown)) for query, shown in chosen.by_query),
        system_prompt_name=system_prompt,
        asked=shots,
        source=source,
        draw=draw,
        style=style if chooser.styled else "custom",
        order=order,
        matching=matching,
    )


def _written(shown: Iterable[Demonstration], styled: Mapping[str, Demonstration]) -> tuple[Demonstration, ...]:
    """Return demonstrations as the style has them, where it has them."""
    return tuple(styled.get(one.id, one) for one in shown)


def _system_prompt(name: str, template: str) -> str:
    return (
        read_prompt_text(Path(name).expanduser()) if name.endswith(".txt") else packaged_system_prompt(name, template)
    )


def read_prompt_file(path: Path, template: str = "urial") -> PromptParts:
    """Return parts whose system prompt is the file's whole text, and which have no demonstrations of their own.

    So a prompt file of URIAL or of Zhao et al. is used as it is, byte for byte.

    Raises:
        PromptError: the file cannot be read as UTF-8 text.
    """
    return PromptParts(
        system_prompt=read_prompt_text(path), template=find_template(template), system_prompt_name=path.name
    )


def read_prompt_parts(path: Path, template: str = "urial") -> PromptParts:
    """Return a prompt file's system prompt and demonstrations as parts, which a search can add to.

    The system prompt ends where the first heading's own line breaks begin. A file that is laid out as `template` says
    comes out of `render_demonstrations` byte for byte.

    Raises:
        PromptError: the file cannot be taken apart; names line and reason.
    """
    file, found = read_urial(path), find_template(template)
    system_prompt = file.system_prompt.removesuffix(found.before) if file.messages else file.system_prompt
    shown = file.demonstrations
    return PromptParts(system_prompt, found, shown, system_prompt_name=path.name, asked=len(shown))
