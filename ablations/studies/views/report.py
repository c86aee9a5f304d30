"""The report of a stored study: finds its results and what it was made from, and has the page written.

Knows where results lie and what the store says of them; not what a report says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ablations.core.condition import format_value
from ablations.core.errors import StorageError, nearest
from ablations.judges.base import audit_key
from ablations.storage.store import Store
from ablations.storage.workspace import CONFIRMATION, Places
from analysis.demonstrations.ways import ARM_WAY


def report_study(name: str, places: Places, folder: Path | None) -> tuple[Path, Path]:
    """Write the report of a study, or of several models' studies `NAME.MODEL`; return its HTML and Markdown files.

    Args:
        name: the study's name.
        places: where results and the store are.
        folder: where the report goes; the study's own results folder where None.

    Raises:
        StorageError: there are no such results, or the report cannot be written.
    """
    from ablations.studies.views.sources import open_losses, open_models, open_results
    from analysis.report import About, models_report, search_report, study_report, tuning_report, write_report

    known = places.exported
    if name.endswith(CONFIRMATION) and name.removesuffix(CONFIRMATION) in known:
        name = name.removesuffix(CONFIRMATION)  # a confirmation is a part of its study's page
    path = places.results(name)
    if name in known:
        results = open_results(name, places.folder)
        identity, audit = _identity(name, places)
        about = About(name, _facts(identity, audit, results), None if audit is None else audit["table"])
        if "candidate" in results.get_column("role"):
            report = search_report(results, about)
        elif ARM_WAY in results.columns:
            report = tuning_report(results, open_losses(name, places.folder), about)
        else:
            again = f"{name}{CONFIRMATION}"
            report = study_report(results, about, open_results(again, places.folder) if again in known else None)
    elif any(study.startswith(f"{name}.") for study in known):
        frames = open_models(name, places.folder)
        facts = _facts(
            *_identity(f"{name}.{next(iter(frames))}", places),
            pl.concat(frames.values(), how="diagonal_relaxed"),
            tuple(frames),
        )
        report = models_report(frames, About(name, facts))
    else:
        if not places.folder.is_dir():
            raise StorageError(f"there is no folder {places.folder}; name the one of all results with --mlruns")
        meant = f"; {nearest(name, known)}" if known else ""
        raise StorageError(f"there are no results of a study {name!r}: {path} does not exist; run it first{meant}")
    return write_report(report, path.parent if folder is None else folder)


def _identity(name: str, places: Places) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Return what the study was made from, where the store still knows it, and its judge's newest audit."""
    if places.store.startswith("sqlite:///") and not Path(places.store.removeprefix("sqlite:///")).is_file():
        return {}, None
    store = Store(places.store)
    try:
        identity = store.find_study(name) or {}
        audit = store.find_audit(audit_key(identity["judge"])) if "judge" in identity else None
    finally:
        store.close()
    return identity, audit


def _facts(
    identity: Mapping[str, Any],
    audit: Mapping[str, Any] | None,
    results: pl.DataFrame,
    models: tuple[str, ...] = (),
) -> tuple[tuple[str, str], ...]:
    """Return what a reader should know of a study, as pairs of name and text."""
    trials = results.select("trial", "condition_id", "state").unique("trial")
    complete = trials.filter(pl.col("state") == "complete")
    judges = results.get_column("judge").drop_nulls()  # an arm that failed was not judged
    coverage = float(results.get_column("score").is_not_null().to_numpy().mean())
    walk = ("mode", "design", "sampler") if identity.get("parameters") else ("mode",)
    facts = {
        "model": ", ".join(models) or _named(identity.get("model")),
        "judge": _judge(identity.get("judge"), str(judges[0]) if len(judges) else "none"),
        "audit of the judge": "none on record: do not rely on these scores before audit-judge was run"
        if audit is None
        else str(audit["verdict"]),
        "queries": f"{results.get_column('query_id').n_unique()}, up to {max(results.get_column('turn'))} turns each",
        "baseline": _baseline(results),
        "conditions": f"{complete.get_column('condition_id').n_unique()} complete, {len(trials)} trials in all",
        "coverage": f"{coverage:.1%} of the completions have a score",
        "design": ", ".join(format_value(identity[key]) for key in walk if key in identity),
        "seed": str(identity.get("seed", "")),
    }
    return tuple((key, text) for key, text in facts.items() if text)


def _baseline(results: pl.DataFrame) -> str:
    """Return what the baseline sets, as its label has it."""
    labels = results.filter(pl.col("role") == "baseline").get_column("label").unique().to_list()
    return labels[0] if len(labels) == 1 else ""


def _named(model: object) -> str:
    if isinstance(model, Mapping):
        return " ".join(str(value) for value in model.values() if value)
    return "" if model is None else str(model)


def _judge(identity: object, name: str) -> str:
    model = identity.get("model") if isinstance(identity, Mapping) else None
    return f"{name}, {model}" if model else name
