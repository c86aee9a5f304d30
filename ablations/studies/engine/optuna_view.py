"""Optuna's view of a study: its finished trials, and the trials that a sampler chooses.

Knows Optuna and trial records, not how a trial is evaluated. The store is the record; this view can be made again from
it. A trial of a fixed design is given to Optuna when it is finished, one that a sampler chooses is asked for and told.
Optuna numbers trials in the order in which it gets them; the study's own number is the user attribute `trial`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from typing import TypeVar

import optuna
from optuna.study import StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ablations.core.condition import format_value
from ablations.core.errors import AblationError, StorageError, StudyMismatchError, first_line
from ablations.core.prompt import Value
from ablations.core.records import TrialRecord
from ablations.core.records import TrialState as State
from ablations.storage.database import again_where_cut, engine_settings, making_tables, wait_where_lost
from ablations.studies.config.space import Choices, SearchSpace

_ERRORS = (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError)
_STATES = {State.COMPLETE: TrialState.COMPLETE, State.STOPPED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}
_OURS = "ablations.study"
"""The user attribute that marks a study of Optuna's as one of this toolkit's, with its name."""
_NUMBER = "trial"
_Result = TypeVar("_Result")


class OptunaView:
    """One study in Optuna's database.

    Args:
        name: of the study.
        url: of the database.
        space: the varied parameters.

    Raises:
        StorageError: the database cannot be used.
        StudyMismatchError: a study of this name is not one of this toolkit's: it minimises, has several directions, or
            holds trials that it did not make.
    """

    def __init__(self, name: str, url: str, space: SearchSpace) -> None:
        self._space = space
        with _errors(), ExitStack() as opened:
            self._storage = storage = _open(url)
            opened.callback(self.close)
            self._study = optuna.create_study(
                study_name=name, storage=storage, direction="maximize", load_if_exists=True
            )
            self._check(name)
            self._study.set_user_attr(_OURS, name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(["mean score"])
            self._known = {number for one in self._trials() if (number := _number(one)) is not None and _done(one)}
            self._drop([one for one in self._trials() if one.state is TrialState.RUNNING and _number(one) is None])
            opened.pop_all()  # nothing was refused: they are closed by `close`
        self._running: dict[int, optuna.trial.Trial] = {}

    def close(self) -> None:
        """Give back the database's connections."""
        _close(self._storage)

    def _drop(self, attempts: Iterable[FrozenTrial]) -> None:
        """Let Optuna forget attempts that were interrupted."""
        for one in attempts:
            _again(partial(self._study.tell, one.number, state=TrialState.FAIL, skip_if_finished=True))

    def _check(self, name: str) -> None:
        foreign = _OURS not in self._study.user_attrs and self._trials()
        if self._study.directions != [StudyDirection.MAXIMIZE] or foreign:
            directions = ", ".join(one.name.lower() for one in self._study.directions)
            raise StudyMismatchError(
                f"Optuna's database holds a study {name!r} that is not one of this toolkit's (direction {directions}, "
                f"{len(self._trials())} trials); give this study another name with --name, or another database with "
                "--storage"
            )

    def _trials(self) -> list[FrozenTrial]:
        return _again(partial(self._study.get_trials, deepcopy=False))

    def check(self, records: Mapping[int, TrialRecord]) -> None:
        """Raise `StudyMismatchError` where Optuna holds finished trials that the store does not know."""
        if lost := sorted(self._known - records.keys()):
            raise StudyMismatchError(
                f"Optuna's database holds finished trials of the study {self._study.study_name!r} that the store does "
                f"not: {', '.join(map(str, lost))}; one of the two was moved or replaced: put it back, make Optuna's "
                "again from the store with: python -m ablations rebuild, or use --fresh to start the study again "
                "(stored completions are reused)"
            )

    def complete(self, records: Mapping[int, TrialRecord]) -> None:
        """Add the finished trials that Optuna lacks."""
        self._drop([one for one in self._trials() if one.state is TrialState.RUNNING and _number(one) in records])
        for number, record in sorted(records.items()):
            if number not in self._known:
                self.add(record)

    def add(self, record: TrialRecord) -> None:
        """Add a finished trial, or tell the end of one that was asked for."""
        if record.number in self._known:
            return
        asked = self._running.pop(record.number, None)
        if asked is None:
            _again(partial(self._study.add_trial, _finished(self._space, record)))
        else:
            for name, value in _attributes(record).items():
                _again(partial(asked.set_user_attr, name, value))
            if record.stopped is not None:
                _again(partial(asked.report, record.stopped.estimate, record.stopped.after))
            value = record.mean if record.state is State.COMPLETE else None
            _again(partial(self._study.tell, asked, value, _STATES[record.state], skip_if_finished=True))
        self._known.add(record.number)

    def ask(self, number: int, sampler: str, seed: int) -> dict[str, Value]:
        """Return the values that a sampler chooses for a trial; the same as before where the trial was interrupted."""
        for left in self._trials():
            if _number(left) == number and left.state is TrialState.RUNNING:
                self._drop([left])
                _again(partial(self._study.enqueue_trial, left.params))
        self._study.sampler = make_sampler(sampler, seed)
        trial = _again(self._study.ask)
        _again(partial(trial.set_user_attr, _NUMBER, number))
        self._running[number] = trial
        return _again(partial(self._space.suggest, trial))


