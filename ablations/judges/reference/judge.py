"""The `reference` judge: 1 to 10 without an LLM, from similarity to a reference answer and text statistics.

A proxy for trying things out: it knows what a reference says, not what is true or well put. It knows
neither conditions nor studies.

The score is `1 + 9 * quality` with

    quality     = similarity^a * fullness^b * freshness^c * own^d * (1 if the answer ends closed else e)
    similarity  = w * cosine(answer, reference) + (1 - w) * F1 over sentences, cut at 0 and divided by `full_similarity`
    fullness    = min(1, words of the answer / (r * words of the reference))
    freshness   = share of word trigrams that are not repeats
    own         = share of the answer before the heading of a next message

The F1 over sentences is BERTScore's greedy matching (Zhang et al. 2020) with sentences in place of tokens.
`Weights` holds the constants; `python -m ablations.judges.audit.calibration` chooses them on planted controls.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ablations.core.errors import QueryError
from ablations.core.records import MIN_COVERAGE, Completion, Judgment, Query, Score
from ablations.judges.base import FreeJudge
from ablations.judges.reference.text_statistics import ends_closed, freshness, length_share, own_share, split_sentences
from ablations.models.embedding import Encoder

NO_REFERENCE = "no reference answer"


@dataclass(frozen=True)
class Weights:
    """The constants of the formula in the module's docstring."""

    document_weight: float = 0.1
    similarity_power: float = 2.0
    full_similarity: float = 0.75
    fullness_power: float = 0.5
    expected_share: float = 0.4
    freshness_power: float = 1.0
    own_power: float = 1.0
    unclosed_factor: float = 0.8


@dataclass(frozen=True)
class Features:
    """Terms of the formula, each 0 to 1 except the cosines, which may be below 0."""

    document_cosine: float
    sentence_f1: float
    length_share: float
    freshness: float
    own_share: float
    closed: bool


class ReferenceJudge(FreeJudge):
    """Scores an answer by its likeness to a reference answer and by what text statistics tell."""

    name = "reference"
    scale = (1.0, 10.0)
    max_turns = 2

    def __init__(self, weights: Weights | None = None) -> None:
        super().__init__()
        self._weights = weights or Weights()
        self._encoder = Encoder()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reference-judge")

    @property
    def identity(self) -> Mapping[str, Any]:
        """The formula's version, its weights and the encoder."""
        return {"judge": self.name, "version": 1, "weights": asdict(self._weights), "encoder": self._encoder.name}

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
        reference = query.references[len(completions) - 1]
        if not reference:
            return Judgment(self.name, Score(None, NO_REFERENCE))
        answer = completions[-1].answer
        features = await asyncio.get_running_loop().run_in_executor(self._thread, self.features, answer, reference)
        score = rate(features, self._weights)
        details = {name: float(value) for name, value in asdict(features).items()}
        return Judgment(self.name, Score(score), details=details)

    def features(self, answer: str, reference: str) -> Features:
        """Return the features of an answer; everything is 0 for an empty one."""
        if not answer.strip():
            return Features(0.0, 0.0, 0.0, 0.0, 0.0, False)
        own, theirs = split_sentences(answer), split_sentences(reference)
        vectors = self._encoder.encode([answer, reference, *own, *theirs])
        cosines = vectors[2 : 2 + len(own)] @ vectors[2 + len(own) :].T
        precision, recall = (max(float(np.mean(cosines.max(axis=axis))), 0.0) for axis in (1, 0))
        return Features(
            document_cosine=float(vectors[0] @ vectors[1]),
            sentence_f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
            length_share=length_share(answer, reference),
            freshness=freshness(answer),
            own_share=own_share(answer),
            closed=ends_closed(answer),
        )

    async def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=True)


def rate(features: Features, weights: Weights) -> float:
    """Return the score, 1 to 10, by the formula in the module's docstring."""
    mixed = weights.document_weight * features.document_cosine + (1 - weights.document_weight) * features.sentence_f1
    similarity = min(max(mixed, 0.0) / weights.full_similarity, 1.0)
    quality = (
        similarity**weights.similarity_power
        * min(features.length_share / weights.expected_share, 1.0) ** weights.fullness_power
        * features.freshness**weights.freshness_power
        * features.own_share**weights.own_power
        * (1.0 if features.closed else weights.unclosed_factor)
    )
    return float(1.0 + 9.0 * quality)
