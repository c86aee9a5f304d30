"""Prompt parts: a template, a system prompt and demonstrations, the components of a prompt around a query.

Knows neither queries nor how the text is laid out.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ChatTemplate = Callable[[Sequence[Mapping[str, str]]], str]
"""Messages, each with a role (system, user or assistant) and its content -> the text that opens the next answer."""
Value = float | int | str | tuple[str, ...]
"""Value that one parameter of a condition can hold."""


@dataclass(frozen=True)
class Template:
    """The format of a prompt: what stands before and around each text, and which strings end an answer.

    Attributes:
        name: how files and logs call the format.
        query, answer: the role lines.
        before: what stands before a role line.
        fence: the line around each text, or "" where there is none.
        fence_lines: whether the fence takes a line of its own even when it is empty (URIAL v5).
        stop: the strings that a model writes when it runs on into the next query.
        inline: whether a text follows its role on the same line, with an empty line after each message.
        chat: whether the model's own chat template lays the prompt out; the other attributes have no effect then.
    """

    name: str
    query: str
    answer: str
    before: str
    fence: str
    fence_lines: bool
    stop: tuple[str, ...]
    inline: bool = False
    chat: bool = False


Exchange = tuple[str, str | None]
"""A query and its answer, or None where it has none."""


@dataclass(frozen=True)
class Demonstration:
    """One example in the prompt: a query and the answer a good assistant gives, or None for the query alone.

    `further` are the exchanges after the first one, where a whole conversation is the example.
    """

    id: str
    query: str
    answer: str | None
    further: tuple[Exchange, ...] = ()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The whole conversation."""
        return ((self.query, self.answer), *self.further)


@dataclass(frozen=True)
class PromptParts:
    """The components of the prompt around a query.

    Attributes:
        system_prompt: the text before everything else, exactly as it stands in the prompt; "" for none.
        template: the format.
        shots: the demonstrations, in the order in which they are shown to every query that `by_query` leaves out.
        by_query: what each query is shown instead, by query id, where demonstrations are chosen for each query.
        system_prompt_name: how logs call it ("full", "none", a file's name).
        asked: how many demonstrations were asked for, where a limit may have left fewer.
        source, draw: how logs call the way the demonstrations were chosen, and which of several draws it was.
        style, order, matching: how logs call the way the demonstrations were written, ordered and answered.

    The names are no part of the identity: what is shown decides it.
    """

    system_prompt: str
    template: Template
    shots: tuple[Demonstration, ...] = ()
    by_query: tuple[tuple[str, tuple[Demonstration, ...]], ...] = ()
    system_prompt_name: str = dataclasses.field(default="custom", compare=False)
    asked: int | None = dataclasses.field(default=None, compare=False)
    source: str = dataclasses.field(default="first", compare=False)
    draw: int = dataclasses.field(default=0, compare=False)
    style: str = dataclasses.field(default="custom", compare=False)
    order: str = dataclasses.field(default="given", compare=False)
    matching: str = dataclasses.field(default="correct", compare=False)

    def content(self) -> dict[str, object]:
        """Return what decides the prompt's text, for hashing; its keys are frozen, because stored answers have them."""
        heads = dataclasses.asdict(self.template)
        del heads["name"], heads["stop"]
        heads = {name: value for name, value in heads.items() if name not in ("inline", "chat") or value}
        content: dict[str, object] = {
            "rules": self.system_prompt,
            "headings": heads,
            "demonstrations": _texts(self.shots),
        }
        if self.by_query:
            content["by_query"] = {query: _texts(shown) for query, shown in self.by_query}
        return content

    def shown_to(self, query_id: str) -> tuple[Demonstration, ...]:
        """Return the demonstrations in the prompt of a query."""
        return dict(self.by_query).get(query_id, self.shots)

    def values(self) -> dict[str, Value]:
        """Return the components as parameters: names and counts instead of texts."""
        return {
            "system_prompt": self.system_prompt_name,
            "template": self.template.name,
            "shots": len(self.shots) if self.asked is None else self.asked,
            "source": self.source,
            "draw": self.draw,
            "style": self.style,
            "order": self.order,
            "matching": self.matching,
        }


def _texts(shown: tuple[Demonstration, ...]) -> list[list[str | None]]:
    return [[text for exchange in demonstration.exchanges for text in exchange] for demonstration in shown]
