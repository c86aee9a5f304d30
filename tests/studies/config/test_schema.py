"""Claims about the JSON Schema of a study file: it says what the loader does, and the reference is drawn from it."""

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from ablations.cli.main import main
from ablations.core.condition import PARAMETERS, DecodingParams
from ablations.core.errors import ConditionError, UserError
from ablations.prompts.components import check_component
from ablations.studies.config.file import PARAMETER_KEYS, SEARCH_SPACES
from ablations.studies.config.schema import fill_tables, readme_tables, study_schema
from ablations.studies.registry import configs
from tests.support.specs import load

SHIPPED = sorted(SEARCH_SPACES.glob("*.toml"))
SCHEMA = study_schema(configs())
SPACE = "[study.baseline]\ntemperature = 0.0\n[parameters.temperature]\nchoices = [0.0, 1.0]\n"
BAD = [
    "[studdy]\n" + SPACE,
    "[study]\ntrails = 3\n" + SPACE,
    "[study]\ntrials = 0\n" + SPACE,
    "[study]\ntrials = true\n" + SPACE,
    '[study]\nlimit = "8"\n' + SPACE,
    "[study]\nmin_coverage = 0\n" + SPACE,
    '[study]\nsampler = "sobol"\n' + SPACE,
    '[study]\nmode = "serch"\n' + SPACE,
    '[study]\nmodels = ["a"]\n' + SPACE,
    "[search]\nrounds = 2\n" + SPACE,
    "[study]\n",
    '[study]\nmode = "greedy-search"\n' + SPACE,
    '[study]\nmode = "greedy-search"\ntrials = 3\n',
    '[study]\nmode = "icl-vs-ift"\n[tuning]\nsizes = [0]\n',
    '[pool]\nfit = "cut"\n' + SPACE,
    SPACE + "[parameters.rules]\nchoices = [1, 2]\n",
    SPACE + "[parameters.top_p]\nlow = 0.5\n",
    SPACE + "[parameters.top_p]\nlow = 0.5\nhigh = 1.0\nchoices = [0.5]\n",
    SPACE.replace("temperature = 0.0", "temprature = 0.0"),
]


def problems(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [error.message for error in validator.iter_errors(tomllib.loads(text))]


def test_the_schema_is_one_of_its_draft() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_study_follows_the_schema_of_all_kinds_and_that_of_its_own(path: Path) -> None:
    document = tomllib.loads(path.read_text())
    assert problems(path.read_text()) == []
    jsonschema.validate(document, study_schema(configs(), load(path).mode), jsonschema.Draft202012Validator)


@pytest.mark.parametrize("text", BAD)
def test_what_the_schema_refuses_the_loader_refuses(text: str, tmp_path: Path) -> None:
    assert problems(text)
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError):
        load(tmp_path / "mine.toml")


def test_the_schema_of_one_kind_asks_for_its_mode_unless_it_is_the_default() -> None:
    validator = jsonschema.Draft202012Validator(study_schema(configs(), "greedy-search"))
    assert validator.is_valid({"study": {"mode": "greedy-search"}})
    assert not validator.is_valid({"study": {}})
    assert jsonschema.Draft202012Validator(study_schema(configs(), "ablation")).is_valid(tomllib.loads(SPACE))


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameters_schema_allows_what_a_condition_can_hold(name: str) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA["$defs"][name])
    for value in (-3, -2.0, -1, 0, 0.5, 1, 1.5, 2, 2.5, True, "none", "full", "urial", "warm", "given", "correct", "x"):
        try:
            _check(name, value)
        except ConditionError:
            possible = False
        else:
            possible = True
        assert validator.is_valid(value) == possible, value


def _check(name: str, value: object) -> None:
    if name in DecodingParams.__dataclass_fields__:
        DecodingParams(**{name: value})  # type: ignore[arg-type]
    else:
        check_component(name, value)


def test_every_key_stands_in_the_reference_whose_tables_are_the_schemas() -> None:
    page = (SEARCH_SPACES / "README.md").read_text(encoding="utf-8")
    assert fill_tables(page, configs()) == page, "run: python -m ablations schema --readme search_spaces/README.md"
    marked = re.findall(r"<!-- table (\w+) -->", page)
    assert sorted(marked) == sorted(readme_tables(configs()))
    assert all(f"| `{key}` |" in page for key in (*PARAMETERS, *PARAMETER_KEYS))


def test_the_command_prints_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capfd.readouterr().out) == SCHEMA
    assert main(["schema", "--study", "icl-vs-ift"]) == 0
    assert "search" not in json.loads(capfd.readouterr().out)["properties"]
    assert main(["schema", "--study", "decodng"]) == 2
