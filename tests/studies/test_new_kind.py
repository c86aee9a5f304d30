"""Claims about a kind that another package brings: one file and an entry point are all that it takes."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import polars as pl
import pytest

from ablations.cli.main import main
from ablations.studies import registry
from ablations.studies.planning import inputs
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.world import NeverAsked, World, pages, rebuilt

pytestmark = pytest.mark.pages

FILE = '[study]\nmode = "repeat"\n[study.baseline]\ntemperature = 0.7\n[repeat]\ntimes = 3\n'
POINT = EntryPoint("repeat", "tests.support.toy_kind:RepeatKind", registry.GROUP)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package that brings the kind is installed."""
    monkeypatch.setattr(registry, "entry_points", lambda group: [POINT] if group == registry.GROUP else [])
    registry.configs.cache_clear()
    registry._installed.cache_clear()
    yield
    registry.configs.cache_clear()
    registry._installed.cache_clear()


class Command:
    """The command of one such study in a folder of its own."""

    def __init__(self, folder: Path, tracking: Path) -> None:
        self.world = World(folder / "mlruns", tracking)
        (folder / "noise.toml").write_text(FILE)
        rows = [asdict(query) for query in make_queries()]
        (folder / "asked.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        files = ("--search-space", str(folder / "noise.toml"), "--queries", str(folder / "asked.jsonl"))
        self._arguments = ["run", *files, "--mlruns", str(self.world.folder)]

    def __call__(self, backend: FakeBackend, *more: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inputs, "engine_backend", lambda *_: backend)
            patch.setattr(inputs, "make_judge", lambda *_: FakeJudge())
            return main([*self._arguments, *more])


@pytest.fixture
def command(tmp_path: Path, empty_tracking: Path) -> Command:
    return Command(tmp_path, empty_tracking)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tests.support.no_such_module:Kind", "'bad' (tests.support.no_such_module:Kind) cannot be loaded: No module"),
        ("tests.support.toy_kind:RepeatKind", "brings the mode 'repeat', which 'repeat' (tests.support.toy_kind:Repe"),
        ("ablations.studies.greedy.kind:GreedyKind", "brings the mode 'greedy-search', which ablations has already"),
    ],
)
def test_a_package_whose_kind_cannot_be_is_named(
    value: str, message: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [POINT, EntryPoint("bad", value, registry.GROUP)])
    assert main(["run", "--list"]) == 2
    assert message in capfd.readouterr().err


def test_a_broken_package_names_its_distribution_and_leaves_no_traceback_of_the_help(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    own = distribution("polars")
    bad = EntryPoint("bad", "tests.support.no_such_module:Kind", registry.GROUP)
    bad._for(own)  # type: ignore[attr-defined]  # as `importlib.metadata` does
    monkeypatch.setattr(registry, "entry_points", lambda group: [bad])
    assert main(["run", "--help"]) == 2
    shown = " ".join(capfd.readouterr().err.split())
    assert f"'bad' (tests.support.no_such_module:Kind of polars {own.version}) cannot be loaded" in shown
    assert "Traceback" not in shown


def test_a_study_of_the_kind_runs_and_is_shown(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(FakeBackend()) == 0
    shown = capfd.readouterr().out
    assert "3 of 8 turns" in shown
    assert "3 repeats score" in shown
    frame = command.world.frame("noise")
    assert frame.group_by("trial").len().sort("trial").rows() == [(0, 8), (1, 8), (2, 8)]
    assert frame.get_column("score").null_count() == 0
    assert frame.group_by("query_id", "turn").agg(pl.col("seed").n_unique()).get_column("seed").unique().to_list() == [
        3
    ]
    (parent,) = (page for page in command.world.pages() if page["under"] is None)
    assert "repeat_spread" in parent["metrics"]
    assert parent["tags"]["mlflow.note.content"].startswith("3 repeats score")


def test_a_study_of_the_kind_that_broke_off_goes_on(command: Command) -> None:
    broken, rest = FakeBackend(fail_after=9), FakeBackend()
    assert command(broken) == 3
    assert command(rest) == 0
    assert broken.answered + len(rest.requests) == 24
    assert command(NeverAsked()) == 0


def test_its_flags_and_keys_are_checked_as_those_of_any_kind(
    command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(FakeBackend(), "--times", "2") == 0
    assert command.world.frame("noise").get_column("trial").n_unique() == 2
    assert command(FakeBackend(), "--times", "1") == 2
    assert "--times 1 is out of range; give 2 or more" in " ".join(capfd.readouterr().err.split())
    assert main(["schema", "--study", "decoding"]) == 0


def test_a_study_of_the_kind_is_reported_and_rebuilt(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(FakeBackend()) == 0
    assert main(["report", "--study", "noise", "--mlruns", str(command.world.folder)]) == 0
    report = command.world.folder / "results" / "noise" / "report.md"
    assert "3 repeats score" in report.read_text()
    moved = Path(shutil.copytree(command.world.folder, tmp_path / "moved"))
    (moved / "mlflow.db").unlink()
    rebuilt(moved)
    assert pages(moved) == pages(command.world.folder)
    alone = tmp_path / "alone"
    shutil.copytree(command.world.folder / "results", alone / "results")
    assert main(["report", "--study", "noise", "--mlruns", str(alone)]) == 0
    assert "3 repeats score" in (alone / "results" / "noise" / "report.md").read_text()
