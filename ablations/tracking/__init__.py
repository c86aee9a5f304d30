"""MLflow: the only package that imports it. A parent run is a study, a child run is a trial.

Knows what to log, not how it was computed. Everything here can be made anew from the store, so a study
never reads its own state from MLflow, except which runs and traces already exist.
"""

from ablations.tracking.client import fetch_artifact, open_client, serve_ui, trial_of_run
from ablations.tracking.earlier import forget_runs, moved_experiments
from ablations.tracking.inputs import DataInput
from ablations.tracking.metrics import metric_name, trial_metrics
from ablations.tracking.traces import TracedTrial
from ablations.tracking.tracker import KIND, PARENT, PROMPT_FILE, STUDY, STUDY_ID, TRIAL, RoundPage, Tracker

__all__ = [
    "KIND",
    "PARENT",
    "PROMPT_FILE",
    "STUDY",
    "STUDY_ID",
    "TRIAL",
    "DataInput",
    "RoundPage",
    "TracedTrial",
    "Tracker",
    "fetch_artifact",
    "forget_runs",
    "metric_name",
    "moved_experiments",
    "open_client",
    "serve_ui",
    "trial_metrics",
    "trial_of_run",
]
