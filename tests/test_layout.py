"""Claims about the code's layout: rooms import along the arrows of CONTRIBUTING.md, and modules keep to the habits.

The checker reads source text alone; nothing is imported. A new room needs its place in `ARROWS`.
"""

import ast
import sys
from collections import Counter
from collections.abc import Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.conftest import ROOT
from tests.support.texts import module_name, shipped_sources

MAX_LINES, MAX_MODULES = 400, 8

ARROWS: Mapping[str, frozenset[str]] = {
    room: frozenset(below.split())
    for room, below in {
        "core": "",
        "prompts": "core",
        "storage": "core",
        "tracking": "core",
        "analysis": "core",
        "models": "core prompts storage",
        "datasets": "core prompts models",
        "judges": "core models datasets",
        "studies": "core prompts storage tracking analysis models datasets judges",
        "cli": "core prompts storage tracking analysis models datasets judges studies",
    }.items()
}
"""Each room and the rooms that it may import."""
DOORS = frozenset({"__init__", "__main__", "run"})
"""Modules at the top of `ablations`, which may import every room."""
OWNERS = {"mlflow": "tracking", "argparse": "cli", "rich": "cli", "optuna": "studies", "sqlalchemy": "storage"}
"""Packages that one room alone imports."""
SHARED = {("sqlalchemy", "tracking"), ("sqlalchemy", "studies"), ("optuna", "analysis")}
"""Exceptions to that: two catch SQLAlchemy's errors, which MLflow and Optuna let through; importances are Optuna's."""
KINDS = frozenset({"conditions", "greedy", "icl_vs_ift", "alignment"})
"""Packages of `studies` that neither each other nor any shared module imports; the registry names them."""


SOURCES = shipped_sources()
PATHS = [path for package in ("ablations", "analysis", "tests") for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def imported(source: str) -> tuple[str, ...]:
    """Return every dotted name that a source imports, inside functions and for types too."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found += (f"{base}.{alias.name}" for alias in node.names)
    return tuple(found)


def room(name: str) -> str | None:
    """Return the room that a dotted name belongs to, None for other packages and for the doors."""
    first, _, rest = name.partition(".")
    if first == "analysis":
        return first
    own = rest.partition(".")[0]
    return own if first == "ablations" and own and own not in DOORS else None


def kind(name: str) -> str | None:
    """Return the kind of study whose package a dotted name belongs to, or None."""
    parts = name.split(".")
    return parts[2] if parts[:2] == ["ablations", "studies"] and len(parts) > 2 and parts[2] in KINDS else None


def problems(sources: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the imports of these modules, by dotted name; an empty list is good."""
    found = []
    edges: dict[str, set[str]] = {}
    for module, source in sources.items():
        own = room(module)
        if own is not None and own not in ARROWS:
            found.append(f"{module} has no place in ARROWS")
            continue
        for name in imported(source):
            package, target = name.partition(".")[0], room(name)
            if not package:
                found.append(f"{module} imports {name} relatively")
            if package in OWNERS and own is not None and own != OWNERS[package] and (package, own) not in SHARED:
                found.append(f"{module} imports {package}")
            if own is not None and target is not None and target != own and target not in ARROWS[own]:
                found.append(f"{module} imports {name} against the arrows")
            if kind(name) and kind(module) != kind(name):
                found.append(f"{module} imports {name} of {'another' if kind(module) else 'a'} kind")
            meant = name if name in sources else name.rpartition(".")[0]
            if meant in sources and meant != module:
                edges.setdefault(module, set()).add(meant)
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found.append(f"cycle: {' <- '.join(error.args[1])}")
    return sorted(set(found))


def test_imports_follow_the_arrows_without_circles() -> None:
    assert problems(SOURCES) == []


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("ablations.core.records", "from ablations.storage.store import Store", "against the arrows"),
        ("ablations.core.errors", "def f():\n    import ablations.cli.main", "against the arrows"),
        ("ablations.judges.base", "from ablations.studies import spec", "against the arrows"),
        ("ablations.tracking.metrics", "from ablations.judges.prices import Price", "against the arrows"),
        ("analysis.frames", "from ablations.studies.spec import StudySpec", "against the arrows"),
        ("ablations.core.statistics", "try:\n    import mlflow\nexcept ImportError: pass", "imports mlflow"),
        ("analysis.frames", "from mlflow.entities import Run", "imports mlflow"),
        ("ablations.studies.spec", "from rich.console import Console", "imports rich"),
        ("ablations.studies.spec", "import argparse", "imports argparse"),
        ("ablations.judges.registry", "import optuna", "imports optuna"),
        ("ablations.datasets.queries", "from .pools import Pool", "relatively"),
        ("ablations.gadgets.one", "", "has no place in ARROWS"),
        ("ablations.core.errors", "from ablations.core.condition import Condition", "cycle: "),
        ("ablations.studies.greedy.plan", "from ablations.studies.conditions.design import DESIGNS", "another kind"),
        ("ablations.studies.spec", "from ablations.studies.greedy.config import GreedyConfig", "of a kind"),
        (
            "ablations.core.records",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ablations.judges.base import Judge",
            "against the arrows",
        ),
    ],
)
def test_a_planted_bad_import_is_found(module: str, source: str, problem: str) -> None:
    found = set(problems({**SOURCES, module: SOURCES.get(module, "") + "\n" + source})) - set(problems(SOURCES))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ablations.studies.spec", "from analysis.frames import Scores"),
        ("ablations.tracking.client", "import mlflow"),
        ("analysis.frames", "from ablations.core.errors import StorageError"),
        ("ablations.cli.main", "import argparse\nfrom rich.console import Console"),
        ("ablations.run", "from ablations.cli.main import main"),
    ],
)
def test_an_allowed_import_is_let_through(module: str, source: str) -> None:
    assert problems({module: source}) == []


def test_every_room_exists_and_nothing_else_stands_at_the_top() -> None:
    standing = {path.stem for path in (ROOT / "ablations").iterdir() if path.name not in ("__pycache__", "data")}
    assert standing == (ARROWS.keys() - {"analysis"}) | DOORS


def test_no_folder_holds_more_modules_than_the_habits_allow() -> None:
    held = Counter(
        str(path.parent.relative_to(ROOT))
        for package in ("ablations", "analysis")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    )
    assert {folder: count for folder, count in held.items() if count > MAX_MODULES} == {}


def test_no_module_hides_one_of_the_standard_library() -> None:
    """`python ablations/run.py` puts that folder first on the path."""
    assert {path.stem for path in (ROOT / "ablations").iterdir()} & sys.stdlib_module_names == set()


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_says_what_it_owns(module: str) -> None:
    docstring = ast.get_docstring(ast.parse(SOURCES[module]))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "?", ":"))


def test_no_file_is_longer_than_the_habits_allow() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in PATHS}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_file_is_a_drawer_for_everything_or_a_second_version() -> None:
    drawers = ("utils", "util", "common", "helpers", "misc")
    stems = [path.stem for path in PATHS]
    assert [stem for stem in stems if stem in drawers or stem.endswith("_v2")] == []


def test_no_test_imports_another_test() -> None:
    tests = [path for path in PATHS if path.is_relative_to(ROOT / "tests")]
    names = {module_name(path): list(imported(path.read_text(encoding="utf-8"))) for path in tests}
    found = {module: [name for name in some if ".test_" in name] for module, some in names.items()}
    assert {module: some for module, some in found.items() if some} == {}
