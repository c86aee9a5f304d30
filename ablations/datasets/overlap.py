"""Leakage: which demonstrations equal, or nearly equal, a query of the evaluation set.

A model that is shown what it will be asked is not measured but helped. First by normalised text, then by the cosine
of sentence embeddings. Knows no study.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ablations.core.prompt import Demonstration
from ablations.core.records import Query
from ablations.models.embedding import Encoder

NEAR = 0.9
"""From this cosine on two texts are nearly equal. With MiniLM close rewordings of a question lie above it, two
questions about one topic below, and free paraphrases often below too (tests/datasets/test_overlap.py)."""


_WORDS_AND_SIGNS = re.compile(r"\w+|[+*/^#=<>%$&|~@×÷]|(?<=\d)\s*-(?=\s*\d)")
"""Signs that change what is asked count, a minus between numbers among them."""


@dataclass(frozen=True)
class Overlap:
    """A demonstration that says what a query asks.

    Attributes:
        demonstration: its id.
        query, turn: what it overlaps with.
        cosine: of the two texts, or None where they are the same after normalisation.
    """

    demonstration: str
    query: str
    turn: int
    cosine: float | None

    def __str__(self) -> str:
        how = "is" if self.cosine is None else f"is nearly (cosine {self.cosine:.2f})"
        return f"demonstration {self.demonstration} {how} query {self.query} turn {self.turn}"


def normalised(text: str) -> str:
    """Return the words and signs of a text in lower case, without punctuation, spacing and ways of writing a character.

    >>> normalised("  What’s   AI?  "), normalised("What is 3*4?"), normalised("C++ or C#?")
    ('what s ai', 'what is 3 * 4', 'c + + or c #')
    """
    return " ".join(_WORDS_AND_SIGNS.findall(unicodedata.normalize("NFKC", text).casefold()))


def find_overlaps(
    demonstrations: Sequence[Demonstration], queries: Sequence[Query], encoder: Encoder | None, near: float = NEAR
) -> list[Overlap]:
    """Return the first overlap of each demonstration that has one, in the demonstrations' order.

    Args:
        demonstrations: whose queries are compared, every one of a conversation.
        queries: every turn of them.
        encoder: of the embeddings, or None to compare texts alone.
        near: from this cosine on, -1 to 1, two texts are nearly equal.
    """
    turns = [(query.id, number, text) for query in queries for number, text in enumerate(query.turns, start=1)]
    same = {normalised(text): (query, turn) for query, turn, text in reversed(turns)}
    found = {}
    for one in demonstrations:
        texts = (normalised(query) for query, _ in one.exchanges)
        if (place := next((same[text] for text in texts if text and text in same), None)) is not None:
            found[one.id] = Overlap(one.id, *place, None)
    others = [(one.id, query) for one in demonstrations if one.id not in found for query, _ in one.exchanges]
    if encoder is not None and others and turns:
        cosines = encoder.encode([query for _, query in others]) @ encoder.encode([text for _, _, text in turns]).T
        for (name, _), row in zip(others, cosines, strict=True):
            nearest = int(row.argmax())
            if row[nearest] >= near and name not in found:
                query, turn, _ = turns[nearest]
                found[name] = Overlap(name, query, turn, float(row[nearest]))
    return [found[one.id] for one in demonstrations if one.id in found]
