"""Claims about installing: what the constraints hold, and that they resolve."""

import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).parents[1]


def test_constraints_are_exact_versions_without_addresses_or_options() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert "torch==2.13.0" in lines


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    return load_script(ROOT / ".ci" / "audit.py")


SOUND = {"name": "sound", "version": "1.0", "vulns": []}
SKIPPED = {"name": "own", "skip_reason": "not found"}
KNOWN = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.0"]}
VULNERABLE = {"name": "old", "version": "1.0", "vulns": [KNOWN]}


def test_a_vulnerable_package_fails_the_audit_unless_a_reason_lets_it_pass(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = audit.verdict([SOUND, SKIPPED, VULNERABLE])
    assert (code, said.splitlines()[1:]) == (1, ["  old 1.0: PYSEC-1 (2.0)"])
    monkeypatch.setattr(audit, "IGNORED", {"CVE-1": "what it concerns is not used"})
    assert audit.verdict([SOUND, SKIPPED, VULNERABLE]) == (
        0,
        "2 packages audited, 1 unknown to the index; none vulnerable",
    )


def test_an_audit_that_reaches_no_advisories_passes_with_a_line_and_one_that_breaks_fails(audit: ModuleType) -> None:
    assert audit.verdict([SKIPPED]) == (0, "packages not audited: the index here knows no advisories")
    refused = "Traceback\nrequests.exceptions.ProxyError: HTTPSConnectionPool(host='h', port=443): refused"
    code, said = audit.failure(refused)
    assert (code, said.count("\n")) == (0, 0)
    assert said.startswith("packages not audited: the advisories cannot be reached (requests.exceptions.ProxyError")
    assert audit.failure("/bin/python: No module named pip_audit")[0] == 1


@pytest.mark.slow
def test_the_project_resolves_under_its_constraints() -> None:
    """Asks the registries, like `make setup`."""
    done = subprocess.run(["make", "resolvable"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_describes_every_target_of_the_makefile() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("setup", "decoding", "test", "check", "ui", "bench", "notebooks", "constraints"):
        assert re.search(rf"^  make {target} +\w", done.stdout, re.MULTILINE), target
