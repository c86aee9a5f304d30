"""Checks of short answers: whether the right one is given, and whether the model ended it.

Ids of this project's own: `answer:…` and `finished`. Texts are compared without case, accents of composition (NFKC),
quotation marks and doubled spaces; words and numbers are whole ones.
"""

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from ablations.judges.checks.base import ENDING, Answer, NoArguments, check
from ablations.judges.checks.kwargs import Count, Texts, arguments, in_order
from ablations.judges.checks.texts import denied, holds_phrase, normalised, numbers


@arguments
class Values:
    """Texts of which each is right."""

    values: Texts


@arguments
class Options:
    """The options that the query offers, and which one of them is right."""

    options: Annotated[tuple[str, ...], Field(min_length=2)]
    right: str

    @model_validator(mode="after")
    def _offered(self) -> Self:
        if self.right not in self.options:
            raise ValueError(f"right is {self.right!r}, which is not among the options")
        return self


@arguments
class Number:
    """A number, and how far from it an answer may lie."""

    value: float
    tolerance: Annotated[float, Field(ge=0)] = 0.0


@arguments
class Mentions:
    """Words or phrases: all of `all`, at least one of `any`, none of `none`."""

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _asked(self) -> Self:
        if not self.all and not self.any:
            raise ValueError("give texts in all or in any")
        return self


@arguments
class Items:
    """The items of a list, and whether their order counts."""

    items: Annotated[tuple[str, ...], Field(min_length=2)]
    ordered: bool = False


@arguments
class Pattern:
    """A regular expression of the whole answer."""

    pattern: str

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from error
        return self


@arguments
class Words:
    """How many words an answer may have."""

    most: Count
    least: Count = 1

    _ordered = in_order("least", "most")


@check("finished", about=ENDING)
def finished(answer: Answer, _: NoArguments) -> bool:
    """Whether the model ended the answer before `max_tokens`, and said something."""
    return answer.finished and bool(answer.text.strip())


@check("answer:is", Values)
def is_one_of(answer: Answer, asked: Values) -> bool:
    """Whether the whole answer is one of the texts, but for a full stop, quotation marks and an article before it."""
    return normalised(answer.text) in {normalised(value) for value in asked.values}


@check("answer:one_of", Options)
def chooses(answer: Answer, asked: Options) -> bool:
    """Whether the right one of the offered options is mentioned and no other one.

    An option that is part of a longer one ("red" of "dark red") counts only where it stands alone; "not red" is wrong.
    """
    text, found, right = normalised(answer.text), set(), re.escape(normalised(asked.right))
    if any(re.match(rf"{right}(?!\w)", rest) for rest in denied(text)):
        return False
    for option in sorted(asked.options, key=len, reverse=True):
        if holds_phrase(text, normalised(option)):
            found.add(option)
            text = re.sub(rf"(?<!\w){re.escape(normalised(option))}(?!\w)", " | ", text)
    return found == {asked.right}


@check("answer:number", Number)
def gives_number(answer: Answer, asked: Number) -> bool:
    """Whether the answer gives the number, in digits or words, and no other one that the query does not have.

    Steps on the way that are no numbers of the query are other numbers: "54, no, 56" is wrong, and "not 56" too. The
    word "one" is no other number: "the right one is 7".
    """
    given = numbers(answer.text)
    refused = [one for rest in denied(answer.text) for one in numbers(rest.split()[0])]
    right = [one for one in given if abs(one - asked.value) <= asked.tolerance + 1e-9 * abs(asked.value)]
    text = re.sub(r"\bone\b(?![\s-]+(?:hundred|thousand|million|billion)\b)", " ", answer.text, flags=re.IGNORECASE)
    in_query = numbers(answer.query)
    known = {*right, *(() if asked.value in in_query else in_query)}
    return bool(right) and set(numbers(text)) <= known and not set(right) & set(refused)


@check("answer:mentions", Mentions)
def mentions(answer: Answer, asked: Mentions) -> bool:
    """Whether the answer has all of some words or phrases, at least one of others, and none of a third sort."""
    held = {text: holds_phrase(answer.text, text) for text in (*asked.all, *asked.any, *asked.none)}
    return (
        all(held[text] for text in asked.all)
        and (not asked.any or any(held[text] for text in asked.any))
        and not any(held[text] for text in asked.none)
    )


@check("answer:list", Items)
def lists(answer: Answer, asked: Items) -> bool:
    """Whether the answer lists exactly these items, by line, comma, semicolon or "and", with or without marks.

    Words that lead to them count for nothing: "The colors are red and blue.", "In order: 1, 2, 3".
    """
    wanted = [normalised(part) for one in asked.items for part in _items(one)]
    lead = _LEAD.match(answer.text)
    texts = [answer.text, answer.text[lead.end() :]] if lead and not denied(lead.group()) else [answer.text]
    found = ([normalised(one) for one in _items(text)] for text in texts)
    return any(given == wanted if asked.ordered else sorted(given) == sorted(wanted) for given in found)


_LEAD = re.compile(r"[^\n,;]*?(?:\b(?:are|is)\b:?|:)\s+(?=\S)")


def _items(text: str) -> list[str]:
    parts = re.split(r"\n|;|,(?!\d{3}\b)|(?:,|\s)\s*(?:and|or|then|&)\s", f"{text.strip().rstrip('.')} ")
    marked = (re.sub(r"^\s*(?:[-*•+]|\(?\d+[.):]|\(?[A-Za-z][.)])\s+", "", part) for part in parts)
    return [one for part in marked if (one := part.strip())]


@check("answer:pattern", Pattern)
def fits(answer: Answer, asked: Pattern) -> bool:
    """Whether the whole answer fits the regular expression, case included."""
    return re.fullmatch(asked.pattern, answer.text.strip()) is not None


@check("answer:words", Words)
def has_words(answer: Answer, asked: Words) -> bool:
    """Whether the number of words is in the range; between spaces, and with a letter or digit in each."""
    count = sum(any(map(str.isalnum, word)) for word in answer.text.split())
    return asked.least <= count <= asked.most
