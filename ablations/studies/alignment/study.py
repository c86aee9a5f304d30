"""The study of several models: each in a process of its own, one after the other, then side by side.

vLLM does not give a model's memory back within a process, so the process ends before the next model is loaded. Knows
how a study is called, not how it runs.
"""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

import polars as pl
from rich.console import Console

from ablations.core.condition import content_hash
from ablations.core.errors import AblationError, PartFailedError, UsageError, UserError
from ablations.storage.claims import Claims
from ablations.storage.store import Store
from ablations.storage.workspace import Places, child_environment
from ablations.studies.config.file import StudyFile
from ablations.studies.manifest import CARD_NOTE, SPACE_FILE
from ablations.studies.views.pages import study_note
from ablations.tracking.tracker import Tracker
from analysis.alignment import ARM_MODEL, ARM_WAY, CHAT, IN_CONTEXT, ZERO_SHOT

MODELS_MARK = ".models-"
"""In the name under which the store keeps a comparison, between its own name and a hash of the models."""
ABOUT = "Models side by side: zero-shot, in context and aligned."


def study_names(name: str, models: Sequence[str]) -> dict[str, str]:
    """Return the name of each model's own study, by model; raise `UsageError` where two would have one name.

    >>> study_names("alignment", ["gemma-3-270m", "org/Some Model"])
    {'gemma-3-270m': 'alignment.gemma-3-270m', 'org/Some Model': 'alignment.Some-Model'}
    """
    names = {model: f"{name}.{re.sub(r'[^A-Za-z0-9_.-]', '-', model.rstrip('/').split('/')[-1])}" for model in models}
    if len(set(names.values())) < len(names):
        raise UsageError(
            f"two of the models {', '.join(models)} would have one study name; rename a folder, or drop one"
        )
    return names


def run_models(arguments: Sequence[str], names: Mapping[str, str], console: Console) -> None:
    """Run the study once for each model, each in a process of its own.

    Args:
        arguments: those that this command was called with; the model and the study's name are added.
        names: the name of each model's study, by model.
        console: where it is said which model comes next.

    Raises:
        UserError, PartFailedError: a model's study ended so; the others keep what they have.
    """
    for number, (model, name) in enumerate(names.items(), start=1):
        console.print(f"model {number} of {len(names)}: {model}", style="bold", markup=False)
        command = [sys.executable, "-m", "ablations", *arguments, "--model", model, "--name", name, "--one-of-models"]
        # In a session of its own, so that it is told of an interrupt once, by this process, whoever was told first.
        child = subprocess.Popen(command, env=child_environment(), start_new_session=True)
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.terminate()  # as an interrupt: a process in the background may have been told to ignore SIGINT
            child.wait()
            raise
        if code == 130:
            raise KeyboardInterrupt
        if code:
            failed: type[AblationError] = UserError if code == UserError.exit_code else PartFailedError
            raise failed(f"the study of {model} ended with exit code {code}, as said above; the same command goes on")


async def compare_models(
    name: str, file: StudyFile, names: Mapping[str, str], places: Places, console: Console
) -> None:
    """Show the models side by side, and log the tables as a run beside theirs."""
    models = list(names)
    files = {SPACE_FILE: file.text}
    store = Store(places.store)
    try:  # under a name of its own: one model alone may be studied under the plain one
        own = f"{name}{MODELS_MARK}{content_hash(models)}"
        async with Claims(store, own, places.shared) as claims, claims.desk():
            study_id = store.add_study(own, {"models": models})
            store.add_note(own, CARD_NOTE, {"experiment": file.name, "files": files})
            tracker = Tracker(places.tracking_uri, places.artifacts, file.name, name)
            await log_models(tracker, name, study_id, files, names, places, console)
    finally:
        store.close()


async def log_models(
    tracker: Tracker,
    name: str,
    study_id: str,
    files: Mapping[str, str],
    names: Mapping[str, str],
    places: Places,
    console: Console,
) -> None:
    """Compare the models by their results of record, show that and log it.

    Raises:
        StorageError: a model's results cannot be read.
    """
    from ablations.cli.render import show
    from ablations.studies.alignment.findings import summarise
    from ablations.studies.kind import Results
    from analysis.frames import load_results
    from analysis.report.page import About

    results = side_by_side({model: load_results(places.results(own)) for model, own in names.items()})
    findings = summarise(Results(name, results))
    report = findings.report(About(name))
    show(console, report)
    await tracker.start(study_id, ABOUT, {"models": ", ".join(names)}, files)
    tables = {title: frame.to_dict(as_series=False) for title, frame in findings.tables().items()}
    await tracker.log_findings(findings.metrics(), study_note(report), tables, report.figures, {})
    await tracker.finish("FINISHED")


def side_by_side(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the results of several models as those of one study, whose arms are models and ways of asking them."""
    chat, shown = pl.col("param.template") == "chat", pl.col("param.shots") > 0
    way = pl.when(chat).then(pl.lit(CHAT)).when(shown).then(pl.lit(IN_CONTEXT)).otherwise(pl.lit(ZERO_SHOT))
    marked, begin = [], 0
    for model, frame in frames.items():
        columns = {ARM_MODEL: pl.lit(model), ARM_WAY: way, "trial": pl.col("trial") + begin}
        marked.append(frame.with_columns(**columns))
        begin = int(marked[-1].get_column("trial").max()) + 1  # type: ignore[arg-type]
    return pl.concat(marked, how="diagonal_relaxed")
