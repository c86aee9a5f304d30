"""An answer beside its query and its reference: what it adds, covers, gets wrong and denies, each from 0 to 1.

Knows words and numbers (`content`) and negations (`polarity`) alone, neither embeddings nor scores.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from ablations.judges.checks.texts import plain_words
from ablations.judges.reference.content import Content, content, content_words
from ablations.judges.reference.polarity import disagreement
from ablations.judges.reference.text_statistics import split_sentences

SHORT = 8
"""A reference of so many words at most is short: an answer has to give all of it, in its order."""
RUN = 5
"""So many words in a row that stand in the query too are copied from it."""
COPIED = 0.8
"""A sentence of which at least this share is copied from the query adds nothing to it."""
LEAST_WORDS, ENOUGH = 3, 0.25
"""Of a long reference's content words a quarter is enough, as another wording shares no more, and three at least."""
KNOWN = 1 / 3
"""What a word or number of a reference counts that the query has too, beside one that it has not."""
SPARE = 0.25
"""What a word that neither query nor reference has counts beside one of the reference's, in a short answer."""
DOUBT = 1.0
"""So many numbers are taken as agreed beside those that are, where the reference is long: a few of many words say
little."""

_CLAUSE = re.compile(r"[,;:.!?]\s+|\n|\b(?:but|and)\b")
_LAST_SENTENCE = re.compile(r"[^.!?\n]*[.!?…]*\s*$")
_NOT_CHOSEN = re.compile(r"\b(?:than|not|unlike|instead of)\s+(?:(?:the|an?)\s+)?\S+", re.IGNORECASE)
_BESIDE_OR = re.compile(r"([^\s,:;?]+)\s*,?\s+or\s+(?:(?:the|an?|in|on|at)\s+)?([^\s,:;.?!]+)", re.IGNORECASE)


