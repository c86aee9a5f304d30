"""Known vulnerabilities of what is installed, as pip-audit finds them; `make check` runs it.

The exit code is 1 where a package has an advisory that `IGNORED` does not name, or pip-audit itself fails. Where the
advisories cannot be reached, one line says so and the exit code is 0: a machine without a network checks the rest.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 120
"""For the whole audit; some 300 packages take ten to thirty."""
IGNORED: Mapping[str, str] = {}
"""Advisories that do not concern this project, by id or alias, each with the reason."""
UNREACHABLE = ("requests.exceptions.", "urllib3.exceptions.", "ConnectionError")
"""Beginnings or endings of pip-audit's last line where its service cannot be reached."""


def main() -> int:
    """Audit the environment of this interpreter, say what was found, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--skip-editable", "--progress-spinner", "off", "--timeout", "5", "--format", "json"]
        command = [sys.executable, "-m", "pip_audit", *options, "--output", str(report)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return say(0, f"packages not audited: no advisories within {SECONDS} s")
        if not report.exists():
            return say(*failure(done.stderr))
        return say(*verdict(json.loads(report.read_text(encoding="utf-8"))["dependencies"]))


def verdict(packages: list[dict[str, Any]]) -> tuple[int, str]:
    """Return the exit code and what to say of audited packages, each with `vulns` or a `skip_reason`."""
    audited = [one for one in packages if "skip_reason" not in one]
    if not audited:
        return 0, "packages not audited: the index here knows no advisories"
    found = [
        f"{one['name']} {one['version']}: {known['id']} ({', '.join(known.get('fix_versions', [])) or 'no fix yet'})"
        for one in audited
        for known in one["vulns"]
        if not IGNORED.keys() & {known["id"], *known.get("aliases", [])}
    ]
    if found:
        return 1, "known vulnerabilities, with the versions that fix them:\n  " + "\n  ".join(found)
    return 0, f"{len(audited)} packages audited, {len(packages) - len(audited)} unknown to the index; none vulnerable"


def failure(said: str) -> tuple[int, str]:
    """Return the exit code and what to say where pip-audit ended without a report."""
    last = said.strip().rpartition("\n")[2]
    if any(name in last.partition(":")[0] for name in UNREACHABLE):
        return 0, f"packages not audited: the advisories cannot be reached ({last[:120]})"
    return 1, f"pip-audit failed:\n{said}"


def say(code: int, text: str) -> int:
    """Print the text, and return the exit code."""
    print(text, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
