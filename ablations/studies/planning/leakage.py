"""Leakage: what a study's prompts know of its queries, and which other queries can confirm what the study found.

A prompt knows a query that it shows, or that it was chosen by. Knows pools, queries and specs; runs nothing.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ablations.core.errors import PromptError, UsageError, reason
from ablations.core.prompt import Demonstration
from ablations.core.records import Query
from ablations.datasets.overlap import find_overlaps
from ablations.datasets.prepare import PoolSettings
from ablations.models.embedding import Encoder, VectorMemory
from ablations.prompts.urial_file import take_apart
from ablations.storage.workspace import SELECTION_FILE
from ablations.studies.spec import StudySpec


def check_start(spec: StudySpec, settings: PoolSettings, built_in: bool, vectors: VectorMemory | None) -> None:
    """Raise `UsageError` if the prompt that a greedy search starts with, or a prompt file, shows an evaluation query.

    A prompt file that cannot be taken apart cannot be compared; its system prompt is all that is known of it.
    """
    shown, own = start_shots(spec), spec.fixed_parts is None
    if settings.allow_overlap or not shown or not (spec.config.kind.adds_shots or not own):
        return
    encoder = None if own and built_in else Encoder(settings.encoder, vectors)
    if found := find_overlaps(shown, spec.queries, encoder):
        raise UsageError(
            f"the prompt shows what the evaluation asks ({'; '.join(map(str, found))}), and it is used as it is; "
            "choose other queries or another --prompt-file, or give --allow-overlap, which is recorded"
        )


def start_shots(spec: StudySpec) -> tuple[Demonstration, ...]:
    """Return the demonstrations of the baseline's prompt, those in a prompt file among them."""
    shown = spec.baseline.prompt.shots
    if spec.fixed_parts is not None and not shown:
        with suppress(PromptError):
            shown = take_apart(spec.fixed_parts.system_prompt).demonstrations
    return shown


def queries_that_chose(prompt: Path | None) -> set[str]:
    """Return the ids of the queries that a greedy search chose the prompt by, where it says so."""
    path = None if prompt is None else prompt.with_name(SELECTION_FILE)
    if path is None or not path.is_file():
        return set()
    try:
        return set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be read: {reason(error)}; run the greedy search again, or delete the file"
        ) from error


def selection_notes(chosen_by: set[str], queries: Sequence[Query]) -> list[str]:
    """Say how many of the queries a greedy search chose the prompt by."""
    same = sum(query.id in chosen_by for query in queries)
    if not same:
        return []
    biased = f"the greedy prompt was chosen by {same} of the {len(queries)} queries"
    return [f"{biased}, so that its score on them is subject to selection bias"]
