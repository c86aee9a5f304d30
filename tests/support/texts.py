"""Look-ups in the project's own texts."""

import re
from pathlib import Path

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def documented(metric: str) -> bool:
    """Whether the README lists a metric, by its name or as PREFIX/NAME."""
    prefix, separator, _ = metric.partition("/")
    listed = re.findall(r"`([^`\n]+)`", README)
    return any(name == metric or (separator and name.startswith(f"{prefix}/")) for name in listed)


def module_name(path: Path) -> str:
    """Return the dotted name of a module of the project."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def shipped_sources() -> dict[str, str]:
    """Return the text of every module that people install, by dotted name."""
    paths = [path for package in ("ablations", "analysis") for path in sorted((ROOT / package).rglob("*.py"))]
    return {module_name(path): path.read_text(encoding="utf-8") for path in paths}
