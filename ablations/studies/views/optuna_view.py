"""Optuna's view: the trials of a kept study, made anew as they were, so that the study can go on.

Knows Optuna and what is kept of a study; neither MLflow nor how a study is run. The parameters are suggested by the
study's own search space, as when it ran.
"""

import warnings
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from ablations.studies.conditions.optuna_storage import opening, to_optuna
from ablations.studies.config.space import SearchSpace
from ablations.studies.manifest import typed_values
from ablations.studies.views.stored import KeptStudy

_STATES = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


def why_not(kept: KeptStudy) -> str | None:
    """Return why the study's trials cannot be made anew, or None."""
    known = kept.card.space is not None and all("point" in record for record in kept.recorded.trials.values())
    return None if known else "its search space is not kept"


def remake_trials(kept: KeptStudy, storage_url: str) -> None:
    """Make the study's trials anew in a database that does not have it, where `why_not` has no objection.

    A trial that was interrupted waits again, with the values that the design gives it.

    Raises:
        StorageError: the database cannot be used.
    """
    card, records = kept.card, kept.recorded.trials
    assert card.space is not None
    with opening(storage_url) as storage, warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(study_name=kept.name, storage=storage, direction="maximize")
        for number in range(max(records, default=-1) + 1):
            if number in records:
                study.add_trial(_finished(card.space, records[number]))
            elif number < len(card.design):
                study.enqueue_trial(to_optuna(card.space, card.design[number]), user_attrs={"design": number})
            else:
                study.enqueue_trial({})  # its sampler chooses again


def _finished(space: SearchSpace, record: Mapping[str, Any]) -> FrozenTrial:
    suggested = FixedTrial(to_optuna(space, typed_values(record["point"])))
    space.suggest(suggested)
    stopped = record.get("stopped")
    trial = optuna.trial.create_trial(
        state=_STATES[record["state"]],
        value=record["mean"] if record["state"] == "complete" else stopped["estimate"] if stopped else None,
        intermediate_values={stopped["after"]: stopped["estimate"]} if stopped else {},
        params=suggested.params,
        distributions=suggested.distributions,
        user_attrs={} if record["index"] is None else {"design": record["index"]},
    )
    trial.datetime_start, trial.datetime_complete = (
        datetime.fromtimestamp(record[name]) for name in ("started", "ended")
    )
    return trial
