"""One session of a study: check everything, start the parts, evaluate, close the books, give everything back.

Knows every part and does the work of none. Nothing is written before all input has been checked.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console

from ablations.cli.progress import progress_display, study_status
from ablations.cli.render import show
from ablations.core.condition import Condition
from ablations.core.errors import PartFailedError, StorageError, redacted
from ablations.core.records import PaidReply, Usage
from ablations.judges.base import Judge, audit_key
from ablations.models.base import Backend, refuse_unsupported, refuse_varied
from ablations.storage.claims import BOOKS, Claims
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.conditions.confirmation import follow_up_account, follow_up_name
from ablations.studies.conditions.optuna_storage import delete_optuna_study, open_optuna_study
from ablations.studies.conditions.study import WATCH_SECONDS, Study
from ablations.studies.engine.evaluator import Evaluator, Progress
from ablations.studies.engine.lengths import check_prompt_lengths
from ablations.studies.engine.results import results_frame, write_results
from ablations.studies.kind import Findings, Results
from ablations.studies.manifest import CARD_NOTE, StudyCard
from ablations.studies.spec import StudySpec, check_same_study
from ablations.studies.views.pages import FinishedStudy, Judging, about_study, log_study, recorded_in
from ablations.tracking.tracker import Tracker

if TYPE_CHECKING:
    from ablations.judges.audit.audit import Planted
    from ablations.judges.audit.pairs import Pair


CLOSED_NOTE = "closed"
"""What the store keeps of who closed a study's books last."""


