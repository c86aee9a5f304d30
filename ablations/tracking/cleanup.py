"""Clean-up of an MLflow database: deleting a study's runs, and finding experiments that were moved.

Knows runs and experiments, not why they should go.
"""

from pathlib import Path
from urllib.parse import unquote

from ablations.tracking.client import open_client
from ablations.tracking.traces import STUDY_ID, drop_traces
from ablations.tracking.tracker import PARENT


def forget_runs(tracking_uri: str, study_id: str) -> None:
    """Delete the runs and traces of a study, by its id; MLflow keeps deleted runs where it shows them no more."""
    client = open_client(tracking_uri)
    for experiment in client.search_experiments():
        for parent in client.search_runs([experiment.experiment_id], f"tags.`{STUDY_ID}` = '{study_id}'"):
            drop_traces(client, experiment.experiment_id, study_id)
            while children := client.search_runs(
                [experiment.experiment_id], f"tags.`{PARENT}` = '{parent.info.run_id}'", max_results=1000
            ):
                for child in children:
                    client.delete_run(child.info.run_id)
            client.delete_run(parent.info.run_id)


def moved_experiments(tracking_uri: str, folder: Path) -> list[str]:
    """Return the names of the experiments that keep their artifacts outside a folder, because it was moved."""
    found = []
    for experiment in open_client(tracking_uri).search_experiments():
        location = str(experiment.artifact_location)
        inside = Path(unquote(location.removeprefix("file://"))).is_relative_to(folder)
        if experiment.name != "Default" and location.startswith(("file://", "/")) and not inside:
            found.append(str(experiment.name))
    return found
