"""The report of a stored study: its results, what it was made from, and the page that its kind makes of them.

Knows where results lie and what the store says of them; not what a report says.
"""

from dataclasses import replace
from pathlib import Path

from ablations.core.errors import StorageError, nearest
from ablations.storage.store import Store
from ablations.storage.workspace import CONFIRMATION, Places, sqlite_path
from ablations.studies.manifest import MANIFEST_NOTE
from ablations.studies.registry import find_kind
from ablations.studies.views.findings import findings
from ablations.studies.views.pages import StoredStudy
from ablations.studies.views.sources import confirmation_beside
from ablations.studies.views.stored import exported_study, stored_study
from analysis.report.render import write_report


def report_study(name: str, places: Places, folder: Path | None) -> tuple[Path, Path]:
    """Write the report of a study; return its HTML and Markdown files.

    Args:
        name: the study's name; a confirmation is a part of its study's page.
        places: where results and the store are.
        folder: where the report goes; the study's own results folder where None.

    Raises:
        StorageError: there are no such results, or the report cannot be written.
    """
    known = places.exported
    if name.removesuffix(CONFIRMATION) in known:
        name = name.removesuffix(CONFIRMATION)
    if name not in known:
        if not places.folder.is_dir():
            raise StorageError(f"there is no folder {places.folder}; name the one of all results with --mlruns")
        meant = f"; {nearest(name, known)}" if known else ""
        raise StorageError(
            f"there are no results of a study {name!r}: {places.results(name)} does not exist; run it first{meant}"
        )
    study, path = find_study(name, places), places.results(name)
    results = replace(study.results, confirmation=confirmation_beside(path))
    report = findings(find_kind(study.manifest.mode), results).report(study.about)
    return write_report(report, path.parent if folder is None else folder)


def find_study(name: str, places: Places) -> StoredStudy:
    """Return a study as the store has it, or where that does not, as its results folder has it.

    Raises:
        StorageError: neither has it.
    """
    if (path := sqlite_path(places.store)) is not None and not path.is_file():
        return exported_study(name, places)
    store = Store(places.store)
    try:
        if MANIFEST_NOTE in store.notes(name):
            return stored_study(store, name, store.studies()[name], places)
    finally:
        store.close()
    return exported_study(name, places)
