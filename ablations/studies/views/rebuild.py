"""Rebuilding: Optuna's database and MLflow's view made again from the results of record.

Knows which view comes from what, and never destroys: views are written beside their places, put there when whole, and
what stood there is moved to a folder that is named. What is logged takes the way that a live study takes.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from ablations.core.errors import StorageError, UsageError, redacted
from ablations.core.statistics import summarise
from ablations.storage.locks import study_lock
from ablations.storage.replacement import Replacement, move_folders
from ablations.storage.store import Store
from ablations.storage.workspace import Places, check_sqlite
from ablations.studies.engine.optuna_view import OptunaView, forget, known_studies
from ablations.studies.engine.results import training_steps, write_beside, write_results
from ablations.studies.registry import find_kind
from ablations.studies.views.checks import AUDITS, log_audit
from ablations.studies.views.findings import findings
from ablations.studies.views.pages import StoredStudy, log_study
from ablations.studies.views.stored import exported_study, stored_study
from ablations.tracking.cleanup import forget_runs, moved_experiments
from ablations.tracking.tracker import Tracker


def rebuild(places: Places, name: str | None, say: Callable[[str], None]) -> list[str]:
    """Rebuild the views of all studies, or of one, and say what could not be rebuilt.

    Returns the studies that were left out, because their records are damaged or lacking.

    Raises:
        UsageError: there is no such study, or nothing to rebuild from.
        StorageError: the results of record cannot be read, or a view not written; the old views stand.
        TrackingError: MLflow failed; the old views stand.
    """
    with ExitStack() as given_back:
        path = Replacement(places.store, "").path
        store = None
        if path is None or path.is_file():
            if path is not None:
                check_sqlite(path)
            store = Store(places.store)
            given_back.callback(store.close)
        chosen = _chosen(store, places, name)
        for one in chosen:
            given_back.enter_context(study_lock(places, one))
        return _Rebuild(places, store, chosen, name is None, say).run()


def _chosen(store: Store | None, places: Places, name: str | None) -> dict[str, str | None]:
    """Return the studies to rebuild with their ids, None for those that the store does not have."""
    known: dict[str, str | None] = dict(store.studies()) if store is not None else {}
    known |= {one: None for one in places.exported if one not in known}
    if not known:
        raise UsageError(f"{places.folder} holds no results of a study; name the folder with --mlruns DIR")
    if name is None:
        return known
    if name not in known:
        raise UsageError(f"--name {name!r} is no study of {places.folder}; there are: {', '.join(known)}")
    return {name: known[name]}


class _Rebuild:
    """One rebuilding: where it writes, and what it has to say."""

    def __init__(
        self,
        places: Places,
        store: Store | None,
        chosen: dict[str, str | None],
        everything: bool,
        say: Callable[[str], None],
    ) -> None:
        self._places, self._store, self._chosen = places, store, chosen
        self._everything, self._say = everything, say
        stamp = time.strftime("%Y%m%d-%H%M%S")
        taken = sum(1 for _ in places.folder.glob(f"*-{stamp}*")) + sum(
            1 for _ in places.folder.glob(f"artifacts/*-{stamp}*")
        )
        mark = f"{stamp}-{taken + 1}" if taken else stamp
        self._former = places.folder / f"replaced-{mark}"
        self._tracking = Replacement(places.tracking_uri, f"rebuilt-{mark}")
        self._storage = Replacement(places.storage, f"rebuilt-{mark}")
        self._new_artifacts = places.folder / "artifacts" / f"rebuilt-{mark}"
        self._moves_artifacts = everything and self._tracking.path is not None
        self._artifacts = self._new_artifacts if self._moves_artifacts else places.artifacts
        self._made = 0
        self._left_out: list[str] = []

    def run(self) -> list[str]:
        """Write the views beside their places, then put them in place; return the studies that were left out."""
        try:
            self._places.folder.mkdir(parents=True, exist_ok=True)
            if not self._everything:
                self._begin_with_old()
            asyncio.run(self._write())
            if not self._made:
                raise StorageError("nothing could be rebuilt, as said above; the old views stand as they were")
            moved = self._storage.put_in_place(self._former)
            moved += self._tracking.put_in_place(self._former)  # last: from here on the new artifacts belong to it
        except BaseException:
            if self._moves_artifacts:
                shutil.rmtree(self._new_artifacts, ignore_errors=True)
            raise
        finally:
            self._tracking.discard()
            self._storage.discard()
        if self._moves_artifacts:
            moved += move_folders(self._new_artifacts.parent, self._new_artifacts, self._former / "artifacts")
        server = self._places.artifacts is None
        shown = (
            redacted(self._places.tracking_uri) if server else f"python -m ablations ui --mlruns {self._places.folder}"
        )
        self._say(f"{self._made} rebuilt; browse them with: {shown}")
        if moved:
            self._say(f"what stood there before is in {self._former}; delete it when it is needed no more")
        if self._left_out:
            where = f", whose former pages are in {self._former} alone" if moved and self._everything else ""
            self._say(f"{len(self._left_out)} left out: {', '.join(self._left_out)}{where}")
        return self._left_out

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
        for name, study_id in self._chosen.items():
            try:
                found = self._read(name, study_id)
            except (StorageError, KeyError, ValueError) as error:
                why = str(error) if isinstance(error, StorageError) else f"its records are damaged ({error!r})"
                self._say(f"{name}: left out, because {why}")
                self._left_out.append(name)
                continue
            await self._register(found)
            said = [f"{len(found.recorded.trials)} trials in MLflow", *self._refill(found), *found.lacking]
            self._say(f"{name}: {'; '.join(said)}")
            self._made += 1
        if self._everything and self._store is not None:
            for audit in self._store.audits():
                await log_audit(Tracker(self._tracking.url, self._artifacts, AUDITS, audit["name"]), audit)

    def _read(self, name: str, study_id: str | None) -> StoredStudy:
        if study_id is None or self._store is None:
            return exported_study(name, self._places)
        return stored_study(self._store, name, study_id, self._places)

    async def _register(self, found: StoredStudy) -> None:
        """Log a study as it logs itself when it runs."""
        manifest, recorded = found.manifest, found.recorded
        tracker = Tracker(self._tracking.url, self._artifacts, manifest.experiment, found.name, manifest.price)
        records = recorded.trials.values()
        begun = min((record.started for record in records), default=None)
        ended = max((record.ended for record in records), default=None)
        await tracker.start(
            found.study_id, manifest.about, manifest.parameters, manifest.files, manifest.inputs, begun or None
        )
        status = "FAILED"
        try:
            for number, record in recorded.trials.items():
                if record.own_run and not tracker.knows(number):
                    turns = recorded.turns.get(number, [])
                    steps = {} if self._store is None else training_steps(self._store, record)
                    summary, prompt = summarise(turns, manifest.scales), recorded.first_prompt(number)
                    await tracker.log_trial(record, summary, turns, prompt, steps)
            for page in found.pages:
                if not tracker.knows(page.number):
                    await tracker.log_page(page)
            tracker.check()
            if found.finished:
                await self._finish(found, tracker)
            status = "FINISHED" if found.finished else "KILLED"
        finally:
            await tracker.finish(status, ended or None)

    async def _finish(self, found: StoredStudy, tracker: Tracker) -> None:
        path, results = self._places.results(found.name), found.results
        if not path.is_file():
            write_results(found.record, path, found.manifest.mode)
        files = [path, *write_beside(path, results.notes)]
        told = findings(find_kind(found.manifest.mode), results)
        await log_study(tracker, found, told, told.report(found.about), files)

    def _refill(self, found: StoredStudy) -> list[str]:
        """Make the study's trials in Optuna again, and return what there is to say of that."""
        space, url = found.manifest.space, self._storage.url
        if space is None:
            return []
        if self._storage.path is None and found.name in known_studies(url):
            return ["Optuna's server has its trials already"]
        forget(found.name, url)
        with closing(OptunaView(found.name, url, space)) as view:
            view.complete(found.recorded.trials)
        return []
