"""The runner: one study from its plan to its findings, whatever kind it is of.

Knows the order of things: check everything, lock, open, evaluate, export, summarise, log, give everything back. Nothing
is written before all input has been checked. Knows no kind by its name.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from ablations.core.condition import Condition
from ablations.core.errors import PartFailedError, StorageError, redacted
from ablations.core.records import PaidReply
from ablations.judges.base import Judge
from ablations.judges.panel import scales
from ablations.models.base import Backend, refuse_unsupported, refuse_varied
from ablations.storage.locks import study_lock
from ablations.storage.store import Store
from ablations.storage.workspace import Places, follow_up_account, follow_up_name
from ablations.studies.engine import optuna_view
from ablations.studies.engine.optuna_view import OptunaView
from ablations.studies.engine.results import write_beside, write_results
from ablations.studies.engine.run import Run
from ablations.studies.kind import Plan, StudyKind
from ablations.studies.manifest import FINISHED_NOTE, MANIFEST_NOTE, StudyManifest
from ablations.studies.planning.lengths import check_prompt_lengths
from ablations.studies.reporter import Reporter
from ablations.studies.views.findings import findings
from ablations.studies.views.pages import StoredStudy, log_study
from ablations.studies.views.stored import stored_study
from ablations.tracking.tracker import Tracker

P = TypeVar("P", bound=Plan)


@dataclass
class Parts:
    """Parts that a study and its follow-up share: judge and engines, each started once, when it is first needed.

    Attributes:
        backend: the study's own model, not started.
        judge: not started.
        places: where results go.
        reporter: shows messages and progress to the user.
        log_file: where everything goes that engines print.
    """

    backend: Backend
    judge: Judge
    places: Places
    reporter: Reporter
    log_file: Path
    _started: set[int] = field(default_factory=set, init=False)
    _opened: AsyncExitStack = field(default_factory=AsyncExitStack, init=False)

    def __post_init__(self) -> None:
        self._starting = asyncio.Lock()
        self._opened.push_async_callback(self.judge.close)
        self._opened.push_async_callback(self.backend.close)  # a check may have opened connections

    async def start(self, *backends: Backend) -> None:
        """Start the judge, and then a backend with those that share its engine, unless that is done.

        An engine takes a minute or more.
        """
        async with self._starting:
            if id(self.judge) not in self._started:
                # One after the other: on a GPU vLLM forks its worker, which a thread that imports would endanger.
                await self.judge.start()
                self._started.add(id(self.judge))
            if new := [one for one in backends if id(one) not in self._started]:
                begun = time.monotonic()
                self.reporter.say(
                    f"starting the {new[0].name} backend, which may take minutes; its log is {self.log_file}"
                )
                for one in new:
                    await one.start()
                    self._started.add(id(one))
                self.reporter.say(f"engine ready after {time.monotonic() - begun:.0f} s")

    async def stop(self, backend: Backend) -> None:
        """Give back what a backend holds; it can be started again."""
        self._started.discard(id(backend))
        await backend.close()

    async def close(self) -> None:
        """Give everything back."""
        await self._opened.aclose()


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


@dataclass
class Runner(Generic[P]):
    """One call of `run` for one study.

    Attributes:
        kind: of the study.
        plan: what it will do.
        parts: judge and engines.
        fresh: whether a former study of this name is forgotten; its completions and judgments stay.
    """

    kind: StudyKind[P]
    plan: P
    parts: Parts
    fresh: bool = False

    async def run(self) -> None:
        """Run the study, and what follows from its findings, to their end.

        Raises:
            UserError: something the user gave cannot be; nothing was written.
            PartFailedError: a part failed; finished work is stored.
        """
        parts, places, name = self.parts, self.parts.places, self.plan.spec.name
        async with AsyncExitStack() as opened:
            opened.push_async_callback(parts.close)
            await self._check()
            places.prepare()
            async with AsyncExitStack() as locked:
                alone = locked.enter_context(study_lock(places, name))
                if self.plan.follows_up:
                    locked.enter_context(study_lock(places, follow_up_name(name)))
                store = Store(places.store)
                locked.callback(store.close)
                locked.push_async_exit(opened.pop_all())  # the parts first, then the store and the lock
                done = await _Session(self, store, alone).run()
                if self.plan.follows_up:
                    await self._follow_up(done, store, alone)

    async def rehearse(self) -> None:
        """Check all that can be checked without the engine, and read what is stored; nothing is written.

        Raises:
            UserError: a run would be refused.
        """
        async with AsyncExitStack() as opened:
            opened.push_async_callback(self.parts.close)
            await self._check()
            if self.parts.places.stored:
                store = opened.enter_context(closing(Store(self.parts.places.store)))
                _Session(self, store, lambda: None).check_stored()

    async def _follow_up(self, done: StoredStudy, store: Store, alone: Callable[[], None]) -> None:
        """Confirm what the study found, on the same engines."""
        plan = self.kind.follow_up(self.plan, done.results, self.parts.reporter)
        if plan is not None:
            self.parts.judge.check(plan.spec.queries)
            await _Session(replace(self, plan=plan, fresh=False), store, alone, parent=done).run()

    async def _check(self) -> None:
        """Check what can be checked without the engine."""
        backend, plan = self.parts.backend, self.plan
        refuse_varied(backend.name, backend.honours, plan.spec.space.names)
        conditions: list[Condition] = list(plan.conditions)
        decodings = [condition.effective for condition in conditions]
        refuse_unsupported(backend.name, backend.honours, backend.max_stops, decodings)
        await check_prompt_lengths(backend, conditions, plan.spec.queries)
        await plan.check(backend)


class _Session(Generic[P]):
    """One study under its lock, with the store open."""

    def __init__(
        self, runner: Runner[P], store: Store, alone: Callable[[], None], parent: StoredStudy | None = None
    ) -> None:
        self._runner, self._store, self._alone, self._parent = runner, store, alone, parent
        self._plan, self._spec, self._parts = runner.plan, runner.plan.spec, runner.parts
        self._identity = runner.plan.identity(self._parts.backend.identity.to_dict(), self._parts.judge.identity)

    async def run(self) -> StoredStudy:
        store, spec, parts, plan = self._store, self._spec, self._parts, self._plan
        ledger = _Ledger(store)
        parts.judge.keep_replies(ledger.add)
        self.check_stored()
        price = parts.judge.budget.price
        tracker = Tracker(parts.places.tracking_uri, parts.places.artifacts, spec.config.file, spec.name, price)
        with closing(tracker), ExitStack() as opened:
            await tracker.connect()
            if self._runner.fresh:
                # Nothing is forgotten before everything is known to work.
                await parts.start(*(() if plan.trains_first else (parts.backend,)))
                self._forget()
            elif self._changed():
                parts.reporter.say("it is run again, because conditions or queries are not those of last time")
                self._forget()
            optuna = None
            if plan.space is not None:
                optuna = opened.enter_context(closing(OptunaView(spec.name, parts.places.storage, plan.space)))
                records = store.trials(spec.name)
                optuna.check(records)
                optuna.complete(records)
            return await self._recorded(tracker, ledger, optuna)

    async def _recorded(self, tracker: Tracker, ledger: "_Ledger", optuna: OptunaView | None) -> StoredStudy:
        """Evaluate the study and write what it found, with all of its views."""
        store, spec, parts, plan = self._store, self._spec, self._parts, self._plan
        price = parts.judge.budget.price
        study_id = store.add_study(spec.name, self._identity)
        known = scales(parts.judge, spec.queries, spec.config.study.negligible)
        manifest = StudyManifest.of(plan, self._identity, price, known)
        store.add_note(spec.name, MANIFEST_NOTE, manifest.to_dict())
        await tracker.start(study_id, manifest.about, manifest.parameters, manifest.files, manifest.inputs)
        account = study_id if self._parent is None else follow_up_account(self._parent.study_id)
        status = "FAILED"
        try:
            if self._parent is None:  # a follow-up's budget is its study's, which has counted it
                parts.judge.budget.spend(store.paid(study_id) + store.paid(follow_up_account(study_id)))
            ledger.open(account)
            run = Run(
                spec, parts.backend, parts.judge, store, tracker, parts.reporter, optuna, parts, self._alone, known
            )
            await self._evaluate(run)
            await run.complete_log()
            found = await self._finish(tracker, study_id)
            status = "FINISHED"
        except StorageError as error:  # the databases were usable when the study began
            raise PartFailedError(f"{error}; finished work is stored, the same command resumes") from error
        except asyncio.CancelledError:
            status = "KILLED"
            raise
        finally:
            await tracker.finish(status)
        return found

    def check_stored(self) -> None:
        """Raise `StudyMismatchError` where what is stored under the study's name cannot be continued."""
        stored = self._store.find_study(self._spec.name)
        if stored is not None and not self._runner.fresh:
            self._plan.check_same(stored, self._identity)
            if not self._plan.gives_way(stored, self._identity):
                self._plan.check_finished(self._store.trials(self._spec.name))
        again = self._store.find_study(follow_up_name(self._spec.name))
        if again is not None:
            backend, judge = self._parts.backend.identity.to_dict(), self._parts.judge.identity
            self._plan.check_follow_up(again, backend, judge, self._runner.fresh)

    def _changed(self) -> bool:
        """Whether the stored study is another choice of what this one evaluates, and gives way to it."""
        stored = self._store.find_study(self._spec.name)
        return stored is not None and self._plan.gives_way(stored, self._identity)

    def _forget(self) -> None:
        """Forget the study's trials, and those of what confirms it; completions and judgments stay."""
        name = self._spec.name
        self._forget_one(name)
        again = follow_up_name(name)
        if (self._store.find_study(again) or {}).get("confirms") == name:
            self._forget_one(again)

    def _forget_one(self, name: str) -> None:
        optuna_view.forget(name, self._parts.places.storage)
        self._store.forget_study(name)

    async def _evaluate(self, run: Run) -> None:
        """Let the kind evaluate what is not finished yet, and say how fast that was."""
        reporter, plan, done = self._parts.reporter, self._plan, run.progress
        if run.damaged:
            shown = ", ".join(map(str, sorted(run.damaged)))
            reporter.say(
                f"the store lost answers of the trials {shown}, or holds damaged ones: they are asked for again"
            )
        if (finished := len(run.finished())) and plan.trials is not None:
            reporter.say(f"{finished} of {plan.trials} trials are finished already")
        begun, tracked = time.monotonic(), run.tracker.seconds
        await self._runner.kind.run(plan, run)
        if not done.turns_done:
            return
        seconds = time.monotonic() - begun
        reporter.say(
            f"study took {seconds:.0f} s: {done.generated} completions generated, {done.reused} reused, "
            f"{done.completion_tokens:,} tokens ({done.completion_tokens / max(seconds, 1e-9):.0f} tokens/s); "
            f"{done.judged} judgments (equal answers are judged once); logging to MLflow took "
            f"{run.tracker.seconds - tracked:.1f} s beside it"
        )
        cache = self._parts.backend.prefix_cache
        if cache is not None and cache.hit_rate is not None:
            reporter.say(
                f"prefix cache: {cache.cached_tokens:,} of {cache.prompt_tokens:,} prompt tokens "
                f"({cache.hit_rate:.0%}) were not computed again"
            )

    async def _finish(self, tracker: Tracker, study_id: str) -> StoredStudy:
        """Export the results of record, compute what the study found, show and log it."""
        spec, places, store = self._spec, self._parts.places, self._store
        path, found = places.results(spec.name), stored_study(store, spec.name, study_id, places)
        write_results(found.record, path, spec.config.mode)
        files = [path, *write_beside(path, found.results.notes)]
        told = await asyncio.to_thread(findings, self._runner.kind, found.results)
        tracker.check()
        report = told.report(found.about)
        self._parts.reporter.show(report)
        await log_study(tracker, found, told, report, files)
        store.add_note(spec.name, FINISHED_NOTE, {"at": time.time()})
        self._say_where(path)
        return found

    def _say_where(self, path: object) -> None:
        say, places, spec = self._parts.reporter.say, self._parts.places, self._spec
        say(f"results: {path}")
        say(
            f"MLflow: {redacted(places.tracking_uri)}, experiment {spec.config.file!r}, run {spec.name!r}; "
            "browse it with: make ui"
        )
        say(f"one page on it: python -m ablations report --study {spec.name}")
