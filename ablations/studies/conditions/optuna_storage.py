"""Optuna's storage: studies opened, dropped and copied, their samplers, and values as Optuna keeps them.

Knows neither the store nor how a study is run.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import optuna
from sqlalchemy.exc import SQLAlchemyError

from ablations.core.condition import format_value
from ablations.core.errors import StorageError
from ablations.core.prompt import Value
from ablations.storage.database import again_where_cut, engine_settings, making_tables, wait_where_lost
from ablations.studies.config.space import Choices, SearchSpace

_OPTUNA_ERRORS = (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError)


class _Storage(optuna.storages.RDBStorage):
    """Asks a second time where a server went away in the middle of a request."""


def _asked_again(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def asked(*given: Any, **named: Any) -> Any:
        return again_where_cut(partial(method, *given, **named))

    return asked


# Not `create_new_trial`, which Optuna itself repeats.
for _name in (
    "_get_trials",
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
):
    setattr(_Storage, _name, _asked_again(getattr(optuna.storages.RDBStorage, _name)))


def open_optuna_study(name: str, storage_url: str) -> optuna.Study:
    """Return the Optuna study of this name, made if it does not exist."""
    with opening(storage_url) as storage:
        return optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)


def delete_optuna_study(name: str, storage_url: str) -> None:
    """Drop the Optuna study of this name if it exists."""
    with opening(storage_url) as storage:
        if name in _names(storage):
            optuna.delete_study(study_name=name, storage=storage)


def carry_over(name: str, old_url: str, new_url: str) -> bool:
    """Copy a study from one of Optuna's databases to another; return whether it was there."""
    with opening(old_url) as old, opening(new_url) as new:
        if name not in _names(old):
            return False
        optuna.copy_study(from_study_name=name, from_storage=old, to_storage=new)
    return True


def known_studies(storage_url: str) -> set[str]:
    """Return the names of the studies in a database of Optuna's."""
    with opening(storage_url) as storage:
        return _names(storage)


def _names(storage: optuna.storages.RDBStorage) -> set[str]:
    return {study.study_name for study in storage.get_all_studies()}


@contextmanager
def opening(storage_url: str) -> Iterator[optuna.storages.RDBStorage]:
    """Open Optuna's storage; whatever it or its first use raises becomes a `StorageError`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with making_tables(storage_url):
            storage = _Storage(storage_url, engine_kwargs=engine_settings(storage_url))
        wait_where_lost(storage.engine)
        yield storage
    except _OPTUNA_ERRORS as error:
        raise StorageError(
            f"Optuna's storage cannot be used: {str(error).splitlines()[0]}; "
            "check --storage, or move a damaged file away"
        ) from error


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what Optuna's database raises once it is open, a full disk or a lost server, into `StorageError`."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error  # what Optuna wraps says which it is
        raise StorageError(f"Optuna's storage failed: {str(cause).splitlines()[0]}; check --storage") from error


def make_sampler(kind: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of an adaptive search; where the design is fixed, all trials are enqueued."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
        return optuna.samplers.RandomSampler(seed=seed)


def add_running(
    study: optuna.Study, space: SearchSpace, values: Mapping[str, Value], user_attrs: Mapping[str, Any]
) -> int:
    """Begin a trial with these values, and return its number: one write, where Optuna's queue reads all that wait."""
    fixed = optuna.trial.FixedTrial(to_optuna(space, values))
    space.suggest(fixed)
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING,
        params=fixed.params,
        distributions=fixed.distributions,
        user_attrs=dict(user_attrs),
    )
    # What `study.add_trial` does, but that returns no id, and to look for it reads the trials.
    trial_id = study._storage.create_new_trial(study._study_id, template_trial=trial)
    return study._storage.get_trial_number_from_id(trial_id)


def report(study: optuna.Study, number: int, value: float, step: int) -> None:
    """Report what a running trial had come to at a step."""
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    optuna.trial.Trial(study, trial_id).report(value, step)


def to_optuna(space: SearchSpace, values: Any) -> dict[str, Any]:
    """Return values as Optuna keeps them: categories by their label."""
    return {
        name: format_value(value) if isinstance(space[name].domain, Choices) else value
        for name, value in values.items()
    }


def from_optuna(space: SearchSpace, params: dict[str, Any]) -> dict[str, Value]:
    """Return Optuna's parameters as values of the search space."""
    values: dict[str, Value] = {}
    for name in space.names:
        if name in params:
            domain = space[name].domain
            values[name] = (
                domain.options[domain.labels.index(params[name])] if isinstance(domain, Choices) else params[name]
            )
    return values
