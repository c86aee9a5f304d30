"""Rebuilding: Optuna's database and MLflow's view made anew from the results of record.

Knows which view comes from what, and never destroys: views are written aside, put in place when they are whole, and
what stood there is moved to a folder that is named. What is logged takes the way that a live study takes.
"""

import asyncio
import io
import shutil
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console

from ablations.core.errors import StorageError, UsageError, redacted
from ablations.core.records import Role
from ablations.core.statistics import summarise
from ablations.storage.claims import Claims
from ablations.storage.replacement import Aside, move_folders
from ablations.storage.store import Store
from ablations.storage.workspace import LOSSES_FILE, PROMPT_FILE, SELECTION_FILE, Places, check_sqlite
from ablations.studies.alignment.study import MODELS_MARK, log_models, study_names
from ablations.studies.conditions.optuna_storage import carry_over, delete_optuna_study, known_studies
from ablations.studies.config.file import FIXED_MODES
from ablations.studies.engine.results import write_results
from ablations.studies.icl_vs_ift.study import loss_curves, loss_frame, outcome_of
from ablations.studies.kind import Results
from ablations.studies.manifest import CARD_NOTE
from ablations.studies.views.checks import AUDITS, log_audit
from ablations.studies.views.optuna_view import remake_trials, why_not
from ablations.studies.views.pages import FinishedStudy, about_study, log_study
from ablations.studies.views.stored import KeptStudy, exported_study, stored_study
from ablations.tracking.cleanup import forget_runs, moved_experiments
from ablations.tracking.tracker import Tracker
from analysis.demonstrations.ways import LOSS_SCHEMA

_NO_ROUNDS = (
    "The rounds of this search are not kept, since an older version ran it. Its command run again looks up all that it "
    "did, and shows them here."
)


@dataclass(frozen=True)
class _Comparison:
    """A comparison of several models: its own name and id, the experiment and files, and each model's study."""

    name: str
    study_id: str
    experiment: str
    files: dict[str, str]
    names: dict[str, str]


def rebuild(places: Places, name: str | None, console: Console) -> list[str]:
    """Make the views of all studies anew, or of one, and say what could not be made.

    Returns the studies that were left out, because their records are damaged or lacking.

    Raises:
        UsageError: there is no such study, or nothing to rebuild from.
        StorageError: the results of record cannot be read, or a view not written; the old views stand.
        TrackingError: MLflow failed; the old views stand.
    """
    with ExitStack() as given_back:
        path = Aside(places.store, "").path
        store = None
        if path is None or path.is_file():
            if path is not None:
                check_sqlite(path)
            store = Store(places.store)
            given_back.callback(store.close)
        chosen = _chosen(store, places, name)
        for one in chosen:
            given_back.enter_context(places.lock(one))
        return _Rebuild(places, store, chosen, name is None, console).run()


def _chosen(store: Store | None, places: Places, name: str | None) -> dict[str, str | None]:
    """Return the studies to rebuild with their ids, None for those that the store does not have."""
    known: dict[str, str | None] = dict(store.studies()) if store is not None else {}
    known |= {one: None for one in places.exported if one not in known}
    if not known:
        raise UsageError(f"{places.folder} holds no results of a study; name the folder with --mlruns DIR")
    if name is None:
        return known
    chosen = {one: known[one] for one in known if name in (one, one.partition(MODELS_MARK)[0])}
    if not chosen:
        shown = ", ".join(one.partition(MODELS_MARK)[0] for one in known)
        raise UsageError(f"--name {name!r} is no study of {places.folder}; there are: {shown}")
    return chosen


