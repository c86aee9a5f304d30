"""Claims about the code's layout: imports point one way, and modules keep to the project's habits.

The checker reads source text alone; nothing is imported. A new module needs its place in `LEVELS`.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400

LEVELS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors",
        "conditions",
        "records json_rows tasks clock looks tables addresses databases",
        "servers search_space study_file models packaged embedding queries prompts demonstrations backends judges "
        "scoring store design places pruning environment tokens",
        "evaluation lengths claims optuna_storage tuning",
        "spec results trials",
        "tracking search_plan tuning_options tuning_plan",
        "cards tuning_costs",
        "study greedy_search tuning_study earlier",
        "confirmation reporting reproduction",
        "cells terminal plan closing closing_tuning pages",
        "session",
        "search_session confirm_session tuning_session alignment flags leakage kept aside",
        "assembly optuna_view",
        "tuning_assembly rebuild",
        "commands",
        "cli",
        "run __main__",
    )
)
"""The nouns of `ablations`, lowest first. A noun imports from lower levels, and on its own level without a cycle."""

ANALYSIS_MAY_IMPORT = frozenset({"errors", "conditions", "records", "results", "places", "tracking"})
MAY_IMPORT_ANALYSIS = frozenset(
    {
        "ablations.session",
        "ablations.search_session",
        "ablations.confirm_session",
        "ablations.tuning_session",
        "ablations.earlier",
        "ablations.alignment",
        "ablations.commands",
        "ablations.reporting",
        "ablations.kept",
        "ablations.pages",
        "ablations.rebuild",
    }
)
MAY_IMPORT_MLFLOW = "tracking"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path.read_text(encoding="utf-8")
    for package in ("ablations", "analysis")
    for path in sorted((ROOT / package).rglob("*.py"))
}
PATHS = [path for package in ("ablations", "analysis", "tests") for path in sorted((ROOT / package).rglob("*.py"))]


def imported(source: str) -> Iterator[str]:
    """Yield every dotted name that a source imports when it runs, inside functions too.

    What stands under `if TYPE_CHECKING:` is left out: it names a type and imports nothing.
    """
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))


def noun(name: str) -> str | None:
    """Return the noun of `ablations` that a dotted name belongs to, or None for other packages."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] or None if package == "ablations" else None


def problems(sources: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the imports of these modules, by dotted name; an empty list is good."""
    level = {name: number for number, names in enumerate(LEVELS) for name in names}
    edges: dict[str, set[str]] = {}
    found = []
    for module, source in sources.items():
        own = noun(module)
        if own is not None and own not in level:
            found.append(f"{module} has no place in LEVELS")
        for name in imported(source):
            package, target = name.partition(".")[0], noun(name)
            if not package:
                found.append(f"{module} imports {name} relatively")
            if package == "mlflow" and own != MAY_IMPORT_MLFLOW:
                found.append(f"{module} imports mlflow")
            if package == "analysis" and module.startswith("ablations") and module not in MAY_IMPORT_ANALYSIS:
                found.append(f"{module} imports analysis")
            if package == "ablations" and module.startswith("analysis") and target not in ANALYSIS_MAY_IMPORT:
                found.append(f"{module} imports {name}")
            if own in level and target in level and own != target:
                edges.setdefault(own, set()).add(target)
                if level[target] > level[own]:
                    found.append(f"{module} imports {target} from above")
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found.append(f"cycle: {' <- '.join(error.args[1])}")
    return sorted(set(found))


def test_imports_point_one_way() -> None:
    assert problems(SOURCES) == []


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("ablations.records", "from ablations.store import Store", "ablations.records imports store from above"),
        ("ablations.errors", "def f():\n    import ablations.cli", "ablations.errors imports cli from above"),
        ("ablations.judges.reference", "from ablations import study", "imports study from above"),
        ("ablations.scoring", "try:\n    import mlflow\nexcept ImportError: pass", "ablations.scoring imports mlflow"),
        ("analysis.frames", "from mlflow.entities import Run", "analysis.frames imports mlflow"),
        ("ablations.cli", "from analysis.findings import find", "ablations.cli imports analysis"),
        ("analysis.frames", "from ablations.study import Study", "analysis.frames imports ablations.study.Study"),
        ("ablations.queries", "from .store import Store", "ablations.queries imports .store.Store relatively"),
        ("ablations.gadgets", "", "ablations.gadgets has no place in LEVELS"),
        ("ablations.scoring", "from ablations.judges import Judge", "cycle: "),
    ],
)
def test_a_planted_bad_import_is_found(module: str, source: str, problem: str) -> None:
    found = problems({**SOURCES, module: SOURCES.get(module, "") + "\n" + source})
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ablations.session", "from analysis.findings import find"),
        ("ablations.tracking", "import mlflow"),
        ("analysis.frames", "from ablations.errors import StorageError"),
        ("ablations.judges.reference", "from ablations.scoring import repeated_share"),
        (
            "ablations.records",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ablations.study import Study",
        ),
    ],
)
def test_an_allowed_import_is_let_through(module: str, source: str) -> None:
    assert problems({module: source}) == []


def test_every_noun_of_the_levels_exists() -> None:
    assert frozenset().union(*LEVELS) == {name for module in SOURCES if (name := noun(module))}


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
    stems = [path.stem for path in PATHS]
    assert [
        stem for stem in stems if stem in ("utils", "util", "common", "helpers", "misc") or stem.endswith("_v2")
    ] == []
