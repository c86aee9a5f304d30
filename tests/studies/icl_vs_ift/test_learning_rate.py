"""Claims about the search for a learning rate, with a tuner whose losses are known."""

import asyncio
from math import inf, log10, nan

import pytest

from ablations.models.resolve import ResolvedModel
from ablations.models.training.jobs import Failure, Job, Outcome
from ablations.models.training.tuner import Tuner
from ablations.studies.icl_vs_ift.learning_rate import FACTOR, TRIED, RateFound, find_rate
from tests.support.colours import job_of, samples_of


@pytest.fixture
def job(tiny: ResolvedModel) -> Job:
    return job_of(tiny, samples_of(tiny))


class KnownLosses(Tuner):
    """A tuner that trains nothing: the loss is lowest at one rate, training `diverges` from another one on, and what
    it made is no number from where it `spoils` on."""

    def __init__(self, best: float, diverges: float, spoils: float = inf) -> None:
        self.jobs: list[Job] = []
        self._best, self._diverges, self._spoils = best, diverges, spoils

    async def try_out(self, job: Job, what: str) -> Outcome | Failure:
        self.jobs.append(job)
        rate = job.recipe.learning_rate
        if rate >= self._diverges:
            return Failure("loss", "the loss is nan")
        loss = 1 + log10(rate / self._best) ** 2 if rate < self._spoils else nan
        return Outcome("w", 7, 1, 1.0, 1, 1, 1, ((1, loss, rate, 1),), loss)


def search(job: Job, best: float, diverges: float = inf, spoils: float = inf) -> tuple[RateFound, KnownLosses]:
    tuner = KnownLosses(best, diverges, spoils)
    found = asyncio.run(find_rate(tuner, job, job.samples[:2], "it"))
    assert isinstance(found, RateFound)
    return found, tuner


def test_the_rate_with_the_lowest_held_out_loss_is_found_among_those_tried(job: Job) -> None:
    found, tuner = search(job, best=0.1)
    losses = {loss: rate for rate, loss in found.tried if loss is not None}
    assert found.rate == losses[min(losses)]
    assert len(found.tried) == TRIED
    assert found.tokens == 7 * TRIED
    assert found.tried[0][0] == job.recipe.learning_rate
    assert all(0.02 / FACTOR <= rate <= 0.02 * FACTOR for rate, _ in found.tried)
    assert all(one.held_out == job.samples[:2] for one in tuner.jobs)


def test_the_same_search_tries_the_same_rates_so_that_nothing_is_trained_twice(job: Job) -> None:
    (first, one), (second, other) = (search(job, best=0.005) for _ in range(2))
    assert first == second
    assert [made.key for made in one.jobs] == [made.key for made in other.jobs]


def test_a_rate_that_diverges_counts_as_tried_and_is_not_chosen(job: Job) -> None:
    found, _ = search(job, best=0.05, diverges=0.02)
    assert found.tried[0] == (0.02, None)
    assert found.rate < 0.02


def test_a_rate_whose_held_out_loss_is_no_number_is_not_chosen(job: Job) -> None:
    found, _ = search(job, best=0.05, spoils=0.02)
    assert found.tried[0] == (0.02, None)
    assert found.rate < 0.02
    assert found.tokens == 7 * TRIED
    tuner = KnownLosses(0.05, inf, spoils=0.0)
    failure = asyncio.run(find_rate(tuner, job, job.samples[:2], "it"))
    assert isinstance(failure, Failure)
    assert failure.reason.endswith("trains it: the loss on held-out answers is nan")


def test_where_every_rate_diverges_the_reason_is_said(job: Job) -> None:
    tuner = KnownLosses(0.05, diverges=0.0)
    found = asyncio.run(find_rate(tuner, job, job.samples[:2], "it"))
    assert found == Failure("loss", f"none of {TRIED} learning rates trains it: the loss is nan")
