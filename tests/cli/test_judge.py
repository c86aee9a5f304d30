"""Claims about the command that audits a judge."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ablations.cli import judge
from ablations.cli.main import main
from ablations.core.records import Completion, Judgment, Query, Score
from tests.support.fakes import FakeJudge


class Silent(FakeJudge):
    """Gives no score."""

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        return Judgment(self.name, Score(None, "no rating"))


@pytest.mark.pages
def test_an_audit_without_a_score_says_so_and_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(judge, "make_judge", lambda *_: Silent())
    arguments = ["audit-judge", "--judge", "checks", "--limit", "3", "--mlruns", str(tmp_path / "mlruns")]
    assert main(arguments) == 3
    told = capfd.readouterr()
    assert "the fake judge gave none of" in told.err
    assert "x no rating" in told.err
    assert "Verdict: none of" in told.out.replace("\n", " ")
    monkeypatch.setattr(judge, "make_judge", lambda *_: FakeJudge())
    assert main(arguments) == 0
