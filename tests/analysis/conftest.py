"""What tests of analysis share."""

import pytest

from analysis import figures, importance

DRAWS, DRAWN = importance.DRAWS, figures._DRAWN


@pytest.fixture(autouse=True)
def whole_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All resamplings and figures, which other tests do without."""
    monkeypatch.setattr(importance, "DRAWS", DRAWS)
    monkeypatch.setattr(figures, "_DRAWN", DRAWN)
