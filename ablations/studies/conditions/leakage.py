"""Leakage: what a study's prompts know of its queries, and which other queries can confirm what the study found.

A prompt knows a query that it shows, or that it was chosen by. Knows pools, queries and specs; runs nothing.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ablations.core.errors import PromptError, UsageError, UserError
from ablations.core.prompt import Demonstration
from ablations.core.records import Query
from ablations.datasets.overlap import find_overlaps
from ablations.datasets.pools import BUILT_IN
from ablations.datasets.prepare import PoolSettings
from ablations.judges.base import Judge
from ablations.models.embedding import Encoder, VectorMemory
from ablations.prompts.urial_file import take_apart
from ablations.storage.workspace import SELECTION_FILE
from ablations.studies.conditions.confirmation import Confirmation, hold_back, shown_queries
from ablations.studies.spec import StudySpec


def check_start(spec: StudySpec, settings: PoolSettings, built_in: bool, vectors: VectorMemory | None) -> None:
    """Raise `UsageError` if the prompt that a greedy search starts with, or a prompt file, shows an evaluation query.

    A prompt file that cannot be taken apart cannot be compared; its rules are all that is known of it.
    """
    shown, own = _start(spec), spec.fixed_parts is None
    if settings.allow_overlap or not shown or not (spec.config.kind.adds_shots or not own):
        return
    encoder = None if own and built_in else Encoder(settings.encoder, vectors)
    if found := find_overlaps(shown, spec.queries, encoder):
        raise UsageError(
            f"the prompt shows what the evaluation asks ({'; '.join(map(str, found))}), and it is used as it is; "
            "choose other queries or another --prompt-file, or give --allow-overlap, which is recorded"
        )


def _start(spec: StudySpec) -> tuple[Demonstration, ...]:
    """Return the demonstrations of the baseline's prompt, those in a prompt file among them."""
    shown = spec.baseline.prompt.shots
    if spec.fixed_parts is not None and not shown:
        with suppress(PromptError):
            shown = take_apart(spec.fixed_parts.system_prompt).demonstrations
    return shown


def queries_that_chose(prompt: Path | None) -> set[str]:
    """Return the ids of the queries that a greedy search chose the prompt by, where it left word of that."""
    path = None if prompt is None else prompt.with_name(SELECTION_FILE)
    if path is None or not path.is_file():
        return set()
    try:
        return set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error}; run the greedy search again, or delete the file") from error


def flattered(chosen_by: set[str], queries: Sequence[Query]) -> list[str]:
    """Say how many of the queries a greedy search chose the prompt by."""
    same = sum(query.id in chosen_by for query in queries)
    return [f"the greedy prompt was chosen by {same} of the {len(queries)} queries, which flatters it"] if same else []


def plan_confirmation(
    spec: StudySpec,
    whole: Sequence[Query],
    best: int,
    held_back: int | None,
    settings: PoolSettings,
    built_in: bool,
    chosen_by: set[str],
    vectors: VectorMemory | None,
) -> Confirmation:
    """Return what is evaluated again when the study has ended.

    Args:
        spec: the study.
        whole: the evaluation set that its queries are drawn from.
        best: how many conditions.
        held_back: how many queries that the study does not see; None for as many as it sees.
        settings: of the pool.
        built_in: whether the evaluation set is the project's own.
        chosen_by: ids of queries that a greedy search chose a prompt by.
        vectors: where embeddings are kept, or None.
    """
    shown = _start(spec)
    known = built_in and settings.name in BUILT_IN and settings.greedy is None and spec.fixed_parts is None
    encoder = None if known else Encoder(settings.encoder, vectors)
    if spec.prepared is not None:
        shown += (*spec.prepared.chooser.everything, *spec.prepared.chooser.greedy)

    def unfit(queries: Sequence[Query]) -> set[str]:
        chose = {query.id for query in queries} & chosen_by
        return chose | (set() if settings.allow_overlap else shown_queries(queries, shown, encoder))

    count = len(spec.queries) if held_back is None else held_back
    return Confirmation(best, hold_back(whole, spec.queries, count, spec.seed, unfit))


def check_held_back(judge: Judge, queries: Sequence[Query]) -> None:
    """Raise the judge's own error where it cannot judge these queries, the held-back ones among them."""
    try:
        judge.check(queries)
    except UserError as error:
        raise type(error)(
            f"with the held-back queries, {error}; or --held-back 0 confirms fresh seeds alone"
        ) from error
