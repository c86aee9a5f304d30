"""What the project's own texts say."""

import re

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def documented(metric: str) -> bool:
    """Whether the README lists a metric, by its name or as PREFIX/NAME."""
    prefix, separator, _ = metric.partition("/")
    listed = re.findall(r"`([^`\n]+)`", README)
    return any(name == metric or (separator and name.startswith(f"{prefix}/")) for name in listed)
