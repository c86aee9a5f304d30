"""Claims about data that wants out: no name leads out of its folder, no text becomes code, and no pickle is read."""

import ast
import asyncio
import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.cli import inspect
from ablations.cli.main import main
from ablations.core.errors import StorageError, TrackingError, UsageError
from ablations.core.records import Completion, Prompt, Query
from ablations.datasets.pools import load_pool
from ablations.storage.locks import study_lock
from ablations.storage.workspace import Places
from ablations.studies.views.report import report_study
from ablations.tracking.tracker import Tracker
from tests.support.fakes import FakeBackend
from tests.support.servers import free_port
from tests.support.specs import changed
from tests.support.texts import shipped_sources
from tests.support.world import places_of, run, spec_of

SCRIPT = "<script>alert(1)</script>"
HOSTILE = ["../../../outside", "/tmp/outside", "..", f"a|`b`\n# {SCRIPT}", "\\..\\outside", "x" * 300]
NUL = "nul\x00category"
NAMES = ["../outside", "/outside", "..", ".hidden", "a/b", "a\\b", "a\x00b", "", "a\n"]


class HostileBackend(FakeBackend):
    """Answers with what a page could take for code."""

    async def generate(self, prompt: Prompt, decoding: object, seed: int) -> Completion:
        made = await super().generate(prompt, decoding, seed)  # type: ignore[arg-type]
        return replace(made, text=f"{made.text[:9]} | ````\n{SCRIPT}\n# heading\n\x00")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `inside/mlruns` with a finished study `s` whose queries and answers are hostile, and its report."""
    folder = tmp_path_factory.mktemp("hostile") / "inside"
    folder.mkdir()
    texts = (f"# Say {SCRIPT}", "and | `again`")
    queries = tuple(
        Query(id=bad, category=f"{bad}\n# {SCRIPT}", turns=texts, references=(SCRIPT, None)) for bad in HOSTILE
    )
    queries += (Query(id="category with a NUL", category=NUL, turns=texts, references=(SCRIPT, None)),)
    run(changed(spec_of(folder, queries=queries), trials=4), folder / "mlruns", HostileBackend())
    report_study("s", places_of(folder / "mlruns"), None)
    return folder


def test_ids_and_categories_from_data_name_no_file(hostile: Path) -> None:
    assert [path.name for path in hostile.parent.iterdir()] == ["inside"]
    assert {path.name for path in hostile.iterdir()} == {"mlruns", "space.toml"}
    names = [path.name for path in hostile.rglob("*")]
    assert [name for name in names if "outside" in name or "nul" in name or "script" in name] == []
    assert not Path("/tmp/outside").exists()


def test_the_report_shows_hostile_texts_as_text(hostile: Path) -> None:
    page = (hostile / "mlruns" / "results" / "s" / "report.html").read_text()
    assert html.escape(SCRIPT) in page
    assert SCRIPT not in page
    markdown = (hostile / "mlruns" / "results" / "s" / "report.md").read_text()
    outside = "".join(blocks_removed(markdown))
    assert SCRIPT not in outside
    assert SCRIPT in markdown  # in the blocks
    headings = re.findall(r"^#+ .*", outside, flags=re.MULTILINE)
    assert [heading for heading in headings if heading.startswith(("# Say", "# heading", f"# {SCRIPT}"))] == []
    assert len(re.findall(r"^# ", outside, flags=re.MULTILINE)) == 1


def blocks_removed(markdown: str) -> Iterator[str]:
    """Yield the lines of a page that are in no fenced block."""
    fence = ""
    for line in markdown.splitlines(keepends=True):
        found = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line.rstrip() == fence else fence
        elif found:
            fence = found[0]
        else:
            yield line


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_study_names_no_file(name: str, tmp_path: Path) -> None:
    places = places_of(tmp_path)
    for place in (places.results, places.engine_log, lambda study: study_lock(places, study).__enter__()):
        with pytest.raises(StorageError, match="is no study's name"):
            place(name)
    with pytest.raises(UsageError, match="has other characters than letters"):
        changed(spec_of(tmp_path), name=name)
    assert [path.name for path in tmp_path.iterdir()] == ["space.toml"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--study", "decoding", "--dry-run", "--name", "../../outside"],
        ["run", "--study", "../../outside"],
        ["run", "--study", "many-shot", "--dry-run", "--greedy", "../../outside"],
        ["report", "--study", "../../outside"],
        ["rebuild", "--name", "../../outside"],
    ],
)
def test_a_command_refuses_a_name_that_leads_out_of_the_folder(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--mlruns", str(tmp_path / "in" / "mlruns")]) == 2
    assert capfd.readouterr().err.count("error: ") == 1
    assert list(tmp_path.rglob("*")) == []


def log(folder: Path, experiment: str, files: dict[str, str], empty_tracking: Path) -> None:
    places = Places.choose(str(folder / "mlruns"), None, None, None)
    places.folder.mkdir()
    (places.folder / "mlflow.db").write_bytes(empty_tracking.read_bytes())
    tracker = Tracker(places.tracking_uri, places.artifacts, experiment, "s")

    async def start() -> None:
        try:
            await tracker.start("id", "", {}, files)
        finally:
            await tracker.finish("FINISHED")

    asyncio.run(start())


@pytest.mark.parametrize("experiment", ["..", "../../outside", "/outside", "a/../../.."])
def test_an_experiment_keeps_its_artifacts_in_their_folder(
    experiment: str, tmp_path: Path, empty_tracking: Path
) -> None:
    log(tmp_path, experiment, {"note.txt": "kept"}, empty_tracking)
    (kept,) = tmp_path.rglob("note.txt")
    assert len(kept.relative_to(tmp_path / "mlruns" / "artifacts").parts) == 4  # experiment, run, artifacts, file


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt", "%2e%2e/outside.txt"])
def test_an_artifact_of_a_stored_card_stays_in_its_run(name: str, tmp_path: Path, empty_tracking: Path) -> None:
    refused = False
    try:
        log(tmp_path, "space", {name: "text"}, empty_tracking)
    except TrackingError:
        refused = True
    kept = list(tmp_path.rglob("*outside*"))
    assert len(kept) == (0 if refused else 1)
    assert all(found.is_relative_to(tmp_path / "mlruns" / "artifacts") for found in kept)
    assert not Path("/outside.txt").exists()


@pytest.mark.parametrize("identity", HOSTILE)
def test_an_imported_pool_is_one_file_whatever_its_ids(identity: str, tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps({"id": identity, "query": "Why?", "answer": "So."}) + "\n")
    (one,) = load_pool(str(path)).demonstrations
    assert (one.id, one.query) == (identity, "Why?")
    assert [found.name for found in tmp_path.iterdir()] == ["pool.jsonl"]


def test_an_import_writes_what_it_is_told_and_nothing_that_the_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "../outside.txt\x00"
    text = f"{name}\n\n# Query:\n```\n{name}\n```\n\n# Answer:\n```\n{SCRIPT}\n```\n"
    Path("urial.txt").write_text(text)
    assert main(["import", "urial", "urial.txt", "--pool", "pool.jsonl", "--write-back", "again.txt"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"urial.txt", "pool.jsonl", "again.txt"}
    assert Path("again.txt").read_text() == text
    assert not (tmp_path.parent / "outside.txt").exists()


def test_the_pages_are_served_to_this_machine_alone(
    tmp_path: Path, empty_tracking: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    served: list[tuple[object, ...]] = []
    monkeypatch.setattr(inspect, "serve_ui", lambda *given: served.append(given) or 0)
    (tmp_path / "mlflow.db").write_bytes(empty_tracking.read_bytes())
    assert main(["ui", "--mlruns", str(tmp_path), "--port", str(free_port())]) == 0
    ((_, _, host, _),) = served
    assert host == "127.0.0.1"
    assert main(["ui", "--mlruns", str(tmp_path), "--host", "0.0.0.0"]) == 2
    assert "--host" in capfd.readouterr().err


def unpickling(source: str) -> list[str]:
    """Return what a source reads pickles with, or may."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            allows = any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords)
            if called in ("torch.load", "pd.read_pickle", "pandas.read_pickle") or allows:
                found.append(called)
    return found


PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize(
    "planted", ["import pickle", "from joblib import load", "torch.load(path)", "np.load(path, allow_pickle=True)"]
)
def test_a_planted_pickle_is_found(planted: str) -> None:
    assert len(unpickling(planted)) == 1


def test_no_pickle_is_read() -> None:
    assert {name: found for name, source in shipped_sources().items() if (found := unpickling(source))} == {}
