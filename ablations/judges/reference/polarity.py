"""Negation, by words alone: how many clauses of a sentence deny.

Knows neither embeddings nor scores. What is seen are words such as "not", "n't", "never", "no" and "without"; two of
them in one clause affirm. Antonyms ("fails to", "unlikely"), negation by the sense and irony are not seen.
"""

import re

_NEGATOR = re.compile(
    r"\b(?:not|never|no|nor|neither|none|nobody|nothing|nowhere|cannot|without|hardly|scarcely)\b|n't\b|n’t\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:]|\b(?:and|but|or|so|because|while|although|which|who|that|if|when)\b", re.IGNORECASE)
_NO_NEGATION = re.compile(
    r"\bnot (?:only|just|merely|to mention)\b|\bno (?:doubt|matter)\b|\bno\.\s*\d|\bnothing but\b|\bor not\b"
    r"|^\W*no[,.!:;]",
    re.IGNORECASE,
)
"""Words that look like a negation and are none here; "No," before a sentence answers the query."""


def denials(sentence: str) -> int:
    """Return how many clauses of a sentence deny; two negations in one clause affirm.

    >>> [denials(text) for text in ("It isn't so, nor is that.", "No, it is.", "Not only that.")]
    [2, 0, 0]
    """
    clauses = _CLAUSE.split(_NO_NEGATION.sub(" ", sentence))
    return sum(len(_NEGATOR.findall(clause)) % 2 for clause in clauses)


def disagreement(one: str, other: str) -> float:
    """Return how far two sentences differ in what they deny: 0 where as many clauses deny, 1 where only one's do."""
    first, second = denials(one), denials(other)
    return abs(first - second) / max(first, second, 1)
