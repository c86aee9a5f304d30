"""One session of a greedy search: as any other, but what evaluates is the search, and what it finds is a prompt.

Knows the search and what is done with its prompt; how a session goes is in `session`.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ablations.cli.progress import progress_display, search_status
from ablations.core.condition import Condition
from ablations.core.errors import StorageError
from ablations.storage.claims import Claims
from ablations.storage.store import Store
from ablations.storage.workspace import PROMPT_FILE, SELECTION_FILE
from ablations.studies.engine.evaluator import Evaluator, Progress
from ablations.studies.engine.runner import Session
from ablations.studies.greedy.plan import longest_condition
from ablations.studies.greedy.search import FOUND_NOTE, Found, GreedySearch
from ablations.studies.kind import Findings, Results
from ablations.tracking.tracker import Tracker


@dataclass
class SearchSession(Session):
    """What one call of `run` works with, for a greedy search."""

    _found: Found | None = None

    @property
    def _conditions(self) -> list[Condition]:
        return [self.spec.baseline, longest_condition(self.spec)]

    @property
    def _shares(self) -> bool:
        return False  # a round's races go on from what its own process knows

    def _make_study(self, evaluator: Evaluator, store: Store, tracker: Tracker, claims: Claims) -> GreedySearch:
        del claims
        return GreedySearch(self.spec, evaluator, store, tracker)

    async def _evaluate(self, study: GreedySearch, done: Progress, tracker: Tracker) -> None:
        begun, tracked = time.monotonic(), tracker.seconds
        with progress_display(self.console, *search_status(study, done), done):
            self._found = await study.run()
        self._say_pace(done, time.monotonic() - begun, tracker.seconds - tracked)
        self._selection = [query.id for query in study.plan.halves.selection]

    async def _find(self, frame: pl.DataFrame, store: Store) -> tuple[Findings, list[Path]]:
        from ablations.studies.greedy.findings import summarise

        assert self._found is not None  # `_evaluate` has come to its end
        store.add_note(self.spec.name, FOUND_NOTE, self._found.to_dict())
        findings = summarise(Results(self.spec.name, frame, store.notes(self.spec.name)))
        results = self.places.results(self.spec.name)
        files = {
            results.with_name(PROMPT_FILE): self._found.prompt_text,
            results.with_name(SELECTION_FILE): json.dumps(self._selection, ensure_ascii=False),
        }
        try:
            for path, text in files.items():
                path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StorageError(f"the prompt cannot be written: {error}; free the disk") from error
        self.console.print(f"the chosen prompt: {results.with_name(PROMPT_FILE)}")
        return findings, list(files)
