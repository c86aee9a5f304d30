"""Fixtures of all tests of analysis."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _whole_findings(whole_findings: None) -> None:
    """All resamplings and figures, which other tests do without."""
