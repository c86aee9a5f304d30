"""The `reference` judge: 1 to 10 without an LLM, from similarity to a reference answer and from what both say in words.

A proxy for trying things out: it knows what a reference says, not what is true or well put. It knows
neither conditions nor studies.

The score is `1 + 9 * quality`, and `quality` is the product of

    similarity      min(1, F1 over sentences / full_similarity)^similarity_power, of the answer's own sentences alone:
                    those copied from the query are left out
    novelty         min(1, novelty / expected_novelty): content words beyond the query's, as a share of the reference's
    length          min(1, words of the answer / (expected_share * words of the reference))^fullness_power
    coverage        1 - coverage_weight + coverage_weight * share of the reference's content that the answer has
    numbers         1 - numbers_weight + numbers_weight * agreement of the numbers, compared by value
    polarity        1 - polarity_weight + polarity_weight * how far sentences affirm or deny as their match does
    exactness       share of a short reference's words in what the answer chooses, see `task`
    freshness       share of word trigrams that are not repeats
    order           share of articles that a word follows which can follow one
    own             share of the answer before the heading of a next message
    closed          1 if the answer ends closed, or the reference does not; else unclosed_factor

The F1 over sentences is BERTScore's greedy matching (Zhang et al. 2020) with sentences in place of tokens; the match of
a sentence is the most similar one of the other text. `Weights` holds the constants, which
`python -m ablations.judges.audit.calibration` chooses; `task`, `content` and `polarity` say what the terms see and what
they do not. What is not seen: a wrong word among many of a long answer, antonyms, capitals, and a short answer in other
words than the reference's, which counts as a wrong one.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ablations.core.errors import QueryError
from ablations.core.records import MIN_COVERAGE, Completion, Judgment, Query, Score
from ablations.judges.base import FreeJudge
from ablations.judges.reference.polarity import disagreement
from ablations.judges.reference.task import Task, task
from ablations.judges.reference.text_statistics import (
    ends_closed,
    freshness,
    length_share,
    own_share,
    split_sentences,
    word_order,
)
from ablations.models.embedding import Encoder

NO_REFERENCE = "no reference answer"


@dataclass(frozen=True)
class Weights:
    """The constants of the formula in the module's docstring."""

    similarity_power: float = 1.0
    full_similarity: float = 0.85
    expected_novelty: float = 0.7
    fullness_power: float = 0.5
    expected_share: float = 0.8
    coverage_weight: float = 0.8
    numbers_weight: float = 0.7
    polarity_weight: float = 0.9
    unclosed_factor: float = 0.8


WEIGHTS = Weights()
"""Those of the judge."""


@dataclass(frozen=True)
class Features:
    """Terms of the formula, each 0 to 1, but that `length` may be more."""

    similarity: float = 0.0
    novelty: float = 0.0
    length: float = 0.0
    coverage: float = 0.0
    numbers: float = 0.0
    polarity: float = 0.0
    exactness: float = 0.0
    freshness: float = 0.0
    order: float = 0.0
    own: float = 0.0
    closed: float = 0.0


class ReferenceJudge(FreeJudge):
    """Scores an answer by its likeness to a reference answer and by what text statistics tell."""

    name = "reference"
    scale = (1.0, 10.0)
    max_turns = 2

    def __init__(self) -> None:
        super().__init__()
        self._encoder = Encoder()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reference-judge")

    @property
    def identity(self) -> Mapping[str, Any]:
        """The formula's version, its weights and the encoder."""
        return {"judge": self.name, "version": 2, "weights": asdict(WEIGHTS), "encoder": self._encoder.name}

    def check(self, queries: Sequence[Query]) -> None:
        """Raise `QueryError` if too few turns have a reference answer for a trial to count."""
        references = [text for query in queries for text in query.references]
        known = sum(bool(text) for text in references)
        if known < MIN_COVERAGE * len(references):
            raise QueryError(
                f"the reference judge compares with reference answers: {known} of {len(references)} turns have one, "
                f"and at least {MIN_COVERAGE:.0%} are needed; give --reference-answers FILE, queries with references, "
                "or another judge"
            )

    async def start(self) -> None:
        """Load the sentence encoder."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._encoder.load)

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion."""
        turn = len(completions)
        reference = query.references[turn - 1]
        if not reference:
            return Judgment(self.name, Score(None, NO_REFERENCE))
        asked = task(query.turns[:turn], reference)
        answer = completions[-1].answer
        features = await asyncio.get_running_loop().run_in_executor(self._thread, self.features, answer, asked)
        score = rate(features)
        details = {name: float(value) for name, value in asdict(features).items()}
        return Judgment(self.name, Score(score), details=details)

    def features(self, answer: str, asked: Task) -> Features:
        """Return the features of an answer; everything is 0 for an empty one."""
        if not answer.strip():
            return Features()
        own = asked.own(split_sentences(answer))
        similarity, agreement = self._compare(own, asked.sentences) if own else (0.0, 0.0)
        return Features(
            similarity=similarity,
            novelty=asked.novelty(answer),
            length=length_share(answer, asked.reference),
            coverage=asked.coverage(answer),
            numbers=asked.numbers(answer),
            polarity=float(not asked.denies(answer)) if asked.short else agreement,
            exactness=asked.exactness(answer),
            freshness=freshness(answer),
            order=word_order(answer),
            own=own_share(answer),
            closed=float(ends_closed(answer) or not ends_closed(asked.reference)),
        )

    def _compare(self, ours: Sequence[str], theirs: Sequence[str]) -> tuple[float, float]:
        """Return the F1 over sentences, and one less the mean share in which a sentence and its match disagree.

        One that denies what its match affirms, or the other way round, counts by the square of their likeness: of
        unlike sentences it says little.
        """
        vectors = self._encoder.encode([*ours, *theirs])
        cosines = np.clip(vectors[: len(ours)] @ vectors[len(ours) :].T, 1e-6, 1.0)
        precision, recall = (float(np.mean(cosines.max(axis=axis))) for axis in (1, 0))
        matches = [*enumerate(cosines.argmax(axis=1)), *((at, to) for to, at in enumerate(cosines.argmax(axis=0)))]
        differ = np.array([disagreement(ours[at], theirs[to]) for at, to in matches])
        alike = np.concatenate([cosines.max(axis=1), cosines.max(axis=0)])
        return 2 * precision * recall / (precision + recall), 1.0 - float(np.mean(differ * np.square(alike)))

    async def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=True)


def rate(features: Features, weights: Weights = WEIGHTS) -> float:
    """Return the score, 1 to 10, by the formula in the module's docstring."""
    softened = (
        (features.coverage, weights.coverage_weight),
        (features.numbers, weights.numbers_weight),
        (features.polarity, weights.polarity_weight),
    )
    quality = (
        min(features.similarity / weights.full_similarity, 1.0) ** weights.similarity_power
        * min(features.novelty / weights.expected_novelty, 1.0)
        * min(features.length / weights.expected_share, 1.0) ** weights.fullness_power
        * math.prod(1.0 - weight + weight * term for term, weight in softened)
        * features.exactness
        * features.freshness
        * features.order
        * features.own
        * (1.0 if features.closed else weights.unclosed_factor)
    )
    return float(1.0 + 9.0 * quality)
