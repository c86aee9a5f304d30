"""Signs of a bad answer in its text alone: loops, cut-offs, running on into the next query.

Knows neither embeddings nor scores.
"""

import itertools
import re

from ablations.core.statistics import repeated_share

_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|\n+")
_RUN_ON = re.compile(
    r"^\s*(?:#+\s*)?(?:query|user|human|question|instruction|assistant|answer)\s*:", re.IGNORECASE | re.MULTILINE
)
_CLOSED = re.compile(r"[.!?:)\]}\"'”’`*]\s*$")

_ARTICLES = frozenset({"the", "The", "a", "an"})
_NEVER_AFTER = frozenset(
    "the a an of to in on at by for from with and or but is are was were be been am has have had do does did it he she "  # noqa: SIM905
    "they we you i his my our their your that this these those which who as if because not so than into".split()
)


def split_sentences(text: str) -> list[str]:
    r"""Return the sentences and list items of a text; the text itself where it has no break.

    >>> split_sentences("One. Two!\n- Three")
    ['One.', 'Two!', '- Three']
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def freshness(text: str) -> float:
    """Return the share of word trigrams that are not repeats, 0 to 1; 1 for texts below three words."""
    return 1.0 - repeated_share(text, n=3)


def word_order(text: str) -> float:
    """Return the share of English articles that no word follows which cannot follow one, 0 to 1; 1 without any.

    Words in random order have "the of" and "a is"; one article is taken as right beside those that are.

    >>> word_order("the cat on a mat"), word_order("a cat the on mat")
    (1.0, 0.6666666666666667)
    """
    words = [word.strip(".,:;!?()\"'*`") for word in text.split()]
    after = [one for article, one in itertools.pairwise(words) if article in _ARTICLES]
    return 1.0 - sum(one in _NEVER_AFTER for one in after) / (len(after) + 1)


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
