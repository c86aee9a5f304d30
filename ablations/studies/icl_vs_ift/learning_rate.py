"""The learning rate: found by Optuna on examples that no training of the study learns from.

Knows the tuner; what each rate came to is stored like any training, so a search that is run again looks up what it did.
"""

from dataclasses import dataclass, replace
from math import isfinite

import optuna

from ablations.models.training.jobs import Failure, Job
from ablations.models.training.samples import Sample
from ablations.models.training.tuner import Tuner

TRIED = 6
"""Rates in a search, the recipe's own among them."""
FACTOR = 10.0
"""How far a search may go from the recipe's own rate, in either direction."""


@dataclass(frozen=True)
class RateFound:
    """The best rate, every rate that was tried with its held-out loss, None where training failed, and tokens read."""

    rate: float
    tried: tuple[tuple[float, float | None], ...]
    tokens: int


async def find_rate(tuner: Tuner, job: Job, held_out: tuple[Sample, ...], what: str) -> RateFound | Failure:
    """Return the learning rate whose training has the lowest loss on the held-out answers, or why none trains.

    Args:
        tuner: trains.
        job: with the rate to begin with.
        held_out: answers that the job does not learn.
        what: how people call the job.

    Raises what `Tuner.tune` raises.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=job.recipe.seed, n_startup_trials=3))
    study.enqueue_trial({"rate": job.recipe.learning_rate})
    tried: list[tuple[float, float | None]] = []
    reason, tokens = "", 0
    for number in range(1, TRIED + 1):
        trial = study.ask()
        low, high = job.recipe.learning_rate / FACTOR, min(job.recipe.learning_rate * FACTOR, 1.0)
        rate = float(f"{trial.suggest_float('rate', low, high, log=True):.3g}")  # as it is shown and stored
        made = await tuner.try_out(
            replace(job, recipe=replace(job.recipe, learning_rate=rate), held_out=held_out),
            f"{what}, learning rate {rate:g} ({number} of {TRIED})",
        )
        loss = None if isinstance(made, Failure) else made.held_out_loss
        tokens += 0 if isinstance(made, Failure) else made.tokens
        if loss is None or not isfinite(loss):
            reason = made.reason if isinstance(made, Failure) else f"the loss on held-out answers is {loss}"
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            tried.append((rate, None))
        else:
            study.tell(trial, loss)
            tried.append((rate, loss))
    known = [(loss, rate) for rate, loss in tried if loss is not None]
    if not known:
        return Failure("loss", f"none of {TRIED} learning rates trains it: {reason}")
    return RateFound(min(known)[1], tuple(tried), tokens)
