"""What an answer says, as words and numbers: how much of it the query does not say, and how much the reference says.

Knows neither embeddings nor scores. Words are compared without case, typography and plural (the S-stemmer of Harman
1991), function words are left out, and numbers are compared as values: "7", "seven" and "7.0" are one token.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from ablations.judges.checks.texts import find_numbers, plain_marks, unlisted, words

_FUNCTION_WORDS = frozenset(
    "a about above across after again all along also although always am an and another answer any are around as "  # noqa: SIM905
    "at away be because been before being below between both but by ca can cannot could did do does doing done "
    "down during each either else ever every for from get gets give gives given got had has have having he hence "
    "her here hers him his how however i if in into is it its itself just let like made make makes many may me "
    "might mine more most much must my near nearly never nor not now of off often on once only onto or other our "
    "ours out over own per please question quite rather same shall she should since so some such than that the "
    "their theirs them then there therefore these they this those though through thus to too toward towards under "
    "until up upon us use used uses using very was we were what when where wo whether which while who whom whose "
    "why will with within without would yet you your yours".split()
)
_CONTRACTION = re.compile(r"(?:n't|'(?:s|m|re|ve|ll|d))$")
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d.,]*\d)")


@dataclass(frozen=True)
class Content:
    """The content words of a text in their order, numbers as values such as "#7"; without any, all of its words."""

    tokens: tuple[str, ...]

    @property
    def words(self) -> frozenset[str]:
        """The different ones."""
        return frozenset(self.tokens)

    @property
    def numbers(self) -> frozenset[str]:
        """The different numbers."""
        return frozenset(token for token in self.tokens if token.startswith("#"))


@lru_cache(maxsize=4096)
def content(text: str, ones: bool = False, kept: frozenset[str] = frozenset()) -> Content:
    """Return the content of a text.

    Args:
        text: any.
        ones: whether the word "one" is a number; mostly it is none.
        kept: function words that count as content here.

    >>> content("The Moons: 7,000 km, seven thousand km, 25%").tokens
    ('moon', '#7000', 'km', '#7000', 'km', '#25', 'percent')
    """
    text = plain_numbers(text)
    tokens: list[str] = []
    place = 0
    for start, end, value in [*find_numbers(text), (len(text), len(text), None)]:
        tokens += (_stem(word) for word in words(text[place:start].casefold()))
        if value is not None:
            word = text[start:end].casefold() == "one" and not ones
            tokens.append("one" if word else f"#{value:.12g}")
        place = end
    found = tuple(token for token in tokens if token in kept or _is_content(token))
    return Content(found or tuple(filter(None, tokens)))


def content_words(text: str, ones: bool = False, kept: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Return the content words and numbers of a text, none where it has only function words."""
    return tuple(token for token in content(text, ones, kept).tokens if token in kept or _is_content(token))


def _is_content(token: str) -> bool:
    return bool(token) and token not in _FUNCTION_WORDS and token != "one"


def plain_numbers(text: str) -> str:
    """Return a text with plain marks, without numbers of lists, and with one form of thousands and of percent."""
    text = plain_marks(unlisted(text))
    return _SPACED_THOUSANDS.sub(lambda found: found[0].replace(" ", ""), text).replace("%", " percent ")


def _stem(word: str) -> str:
    """Return a word without contraction and plural, by the rules of Harman's S-stemmer."""
    word = _CONTRACTION.sub("", word)
    if len(word) > 3 and not word.isdigit():
        if word.endswith("ies") and not word.endswith(("eies", "aies")):
            return word[:-3] + "y"
        if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
            return word[:-1]
        if word.endswith("s") and not word.endswith(("us", "ss")):
            return word[:-1]
    return word