@dataclass
class Session:
    """What one call of `run` works with.

    Attributes:
        spec: what to evaluate.
        options: what was in force, for the record.
        backend, judge: not started yet.
        places: where results go.
        console: where the user looks.
        fresh: whether an earlier study of this name is forgotten; its completions and judgments stay.
        started: whether the backend and the judge run already.
    """

    spec: StudySpec
    options: Mapping[str, Any]
    backend: Backend
    judge: Judge
    places: Places
    console: Console
    fresh: bool = False
    started: bool = False
    _study_id: str = field(default="", init=False)

    async def run(self) -> None:
        """Run the study to its end.

        Raises:
            UserError: something the user gave cannot be; nothing was written.
            PartFailedError: a part failed; finished work is kept.
        """
        async with AsyncExitStack() as parts:
            parts.push_async_callback(self.judge.close)
            parts.push_async_callback(self.backend.close)  # a check may have opened connections
            await self._check()
            self.places.prepare()
            async with AsyncExitStack() as given_back:
                given_back.enter_context(self.places.lock(self.spec.name))
                store = Store(self.places.store)
                given_back.callback(store.close)
                given_back.push_async_exit(parts.pop_all())  # the parts first, then the store and the lock
                await self._run_with(store)

    async def _check(self) -> None:
        """Check what can be checked without the engine."""
        backend, settings = self.backend, self._conditions
        refuse_varied(backend.name, backend.honours, self.spec.space.names)
        decodings = [condition.effective for condition in settings]
        refuse_unsupported(backend.name, backend.honours, backend.max_stops, decodings)
        await check_prompt_lengths(backend, settings, self.spec.queries)

    @property
    def _conditions(self) -> list[Condition]:
        """Conditions that show what all trials need of a backend."""
        return self.spec.boundary_conditions

    def _identity(self, spec: StudySpec) -> dict[str, Any]:
        """Return what may not change under a study's name."""
        return spec.identity(self.backend.identity.to_dict(), self.judge.identity)

    @property
    def _trials(self) -> int | None:
        """How many trials the study has when it is done, where its design does not say so; else None."""
        return None

    def _make_study(self, evaluator: Evaluator, store: Store, tracker: Tracker, claims: Claims) -> Any:
        """Return what evaluates; `remaining` is 0 where an earlier run has finished it."""
        optuna_study = open_optuna_study(self.spec.name, self.places.storage)
        return Study(self.spec, optuna_study, evaluator, store, tracker, claims)

    def _check_stored(self, store: Store, identity: Mapping[str, Any]) -> None:
        """Raise `StudyMismatchError` where what is stored cannot be continued."""
        stored = store.find_study(self.spec.name)
        if stored is not None and not self.fresh:
            check_same_study(self.spec.name, stored, identity)

    def _needs_parts(self, study: Any, evaluator: Evaluator) -> bool:
        """Whether what is left to do takes the engine and the judge."""
        del evaluator
        return bool(study.remaining)

    def _account(self, study_id: str) -> str:
        """Return the account that judging is paid from."""
        return study_id

    def _paid_before(self, store: Store, study_id: str) -> Usage:
        """Return what counts against `--max-cost` from the beginning: earlier runs, and those of the follow-up."""
        return store.paid(study_id) + store.paid(follow_up_account(study_id))

    def _forget(self, store: Store, name: str) -> None:
        """Forget a study's trials; its completions and judgments stay."""
        delete_optuna_study(name, self.places.storage)
        store.forget_study(name)

    async def _run_with(self, store: Store) -> None:
        alone = self.fresh or not self._shares
        async with Claims(store, self.spec.name, self.places.shared, alone) as claims:
            await self._run_claiming(claims, store)

    @property
    def _shares(self) -> bool:
        """Whether several processes may evaluate the study side by side."""
        return True

    async def _run_claiming(self, claims: Claims, store: Store) -> None:
        spec = self.spec
        ledger = _Ledger(store)
        self.judge.keep_replies(ledger.add)
        identity = self._identity(spec)
        self._check_stored(store, identity)
        places, price = self.places, self.judge.budget.price
        tracker = Tracker(places.tracking_uri, places.artifacts, spec.file.name, spec.name, price)
        if self.fresh:
            await tracker.connect()
            await self._start_parts()  # nothing is forgotten before everything is known to work
            self._forget(store, spec.name)
            if (store.find_study(follow_up_name(spec.name)) or {}).get("confirms") == spec.name:
                self._forget(store, follow_up_name(spec.name))
        if self._shares:
            claims.let_in()
        evaluator = Evaluator(self.backend, self.judge, store, spec.seed)
        async with claims.desk():  # databases make their tables at first use
            await tracker.connect()
            study = self._make_study(evaluator, store, tracker, claims)
        if self._needs_parts(study, evaluator):
            await self._start_parts()
        async with claims.desk():
            self._study_id = study_id = store.add_study(spec.name, identity)
            self._check_stored(store, identity)  # another worker may have been first, with other settings
            card = StudyCard.of(spec, self.options, identity, price, self._trials)
            store.add_note(spec.name, CARD_NOTE, card.to_dict())
            await tracker.start(study_id, card.about, card.parameters, card.files, card.inputs)
        self.judge.budget.spend(self._paid_before(store, study_id))
        account = self._account(study_id)
        ledger.open(account)
        status, closed = "FAILED", store.notes(spec.name).get(CLOSED_NOTE)
        try:
            await self._evaluate(study, evaluator.progress, tracker)
            if mine := await self._takes_books(claims, store, closed):
                if self._shares:  # a search logs as it goes what it looks up
                    await study.complete_log()
                await self._close_books(store, tracker, account, card)
            else:
                self._leave_books(store)
            status = "FINISHED"
        except StorageError as error:  # the databases were usable when the study began
            raise PartFailedError(f"{error}; finished work is kept, the same command goes on") from error
        except asyncio.CancelledError:
            status = "KILLED"
            raise
        finally:
            await tracker.finish(status if status == "FINISHED" or claims.alone else None)
        if mine:
            await self._follow_up(store)
            store.add_note(spec.name, CLOSED_NOTE, {"by": claims.worker})

    async def _takes_books(self, claims: Claims, store: Store, closed: Any) -> bool:
        """Wait until this worker may close the books, or another has, since it was `closed`; return which it is."""
        while not claims.take(BOOKS):
            if store.notes(self.spec.name).get(CLOSED_NOTE) != closed:
                return False
            await asyncio.sleep(WATCH_SECONDS)
        return bool(store.notes(self.spec.name).get(CLOSED_NOTE) == closed)

    async def _follow_up(self, store: Store) -> None:
        """Do what comes after the study, as the only worker."""

    async def _start_parts(self) -> None:
        """Load the judge and the engine, which takes a minute or more, unless that is done."""
        if self.started:
            return
        begun = time.monotonic()
        log = self.places.engine_log(self.spec.confirms or self.spec.name)  # the backend was made for the study
        self.console.print(f"starting the {self.backend.name} backend, which may take minutes; its log is {log}")
        # One after the other: on a GPU vLLM forks its worker, which a thread that imports would endanger.
        await self.judge.start()
        await self.backend.start()
        self.started = True
        self.console.print(f"engine ready after {time.monotonic() - begun:.0f} s")

    async def _evaluate(self, study: Any, done: Progress, tracker: Tracker) -> None:
        """Evaluate what is not finished yet, and say how fast that was."""
        spec, console = self.spec, self.console
        if study.damaged:
            shown = ", ".join(map(str, sorted(study.damaged)))
            console.print(f"the store lost answers of the trials {shown}, or holds damaged ones: they are made anew")
        if restored := study.restore():
            console.print(f"{restored} of {spec.total_trials} trials are finished already")
        if not study.remaining:
            return
        begun, tracked = time.monotonic(), tracker.seconds
        with progress_display(console, *study_status(spec, study, done), done):
            await study.run()
        self._say_pace(done, time.monotonic() - begun, tracker.seconds - tracked)

    def _say_pace(self, done: Progress, seconds: float, tracked: float) -> None:
        self.console.print(
            f"study took {seconds:.0f} s: {done.generated} completions generated, {done.reused} reused, "
            f"{done.completion_tokens:,} tokens ({done.completion_tokens / max(seconds, 1e-9):.0f} tokens/s); "
            f"{done.judged} judgments (equal answers are judged once); logging to MLflow took {tracked:.1f} s beside it"
        )
        cache = self.backend.prefix_cache
        if cache is not None and cache.hit_rate is not None:
            self.console.print(
                f"prefix cache: {cache.cached_tokens:,} of {cache.prompt_tokens:,} prompt tokens "
                f"({cache.hit_rate:.0%}) were not computed again"
            )

    def _leave_books(self, store: Store) -> None:
        """Export the results of record, and leave it to another worker to log what was found."""
        path = self.places.results(self.spec.name)
        write_results(results_frame(store, self.spec.name, self.spec.queries), path)
        self.console.print(f"another worker has shown and logged what was found; results: {path}")

    async def _close_books(self, store: Store, tracker: Tracker, account: str, card: StudyCard) -> None:
        """Export the results of record, compute what the study found, show and log it."""
        spec, console, places = self.spec, self.console, self.places
        frame = results_frame(store, spec.name, spec.queries)
        path = places.results(spec.name)
        write_results(frame, path)
        findings, files = await self._find(frame, store)
        tracker.check()
        judging = Judging.of(store, account, self.judge.identity, self.judge.budget.price)
        about = about_study(spec.name, frame, store.find_study(spec.name) or {}, judging, card)
        report = findings.report(about)
        show(console, report)
        confirms = store.studies().get(spec.confirms or "")
        finished = FinishedStudy(spec.name, findings, report, judging, [path, *files], confirms)
        await log_study(tracker, finished, recorded_in(store, spec.name, spec.queries))
        console.print(f"results: {path}")
        console.print(
            f"MLflow: {redacted(places.tracking_uri)}, experiment {spec.file.name!r}, run {spec.name!r}; "
            "browse it with: make ui"
        )
        console.print(f"one page on it: python -m ablations report --study {spec.name}", markup=False)

    async def _find(self, frame: pl.DataFrame, store: Store) -> tuple[Findings, list[Path]]:
        """Return what was found with the files that belong to it."""
        # Imported late: figures and forests take seconds that a refused command should not cost.
        from ablations.studies.conditions.findings import summarise

        return await asyncio.to_thread(summarise, Results(self.spec.name, frame)), []


