"""Claims about study specs: what is refused before anything runs, and what a study's identity holds."""

from dataclasses import replace
from pathlib import Path

import pytest

from ablations.core.errors import SearchSpaceError, StudyMismatchError, UsageError
from ablations.core.prompt import PromptParts
from ablations.prompts.templates import URIAL
from ablations.studies.config.file import read_study_file
from ablations.studies.spec import StudySpec, check_same_study
from tests.support.fakes import FakeBackend, FakeJudge, make_queries

TEMPERATURE = "[parameters.temperature]\nlow = 0.0\nhigh = 1.0\nstep = 0.5\n"
PENALTY = "[parameters.repetition_penalty]\nchoices = [1.0, 1.2]\n"
HEADINGS = '[parameters.template]\nchoices = ["urial", "urial-v5"]\n'
STOP = '[parameters.stop]\nchoices = ["headings", "fence"]\n'
BASELINE = "[study.baseline]\ntemperature = 0.0\nrepetition_penalty = 1.0\n"


def make_spec(folder: Path, text: str) -> StudySpec:
    path = folder / "space.toml"
    path.write_text(text)
    return StudySpec("s", read_study_file(path), "ablation", "qmc", 8, 3, 0, 2, make_queries())


def test_another_order_of_the_tables_is_another_study(tmp_path: Path) -> None:
    backend, judge = FakeBackend().identity.to_dict(), FakeJudge().identity
    one = make_spec(tmp_path, BASELINE + TEMPERATURE + PENALTY).identity(backend, judge)
    other = make_spec(tmp_path, BASELINE + PENALTY + TEMPERATURE).identity(backend, judge)
    with pytest.raises(StudyMismatchError, match="order of parameters"):
        check_same_study("s", one, other)


def test_a_stop_that_contradicts_the_headings_is_refused_with_the_file(tmp_path: Path) -> None:
    text = BASELINE + 'template = "urial"\nstop = "headings"\n' + HEADINGS + STOP
    with pytest.raises(SearchSpaceError, match=r"space\.toml: .*fence.*urial-v5"):
        make_spec(tmp_path, text)


def test_a_prompt_file_and_a_study_that_varies_its_headings_are_refused(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, BASELINE + 'template = "urial"\n' + HEADINGS)
    with pytest.raises(UsageError, match="--prompt-file replaces headings, which this study varies"):
        replace(spec, fixed_parts=PromptParts("", URIAL))
