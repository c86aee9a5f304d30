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

from ablations.cli.closing import show_alignment
from ablations.core.condition import content_hash
from ablations.core.errors import AblationError, PartFailedError, UsageError, UserError
from ablations.storage.claims import Claims
from ablations.storage.store import Store
from ablations.storage.workspace import Places, child_environment
from ablations.studies.config.config import KindConfig, StudyConfig
from ablations.studies.manifest import CARD_NOTE, SPACE_FILE
from ablations.tracking.tracker import Tracker

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
    config: StudyConfig[KindConfig], names: Mapping[str, str], places: Places, console: Console
) -> None:
    """Show the models side by side, and log the tables as a run beside theirs."""
    models, name = list(names), config.name
    files = {SPACE_FILE: config.text}
    store = Store(places.store)
    try:  # under a name of its own: one model alone may be studied under the plain one
        own = f"{name}{MODELS_MARK}{content_hash(models)}"
        async with Claims(store, own, places.shared) as claims, claims.desk():
            study_id = store.add_study(own, {"models": models})
            store.add_note(own, CARD_NOTE, {"experiment": config.file, "files": files})
            tracker = Tracker(places.tracking_uri, places.artifacts, config.file, name)
            await log_models(tracker, study_id, files, names, places, console)
    finally:
        store.close()


async def log_models(
    tracker: Tracker,
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
    from analysis.alignment import alignment_gaps, alignment_table, missing_arms
    from analysis.frames import load_results
    from analysis.plots import draw_alignment, new_figure

    frames = {model: load_results(places.results(own)) for model, own in names.items()}
    table, gaps = alignment_table(frames), alignment_gaps(frames)
    headline = show_alignment(console, table, gaps, missing_arms(frames))
    with new_figure(height=1.2 + 0.35 * len(table.filter(pl.col("group") == "average"))) as (figure, axes):
        draw_alignment(table, axes)
    await tracker.start(study_id, ABOUT, {"models": ", ".join(names)}, files)
    metrics = {
        f"gap/{row['better']} minus {row['worse']}/{row['group']}": row["difference"]
        for row in gaps.iter_rows(named=True)
    }
    tables = {"models": table.to_dict(as_series=False), "gaps": gaps.to_dict(as_series=False)}
    queries = max(frame.get_column("query_id").n_unique() for frame in frames.values())
    lines = [
        f"- **Models**: {', '.join(f'`{model}`' for model in names)}",
        f"- **Queries**: {queries}, the same for all",
        f"- **Studies**: {', '.join(f'`{own}`' for own in names.values())}, each with a run of its own here",
        "- **Results of record**: `results/STUDY/results.parquet` of the results folder",
    ]
    note = f"{headline}\n\n" + "\n".join(lines)
    await tracker.log_findings(metrics, note, tables, {"models": figure}, {})
    await tracker.finish("FINISHED")