def _number(trial: FrozenTrial) -> int | None:
    number = trial.user_attrs.get(_NUMBER)
    return None if number is None else int(number)


def _done(trial: FrozenTrial) -> bool:
    """Whether the trial stands for a finished one, not for an attempt that was interrupted."""
    return trial.state.is_finished() and "role" in trial.user_attrs


def _attributes(record: TrialRecord) -> dict[str, str | int | float | None]:
    """Return what says in Optuna's dashboard which trial is which."""
    return {
        _NUMBER: record.number,
        "label": record.label,
        "role": str(record.role),
        "score": record.mean,
        "condition_id": record.condition_id,
        **({} if record.failed_because is None else {"failed_because": record.failed_because}),
    }


def _finished(space: SearchSpace, record: TrialRecord) -> FrozenTrial:
    suggested, stopped = FixedTrial(to_optuna(space, record.point)), record.stopped
    space.suggest(suggested)
    complete = record.state is State.COMPLETE
    trial = optuna.trial.create_trial(
        state=_STATES[record.state],
        value=record.mean if complete else None if stopped is None else stopped.estimate,
        intermediate_values={} if stopped is None else {stopped.after: stopped.estimate},
        params=suggested.params,
        distributions=suggested.distributions,
        user_attrs=_attributes(record),
    )
    trial.datetime_start, trial.datetime_complete = map(datetime.fromtimestamp, (record.started, record.ended))
    return trial


def make_sampler(kind: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of an adaptive search."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def to_optuna(space: SearchSpace, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values as Optuna keeps them: categories by their label."""
    return {
        name: format_value(value) if isinstance(space[name].domain, Choices) else value
        for name, value in values.items()
    }


def forget(name: str, url: str) -> None:
    """Drop the study of this name from Optuna's database if it exists."""
    with _opening(url) as storage:
        if name in _names(storage):
            optuna.delete_study(study_name=name, storage=storage)


def known_studies(url: str) -> set[str]:
    """Return the names of the studies in a database of Optuna's."""
    with _opening(url) as storage:
        return _names(storage)


def _names(storage: optuna.storages.RDBStorage) -> set[str]:
    return {study.study_name for study in storage.get_all_studies()}


@contextmanager
def _opening(url: str) -> Iterator[optuna.storages.RDBStorage]:
    """Open Optuna's database for a moment."""
    with _errors():
        storage = _open(url)
        try:
            yield storage
        finally:
            _close(storage)


def _open(url: str) -> optuna.storages.RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with making_tables(url):
        storage = optuna.storages.RDBStorage(url, engine_kwargs=engine_settings(url))
    wait_where_lost(storage.engine)
    return storage


def _close(storage: optuna.storages.RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()


@contextmanager
def _errors() -> Iterator[None]:
    """Turn whatever opening Optuna's database raises into a `StorageError`."""
    try:
        yield
    except _ERRORS as error:
        if isinstance(error, AblationError):
            raise
        raise StorageError(
            f"Optuna's storage cannot be used: {first_line(error)}; check --storage, or move a damaged file away"
        ) from error


def _again(work: Callable[[], _Result]) -> _Result:
    """Return what a request to Optuna's database returns; one whose connection was cut is made a second time.

    Raises:
        StorageError: the database failed, as on a full disk or where its server stays away.
    """
    try:
        return again_where_cut(work)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error  # what Optuna and SQLAlchemy wrap says which it is
        cause = getattr(cause, "orig", None) or cause
        raise StorageError(f"Optuna's storage failed: {first_line(cause)}; check --storage") from error