class _Rebuild:
    """One rebuilding: where it writes, and what it has to say."""

    def __init__(
        self, places: Places, store: Store | None, chosen: dict[str, str | None], everything: bool, console: Console
    ) -> None:
        self._places, self._store, self._chosen = places, store, chosen
        self._everything, self._console = everything, console
        stamp = time.strftime("%Y%m%d-%H%M%S")
        taken = sum(1 for _ in places.folder.glob(f"*-{stamp}*")) + sum(
            1 for _ in places.folder.glob(f"artifacts/*-{stamp}*")
        )
        mark = f"{stamp}-{taken + 1}" if taken else stamp
        self._kept = places.folder / f"replaced-{mark}"
        self._tracking = Aside(places.tracking_uri, f"rebuilt-{mark}")
        self._storage = Aside(places.storage, f"rebuilt-{mark}")
        self._new_artifacts = places.folder / "artifacts" / f"rebuilt-{mark}"
        self._moves_artifacts = everything and self._tracking.path is not None
        self._artifacts = self._new_artifacts if self._moves_artifacts else places.artifacts
        self._made = 0
        self._left_out: list[str] = []

    def run(self) -> list[str]:
        """Write the views aside, then put them in place; return the studies that were left out."""
        try:
            self._places.folder.mkdir(parents=True, exist_ok=True)
            if not self._everything:
                self._begin_with_old()
            asyncio.run(self._write())
            if not self._made:
                raise StorageError("nothing could be rebuilt, as said above; the old views stand as they were")
            moved = self._storage.put_in_place(self._kept)
            moved += self._tracking.put_in_place(self._kept)  # last: from here on the new artifacts belong to it
        except BaseException:
            if self._moves_artifacts:
                shutil.rmtree(self._new_artifacts, ignore_errors=True)
            raise
        finally:
            self._tracking.discard()
            self._storage.discard()
        if self._moves_artifacts:
            moved += move_folders(self._new_artifacts.parent, self._new_artifacts, self._kept / "artifacts")
        server = self._places.artifacts is None
        shown = (
            redacted(self._places.tracking_uri) if server else f"python -m ablations ui --mlruns {self._places.folder}"
        )
        self._say(f"{self._made} rebuilt; browse them with: {shown}")
        if moved:
            self._say(f"what stood there before is in {self._kept}; delete it when it is needed no more")
        if self._left_out:
            where = f", whose former pages are in {self._kept} alone" if moved and self._everything else ""
            self._say(f"{len(self._left_out)} left out: {', '.join(self._left_out)}{where}")
        return self._left_out

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _begin_with_old(self) -> None:
        """Keep what is there of the other studies."""
        self._tracking.begin_with_old()
        self._storage.begin_with_old()
        if self._tracking.path is not None and (moved := moved_experiments(self._tracking.url, self._places.folder)):
            raise UsageError(
                f"{self._tracking.path} keeps the artifacts of {', '.join(moved)} in another folder, because it was "
                "moved; rebuild all studies: leave --name out"
            )
        for study_id in filter(None, self._chosen.values()):
            if self._tracking.path is not None:
                forget_runs(self._tracking.url, study_id)

    async def _write(self) -> None:
        async with AsyncExitStack() as claimed:
            for name in self._chosen:
                if self._store is not None:
                    await claimed.enter_async_context(Claims(self._store, name, self._places.shared, alone=True))
            await self._write_alone()

    async def _write_alone(self) -> None:
        for name, study_id in self._chosen.items():
            try:
                found = self._read(name, study_id)
            except (StorageError, KeyError, ValueError) as error:
                why = str(error) if isinstance(error, StorageError) else f"its records are damaged ({error!r})"
                self._say(f"{name}: left out, because {why}")
                self._left_out.append(name)
                continue
            if isinstance(found, _Comparison):
                await self._compare(found)
                said = ["compared in MLflow"]
            else:
                await self._register(found)
                said = [f"{len(found.recorded.trials)} trials in MLflow", *self._refill(found), *found.lacking]
            self._say(f"{name.partition(MODELS_MARK)[0]}: {'; '.join(said)}")
            self._made += 1
        if self._everything and self._store is not None:
            await self._audits(self._store)

    def _read(self, name: str, study_id: str | None) -> KeptStudy | _Comparison:
        if study_id is None or self._store is None:
            return exported_study(name, self._places)
        identity = self._store.find_study(name) or {}
        if set(identity) != {"models"}:
            kept = stored_study(self._store, name, study_id, self._places)
            if kept.confirms is not None and not self._places.results(kept.confirms).is_file():
                raise StorageError(
                    f"it confirms {kept.confirms!r}, and {self._places.results(kept.confirms)} is missing"
                )
            return kept
        shown, note = name.partition(MODELS_MARK)[0], self._store.notes(name).get(CARD_NOTE, {})
        names = study_names(shown, identity["models"])
        for own in names.values():
            if not self._places.results(own).is_file():
                raise StorageError(f"{self._places.results(own)} does not exist")
        return _Comparison(shown, study_id, note.get("experiment", shown), note.get("files", {}), names)

    async def _compare(self, found: _Comparison) -> None:
        tracker = Tracker(self._tracking.url, self._artifacts, found.experiment, found.name)
        quiet = Console(file=io.StringIO())
        await log_models(tracker, found.name, found.study_id, found.files, found.names, self._places, quiet)

    async def _register(self, kept: KeptStudy) -> None:
        """Log a study as it logs itself when it runs."""
        card, recorded = kept.card, kept.recorded
        tracker = Tracker(self._tracking.url, self._artifacts, card.experiment, kept.name, card.price)
        times = [record[when] for record in recorded.trials.values() for when in ("started", "ended") if when in record]
        begun, ended = min(times, default=None), max(times, default=None)
        await tracker.start(kept.study_id, card.about, card.parameters, card.files, card.inputs, begun)
        status = "FAILED"
        try:
            for number, record in recorded.trials.items():
                if record["role"] != Role.CANDIDATE and not tracker.knows(number):
                    turns = recorded.turns.get(number, [])
                    await tracker.log_trial(number, record, summarise(turns), turns, recorded.first_prompt(number))
                    if self._store is not None and (outcome := outcome_of(self._store, record)) is not None:
                        await tracker.log_steps(number, loss_curves(outcome))
            for page in kept.rounds:
                if not tracker.knows(page.number):
                    await tracker.log_round(page)
            tracker.check()
            if kept.finished:
                await self._close(kept, tracker)
            elif card.mode == "greedy-search" and kept.found is None:
                await tracker.log_findings({}, _NO_ROUNDS, {}, {}, {})
            status = "FINISHED" if kept.finished else "KILLED"
        finally:
            await tracker.finish(status, ended)

    async def _close(self, kept: KeptStudy, tracker: Tracker) -> None:
        from ablations.studies.views.report import summarise_of
        from ablations.studies.views.sources import open_results

        path = self._places.results(kept.name)
        if not path.is_file():
            write_results(kept.frame, path)
        store, name = self._store, kept.name
        results = Results(
            name,
            kept.frame,
            {} if store is None else store.notes(name),
            None if kept.confirms is None else open_results(kept.confirms, self._places.folder),
            tables={"losses": self._losses(kept)},
        )
        findings = summarise_of(kept.card.mode)(results)
        identity = {} if store is None else store.find_study(name) or {}
        report = findings.report(about_study(name, kept.frame, identity, kept.judging, kept.card))
        files: list[Path] = [path, *(path.with_name(name) for name in (PROMPT_FILE, SELECTION_FILE, LOSSES_FILE))]
        existing = [file for file in files if file.is_file()]
        confirms = None if self._store is None else self._store.studies().get(kept.confirms or "")
        finished = FinishedStudy(name, findings, report, kept.judging, existing, confirms)
        await log_study(tracker, finished, kept.recorded)

    def _losses(self, kept: KeptStudy) -> pl.DataFrame:
        """Return the losses of a study's trainings: what the store has, or else the file beside the results."""
        path = self._places.results(kept.name).with_name(LOSSES_FILE)
        if self._store is not None and any("job" in record for record in kept.recorded.trials.values()):
            return loss_frame(self._store, kept.name)
        return pl.read_parquet(path) if path.is_file() else pl.DataFrame(schema=LOSS_SCHEMA)

    def _refill(self, kept: KeptStudy) -> list[str]:
        """Make the study's trials in Optuna anew, and return what there is to say of that."""
        new, old = self._storage, self._places.storage
        if kept.card.mode in FIXED_MODES:
            return []
        objection = why_not(kept)
        if new.path is None and kept.name in known_studies(new.url):
            return ["Optuna's server has its trials already"]
        if objection is None:
            delete_optuna_study(kept.name, new.url)
            remake_trials(kept, new.url)
            return []
        try:
            there = new.exists and (kept.name in known_studies(new.url) or carry_over(kept.name, old, new.url))
        except StorageError:
            there = False
        if there:
            return [f"Optuna's trials copied from the old database, because {objection}"]
        return [f"Optuna's trials cannot be made, because {objection}: the study can be browsed, and not go on"]

    async def _audits(self, store: Store) -> None:
        audits = store.audits()
        for audit in audits:
            if "id" in audit:
                await log_audit(Tracker(self._tracking.url, self._artifacts, AUDITS, audit["name"]), audit)
        if unnamed := sum("id" not in audit for audit in audits):
            self._say(f"{unnamed} audits of judges: left out, because an older version kept them without a name")
