"""Signs of a bad answer in its text alone: loops, cut-offs, running on into the next query.

Knows neither embeddings nor scores.
"""

import re

from ablations.core.statistics import repeated_share

_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|\n+")
_RUN_ON = re.compile(
    r"^\s*(?:#+\s*)?(?:query|user|human|question|instruction|assistant|answer)\s*:", re.IGNORECASE | re.MULTILINE
)
_CLOSED = re.compile(r"[.!?:)\]}\"'”’`*]\s*$")


def split_sentences(text: str) -> list[str]:
    r"""Return the sentences and list items of a text; the text itself where it has no break.

    >>> split_sentences("One. Two!\n- Three")
    ['One.', 'Two!', '- Three']
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def freshness(text: str) -> float:
    """Return the share of word trigrams that are not repeats, 0 to 1; 1 for texts below three words."""
    return 1.0 - repeated_share(text, n=3)


def length_share(text: str, reference: str) -> float:
    """Return the number of words as a share of the reference's, 0 or more."""
    return len(text.split()) / max(len(reference.split()), 1)


def own_share(text: str) -> float:
    r"""Return the share of the text before a heading of a next message, 0 to 1; 1 where none comes.

    A base model that is not stopped writes the next query itself:

    >>> own_share("Paris.\n\n# Query:\nAnd Italy?") < 0.3
    True
    """
    # A heading before any text of its own is how some answers begin ("Answer: 42.").
    starts = (match.start() for match in _RUN_ON.finditer(text))
    return next((start / len(text) for start in starts if text[:start].strip()), 1.0)


def ends_closed(text: str) -> bool:
    """Whether the text ends in closing punctuation rather than in the middle of a sentence."""
    return bool(_CLOSED.search(text))