class _Ledger:
    """Files every paid reply at once; what is paid before the account is known waits for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._account: str | None = None
        self._waiting: list[PaidReply] = []

    def add(self, reply: PaidReply) -> None:
        if self._account is None:
            self._waiting.append(reply)
        else:
            self._store.add_reply(self._account, reply)

    def open(self, account: str) -> None:
        self._account = account
        for reply in self._waiting:
            self._store.add_reply(account, reply)
        self._waiting.clear()


async def run_audit(
    judge: Judge, planted: "Sequence[Planted]", pairs: "Sequence[Pair]", places: Places, console: Console
) -> None:
    """Audit a judge, show and log what was found, and keep the verdict for later studies."""
    from ablations.judges.audit.audit import audit
    from ablations.studies.views.checks import AUDITS, audit_report, log_audit

    async with AsyncExitStack() as given_back:
        store = Store(places.store)
        given_back.callback(store.close)
        given_back.push_async_callback(judge.close)
        name = f"{judge.name} {judge.identity.get('model', '')}".strip()
        tracker = Tracker(places.tracking_uri, places.artifacts, AUDITS, name)
        await tracker.connect()
        account = uuid.uuid4().hex
        ledger = _Ledger(store)
        ledger.open(account)
        judge.keep_replies(ledger.add)
        await judge.start()
        found = await audit(judge, planted, pairs)
        cost = judge.budget.cost(store.paid(account))
        kept = {
            "id": account,
            "name": name,
            "judge": dict(judge.identity),
            "metrics": found.metrics() | {"judge_cost_usd": cost},
            "verdict": found.verdict,
            "table": found.table(),
        }
        store.add_audit(audit_key(judge.identity), kept)
        show(console, audit_report(name, found, cost))
        await log_audit(tracker, kept)
