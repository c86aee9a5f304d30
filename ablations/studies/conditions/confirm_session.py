"""One session of a study and its confirmation: when the study has ended, its best conditions are evaluated again.

Both share the backend and the judge, which start once, and not at all where everything is stored. Knows which
conditions are the best; how a session goes is in `session`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ablations.core.errors import PromptError
from ablations.core.records import Usage
from ablations.storage.store import Store
from ablations.studies.conditions.confirmation import (
    Confirmation,
    best_conditions,
    check_stored,
    follow_up_account,
    follow_up_name,
    same_choice,
)
from ablations.studies.conditions.study import Finished
from ablations.studies.engine.evaluator import Evaluator, Progress
from ablations.studies.engine.lengths import check_prompt_lengths
from ablations.studies.engine.runner import Session
from ablations.studies.kind import Findings, Results
from ablations.tracking.tracker import Tracker


@dataclass
class ConfirmedSession(Session):
    """What one call of `run` works with, for a study whose best conditions are confirmed.

    Attributes:
        confirmation: how many of them, and on which queries.
    """

    confirmation: Confirmation = field(kw_only=True)
    _finished: list[Finished] = field(default_factory=list)
    _frame: pl.DataFrame = field(default_factory=pl.DataFrame)

    async def _check(self) -> None:
        await super()._check()
        conditions = self.confirmation.extended(self.spec).boundary_conditions
        try:
            await check_prompt_lengths(self.backend, conditions, self.confirmation.held_back.queries)
        except PromptError as error:
            raise PromptError(f"held back, {error}; or --held-back 0 confirms fresh seeds alone") from error

    async def _run_with(self, store: Store) -> None:
        with self.places.lock(follow_up_name(self.spec.name)):
            await super()._run_with(store)

    def _check_stored(self, store: Store, identity: Mapping[str, Any]) -> None:
        super()._check_stored(store, identity)
        stored = store.find_study(follow_up_name(self.spec.name))
        today = self._identity(self.confirmation.follow_up(self.spec, []))
        check_stored(self.spec.name, stored, None if self.fresh else today)

    async def _evaluate(self, study: Any, done: Progress, tracker: Tracker) -> None:
        await super()._evaluate(study, done, tracker)
        self._finished = study.finished

    async def _find(self, frame: pl.DataFrame, store: Store) -> tuple[Findings, list[Path]]:
        self._frame = frame
        return await super()._find(frame, store)

    async def _follow_up(self, store: Store) -> None:
        """Evaluate the best conditions and the baseline again; where they are others than last time, all of them."""
        best = best_conditions(self._finished, self.confirmation.best)
        if not best:
            self.console.print("Nothing to confirm: the baseline or every other condition lacks enough scores.")
            return
        spec = self.confirmation.follow_up(self.spec, [one.trial.point.values for one in best])
        self.judge.check(spec.queries)
        stored = store.find_study(spec.name)
        self.console.print()
        self.console.print(
            f"Confirmation: {len(best)} conditions and the baseline again, on {len(self.spec.queries)} queries with "
            f"fresh seeds and {len(self.confirmation.held_back.queries)} held back",
            style="bold",
        )
        if stored is not None and not same_choice(stored, self._identity(spec)):
            self.console.print("it is made anew, because conditions or queries are not those of last time")
            self._forget(store, spec.name)
        options = {**self.options, "name": spec.name, "seed": spec.seed, "trials": spec.trials, "design": "listed"}
        await FollowUpSession(
            spec,
            options | {"confirms": self.spec.name},
            self.backend,
            self.judge,
            self.places,
            self.console,
            started=self.started,
            selected=self._frame,
            account=follow_up_account(self._study_id),
        )._run_with(store)


@dataclass
class FollowUpSession(Session):
    """The second half of a `ConfirmedSession`.

    Attributes:
        selected: the study's results of record.
        account: that judging is paid from.
    """

    selected: pl.DataFrame = field(kw_only=True)
    account: str = field(kw_only=True)

    def _needs_parts(self, study: Any, evaluator: Evaluator) -> bool:
        spec = self.spec
        if not super()._needs_parts(study, evaluator):
            return False
        points = spec.design
        return not all(evaluator.stored(spec.to_condition(p.values), spec.queries, p.replicate) for p in points)

    def _account(self, study_id: str) -> str:
        del study_id  # a follow-up that is made anew has another one
        return self.account

    def _paid_before(self, store: Store, study_id: str) -> Usage:
        del store, study_id  # the study's own session has counted it
        return Usage()

    async def _find(self, frame: pl.DataFrame, store: Store) -> tuple[Findings, list[Path]]:
        from ablations.studies.conditions.findings import summarise

        return await asyncio.to_thread(summarise, Results(self.spec.name, frame, parent=self.selected)), []
