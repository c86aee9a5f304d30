"""Claims about study specs: what is refused before anything runs, and what a study's identity holds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.core.errors import SearchSpaceError, StudyMismatchError, UsageError
from ablations.core.prompt import PromptParts
from ablations.prompts.templates import URIAL
from ablations.studies.conditions.config import ConditionsConfig
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.config.file import find_study_file
from ablations.studies.spec import StudySpec, check_same_study
from tests.conftest import ROOT
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import BASELINE, PENALTY, TEMPERATURE, load, make_spec

TEMPLATE = '[parameters.template]\nchoices = ["urial", "urial-v5"]\n'
STOP = '[parameters.stop]\nchoices = ["headings", "fence"]\n'
IDENTITIES = json.loads((ROOT / "tests" / "fixtures" / "identities.json").read_text())


@pytest.mark.parametrize("name", IDENTITIES)
def test_what_may_not_change_under_a_shipped_studys_name_stays_as_it_is(name: str) -> None:
    config = load(find_study_file(name))
    make = ConditionsSpec if isinstance(config.kind, ConditionsConfig) else StudySpec
    spec = make(config, make_queries())
    assert spec.identity(FakeBackend().identity.to_dict(), FakeJudge().identity) == IDENTITIES[name]


def test_another_order_of_the_tables_is_another_study(tmp_path: Path) -> None:
    backend, judge = FakeBackend().identity.to_dict(), FakeJudge().identity
    one = make_spec(tmp_path, BASELINE + TEMPERATURE + PENALTY).identity(backend, judge)
    other = make_spec(tmp_path, BASELINE + PENALTY + TEMPERATURE).identity(backend, judge)
    with pytest.raises(StudyMismatchError, match="order of parameters"):
        check_same_study("s", one, other)


def test_a_stop_that_contradicts_the_template_is_refused_with_the_file(tmp_path: Path) -> None:
    text = BASELINE + 'template = "urial"\nstop = "headings"\n' + TEMPLATE + STOP
    with pytest.raises(SearchSpaceError, match=r"space\.toml: .*fence.*urial-v5"):
        make_spec(tmp_path, text)


def test_a_prompt_file_and_a_study_that_varies_its_template_are_refused(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, BASELINE + 'template = "urial"\n' + TEMPLATE)
    with pytest.raises(UsageError, match="--prompt-file replaces template, which this study varies"):
        replace(spec, fixed_parts=PromptParts("", URIAL))
