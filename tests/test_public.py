"""Claims about what `import ablations` gives to scripts."""

import subprocess
import sys
from importlib import import_module

import pytest

import ablations
from tests.support.recorded import MLRUNS


@pytest.mark.parametrize("name", ablations.__all__)
def test_every_public_name_is_there(name: str) -> None:
    found = getattr(ablations, name)
    home = getattr(found, "__module__", None)
    assert home is None or getattr(import_module(home), name) is found


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'open_studies'"):
        ablations.open_studies  # noqa: B018


def test_a_script_opens_a_study_and_asks_its_kind_what_it_found() -> None:
    results = ablations.open_study("alignment", MLRUNS)
    found = ablations.find_kind("alignment").summarise(results)
    assert found.headline.startswith("Gaps whose interval excludes 0: ")


def test_importing_the_package_alone_imports_nothing_large() -> None:
    code = "import sys, ablations; print({'numpy', 'polars', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
