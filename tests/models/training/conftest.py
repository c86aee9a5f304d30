"""Fixtures of what tunes."""

from pathlib import Path

import pytest

from ablations.models.resolve import ResolvedModel
from ablations.models.training.jobs import Job
from ablations.models.training.samples import Sample
from tests.support.colours import job_of, samples_of


@pytest.fixture(scope="session")
def samples(tiny: ResolvedModel) -> tuple[Sample, ...]:
    return samples_of(tiny)


@pytest.fixture
def job(tiny: ResolvedModel, samples: tuple[Sample, ...]) -> Job:
    return job_of(tiny, samples)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "job"
    made.mkdir()
    return made
