"""Claims about the plan that the person at the terminal sees."""

import io
from pathlib import Path

from ablations.cli.plan import show_plan
from rich.console import Console

from tests.studies.test_spec import BASELINE, make_spec
from tests.support.fakes import FakeJudge


def test_stop_strings_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    space = BASELINE + 'stop = "headings"\n[parameters.stop]\nchoices = ["headings", ["[/INST]"], ["[end]"]]\n'
    text = io.StringIO()
    console = Console(file=text, width=160, soft_wrap=True)
    show_plan(console, make_spec(tmp_path, space), "a model", FakeJudge(), list_conditions=True)
    assert text.getvalue().count('["[/INST]"]') >= 2
    assert text.getvalue().count('["[end]"]') >= 2
