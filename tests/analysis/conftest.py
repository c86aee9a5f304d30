"""What tests of analysis share."""

from collections.abc import Iterator

import pytest

from analysis import figures
from analysis.effects import importance

DRAWS, FITS, DRAWN = importance.DRAWS, importance.FITS, figures._DRAWN


@pytest.fixture(scope="module", autouse=True)
def whole_closing() -> Iterator[None]:
    """All resamplings and figures, which other tests do without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "DRAWS", DRAWS)
        patch.setattr(importance, "FITS", FITS)
        patch.setattr(figures, "_DRAWN", DRAWN)
        yield
