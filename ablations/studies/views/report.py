"""The report of a stored study: finds its results and what it was made from, and has the page written.

Knows where results lie and what the store says of them; not what a report says.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import polars as pl

from ablations.core.errors import StorageError, nearest
from ablations.core.jsonl import JsonObject
from ablations.core.records import Price
from ablations.storage.store import Store
from ablations.storage.workspace import CONFIRMATION, Places
from ablations.studies.kind import Findings, Results
from ablations.studies.manifest import CARD_NOTE, StudyCard
from ablations.studies.views.pages import Judging, about_study
from ablations.studies.views.sources import open_losses, open_results
from analysis.report.render import write_report

Summarise = Callable[[Results], Findings]
MODE = "mode"
"""Of the results file's own metadata, and of what the store says of a study: its kind."""
_KINDS: Mapping[str, str] = {
    "greedy-search": "greedy",
    "icl-vs-ift": "icl_vs_ift",
    "alignment": "alignment",
}
"""Packages of kinds by mode; every other mode is a study of conditions."""


def summarise_of(mode: str) -> Summarise:
    """Return what makes findings of the results of a study of this mode."""
    kind = import_module(f"ablations.studies.{_KINDS.get(mode, 'conditions')}.findings")
    summarise: Summarise = kind.summarise
    return summarise


def report_study(
    name: str, places: Places, folder: Path | None, summarise: Summarise | None = None
) -> tuple[Path, Path]:
    """Write the report of a study; return its HTML and Markdown files.

    Args:
        name: the study's name.
        places: where results and the store are.
        folder: where the report goes; the study's own results folder where None.
        summarise: what makes findings of its results; None for what its kind does.

    Raises:
        StorageError: there are no such results, or the report cannot be written.
    """
    known = places.exported
    if name.endswith(CONFIRMATION) and name.removesuffix(CONFIRMATION) in known:
        name = name.removesuffix(CONFIRMATION)  # a confirmation is a part of its study's page
    path = places.results(name)
    if name not in known:
        if not places.folder.is_dir():
            raise StorageError(f"there is no folder {places.folder}; name the one of all results with --mlruns")
        meant = f"; {nearest(name, known)}" if known else ""
        raise StorageError(f"there are no results of a study {name!r}: {path} does not exist; run it first{meant}")
    again, losses = f"{name}{CONFIRMATION}", open_losses(name, places.folder)
    identity, notes, judging = _stored(name, places)
    results = Results(
        name,
        open_results(name, places.folder),
        notes,
        confirmation=open_results(again, places.folder) if again in known else None,
        tables={} if losses is None else {"losses": losses},
    )
    found = (summarise or summarise_of(_mode(path, identity)))(results)
    card = StudyCard.from_dict(notes[CARD_NOTE]) if CARD_NOTE in notes else None
    about = about_study(name, results.frame, identity, judging, card)
    return write_report(found.report(about), path.parent if folder is None else folder)


def _mode(path: Path, identity: JsonObject) -> str:
    """Return a study's mode as the store has it, or else the metadata of its results file; "" without either."""
    return str(identity.get(MODE) or pl.read_parquet_metadata(path).get(MODE, ""))


def _stored(name: str, places: Places) -> tuple[JsonObject, Mapping[str, JsonObject], Judging | None]:
    """Return what the study was made from, the notes on it and what judging took, where the store still knows it."""
    if places.store.startswith("sqlite:///") and not Path(places.store.removeprefix("sqlite:///")).is_file():
        return {}, {}, None
    store = Store(places.store)
    try:
        identity, notes = dict(store.find_study(name) or {}), store.notes(name)
        if "judge" not in identity:
            return identity, notes, None
        price = notes.get(CARD_NOTE, {}).get("price")
        judging = Judging.of(
            store, store.studies().get(name, ""), identity["judge"], None if price is None else Price(**price)
        )
        return identity, notes, judging
    finally:
        store.close()