class Task:
    """What an answer has to do: the queries up to its turn, and the reference.

    Args:
        queries: the turns' queries, the one that is answered last.
        reference: a good answer to it.

    Attributes:
        short: whether the reference is.
        sentences: those of the reference that answers are compared with; of a short one its content words.
    """

    def __init__(self, queries: Sequence[str], reference: str) -> None:
        self.reference = reference
        self.short = len(reference.split()) <= SHORT
        # "one" is mostly no number; where a short reference has it, it is.
        self._ones = self.short and "#1" in content(reference, ones=True).tokens
        # A reference of nothing but function words, such as "down", means them.
        self._kept = frozenset() if content_words(reference, self._ones) else content(reference, self._ones).words
        self._wanted = self._content(reference)
        self._asked = self._content(queries[-1])
        self._known = frozenset[str]().union(*(self._content(query).words for query in queries))
        self._new = self._wanted.words - self._known
        self._rivals = _offered(queries, self._ones) - self._wanted.words
        copied = {run for query in queries for run in _runs(plain_words(query))}
        self._copied_runs = copied - set(_runs(plain_words(reference)))
        sentences = split_sentences(reference)
        self.sentences = tuple(self.own(sentences) if self.short else sentences) or tuple(sentences)

    def _content(self, text: str) -> Content:
        return content(text, self._ones, self._kept)

    def own(self, sentences: Sequence[str]) -> list[str]:
        """Return the sentences that are not copied from a query; where the reference is short, the content words.

        Of those, words of the query stay only where the reference has them, as in "the sun or the moon?".
        """
        if not self.short:
            return [one for one, share in zip(sentences, self._copied(sentences), strict=True) if share < COPIED]
        kept = " ".join(word for one in sentences for word in one.split() if self._adds(word))
        return [kept] if kept else []

    def _adds(self, word: str) -> bool:
        tokens = content_words(word, self._ones, self._kept)
        return any(token not in self._known or token in self._wanted.words for token in tokens)

    def _copied(self, texts: Sequence[str]) -> list[float]:
        """Return of each of an answer's texts the share of words in runs of a query's which the reference has not."""
        parts = [plain_words(text) for text in texts]
        words = [word for part in parts for word in part]
        places = {at + step for at, run in enumerate(_runs(words)) if run in self._copied_runs for step in range(RUN)}
        ends = list(itertools.accumulate(map(len, parts)))
        return [
            len(places.intersection(range(end - len(part), end))) / max(len(part), 1)
            for part, end in zip(parts, ends, strict=True)
        ]

    def novelty(self, answer: str) -> float:
        """Return how many different content words the answer adds to the query, as a share of those of the reference.

        Times the share of the answer that is not copied from a query. Where the reference adds no word, what counts is
        how little else of the query the answer repeats, in its order.
        """
        given = self._content(answer)
        if self._new:
            return min(len(given.words - self._known) / len(self._new), 1.0) * (1.0 - self._copied([answer])[0])
        right = len(self._wanted.words & self._asked.words)
        rest = len(self._asked.tokens) - right
        repeated = max(_in_order(self._asked.tokens, given.tokens) - right, 0.0)
        return 1.0 - repeated / rest if rest > 0 else 1.0

    def coverage(self, answer: str) -> float:
        """Return how much of the reference's content the answer has, as a share of what is enough.

        Of a short reference all is needed, in its order (ROUGE-L's recall, Lin 2004, with weights); of a long one
        `ENOUGH`.
        """
        given, wanted = self._content(answer), self._wanted
        if self.short:
            weights = {token: self._weight(token) for token in wanted.words}
            return _in_order(wanted.tokens, given.tokens, weights) / (sum(map(self._weight, wanted.tokens)) or 1.0)
        enough = min(len(wanted.words), max(LEAST_WORDS, ENOUGH * len(wanted.words)))
        return min(len(wanted.words & given.words) / max(enough, 1.0), 1.0)

    def exactness(self, answer: str) -> float:
        """Return a short reference's words as a share of what the answer chooses; 1 where the reference is long.

        Beside them count what the query offers in their place (other options, words of what it tells) and, for less,
        words that neither query nor reference has.
        """
        given = self._content(answer).words
        if not self.short or not given & self._wanted.words:
            return 1.0
        right = given & self._wanted.words
        rivals = self._content(_NOT_CHOSEN.sub(" ", answer)).words & self._rivals
        spare = given - self._wanted.words - self._known
        return len(right) / (len(right) + len(rivals) + SPARE * len(spare))

    def numbers(self, answer: str) -> float:
        """Return how far the answer's numbers are the reference's, by value; 1 where neither has any of its own.

        The mean of two shares: of the reference's numbers, those that the answer has; of the answer's numbers that the
        query does not give, those that the reference has.
        """
        theirs, given = self._wanted.numbers, self._content(answer).numbers
        own = given - self._known
        doubt = 0.0 if self.short else DOUBT
        most = sum(map(self._weight, theirs)) + doubt
        recall = (sum(map(self._weight, theirs & given)) + doubt) / most if theirs else 1.0
        precision = (len(own & theirs) + doubt) / (len(own) + doubt) if own else 1.0
        return (precision + recall) / 2

    def _weight(self, token: str) -> float:
        """Return what a word or number of the reference counts: less where the query has it, unless it has all."""
        return 1.0 if token in self._new or not self._new else KNOWN

    def denies(self, answer: str) -> bool:
        """Whether each clause of an answer with a short reference's words denies what that affirms, or affirms it."""
        clauses = [one for one in _CLAUSE.split(answer) if self._content(one).words & self._wanted.words]
        return bool(clauses) and all(disagreement(one, self.reference) for one in clauses)


@lru_cache(maxsize=4096)
def task(queries: tuple[str, ...], reference: str) -> Task:
    """Return a task, prepared once."""
    return Task(queries, reference)


def _offered(queries: Sequence[str], ones: bool) -> frozenset[str]:
    """Return the content words of what queries offer to choose from, and of what the last one tells before it asks."""
    texts: list[str] = []
    frame = frozenset[str]()
    for query in queries:
        question = found[0] if (found := _LAST_SENTENCE.search(query)) else ""
        told, (asked, _, options) = query[: len(query) - len(question)], question.partition(":")
        beside_or = [word for pair in _BESIDE_OR.findall(question) for word in pair]
        texts = [*texts, options, *beside_or]
        if query is queries[-1]:
            frame = frozenset(content_words(asked, ones)) - {t for word in beside_or for t in content_words(word, ones)}
            texts.append(told)
    return frozenset(token for text in texts for token in content_words(text, ones)) - frame


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every run of `RUN` words, in order."""
    return [tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)]


def _in_order(
    first: Sequence[str], second: Sequence[str], weights: Mapping[str, float] = MappingProxyType({})
) -> float:
    """Return the weight of the heaviest common subsequence; a token weighs 1 unless `weights` say else."""
    row = [0.0] * (len(second) + 1)
    for one in first:
        before, weight = 0.0, weights.get(one, 1.0)
        for at, other in enumerate(second, start=1):
            before, row[at] = row[at], before + weight if one == other else max(row[at], row[at - 1])
    return row[-1]
