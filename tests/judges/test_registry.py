"""Claims about the registry of judges."""

from importlib import import_module

import pytest

from ablations.judges.registry import JUDGES


@pytest.mark.parametrize(("name", "path"), JUDGES.items())
def test_a_judge_is_registered_by_its_own_name(name: str, path: str) -> None:
    module, _, made = path.rpartition(".")
    assert getattr(import_module(f"ablations.judges.{module}"), made).name == name
