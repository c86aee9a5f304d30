"""Claims about installing: what the constraints hold, and that they resolve."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_constraints_are_exact_versions_without_addresses_or_options() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert "torch==2.13.0" in lines


@pytest.mark.slow
def test_the_project_resolves_under_its_constraints() -> None:
    """Asks the registries, like `make setup`."""
    done = subprocess.run(["make", "resolvable"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_describes_every_target_of_the_makefile() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("setup", "decoding", "test", "check", "ui", "bench", "notebooks", "constraints"):
        assert re.search(rf"^  make {target} +\w", done.stdout, re.MULTILINE), target
