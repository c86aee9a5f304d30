"""Studies by the text of their files, and the same studies with other values of keys."""

from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.config.config import KindConfig, Override, StudyConfig, load_config
from ablations.studies.config.keys import table_fields
from ablations.studies.config.space import SearchSpace, Values
from ablations.studies.config.tables import StudyTable
from ablations.studies.registry import configs
from ablations.studies.spec import StudySpec
from tests.support.fakes import make_queries

Spec = TypeVar("Spec", bound=StudySpec)
TEMPERATURE = "[parameters.temperature]\nlow = 0.0\nhigh = 1.0\nstep = 0.5\n"
PENALTY = "[parameters.repetition_penalty]\nchoices = [1.0, 1.2]\n"
BASELINE = "[study.baseline]\ntemperature = 0.0\nrepetition_penalty = 1.0\n"

SPACE = """
[study.baseline]
temperature = 0.0
top_p = 1.0
repetition_penalty = 1.1
stop = "headings"
[parameters.temperature]
low = 0.0
high = 1.0
step = 0.25
[parameters.top_p]
low = 0.5
high = 1.0
step = 0.25
requires = "temperature > 0"
[parameters.repetition_penalty]
low = 1.0
high = 1.2
step = 0.1
[parameters.stop]
choices = ["headings", "none", ["\\n\\n", "###"]]
"""


def load(path: Path, **keys: object) -> StudyConfig[KindConfig]:
    """Return the configuration of a study file with other values of keys of `[study]`, or another `name`."""
    overrides = [Override(key if key == "name" else f"study.{key}", value, "") for key, value in keys.items()]
    return load_config(path, overrides, configs())


def inside(space: SearchSpace, values: Values) -> bool:
    """Whether every active parameter of `values` is given and inside its domain."""
    found = space.active(values)
    return all(
        parameter.name in found and parameter.domain.contains(found[parameter.name])
        for parameter in space.parameters
        if parameter.active(found)
    )


def make_spec(folder: Path, text: str, **keys: object) -> ConditionsSpec:
    """Return the study `s` of four queries that a file in the folder describes: 8 trials, two of them in flight."""
    path = folder / "space.toml"
    path.write_text(text)
    return ConditionsSpec(load(path, **{"name": "s", "trials": 8, "concurrency": 2} | keys), make_queries())


def changed(spec: Spec, **values: object) -> Spec:
    """Return a study with other attributes, other keys of `[study]` and of its kind's table, checked again."""
    of_spec = {field.name for field in fields(StudySpec)}
    own = {name: value for name, value in values.items() if name in of_spec}
    keys = {name: value for name, value in values.items() if name not in of_spec}
    config = spec.config
    if "name" in keys:
        config = replace(config, name=str(keys.pop("name")))
    study = {name: keys.pop(name) for name in list(keys) if name in table_fields(StudyTable)}
    config = replace(config, study=replace(config.study, **study))  # type: ignore[arg-type]
    kind = configs()[config.mode]
    own_keys = {name: getattr(config.kind, name) for name in table_fields(kind) if hasattr(config.kind, name)}
    config = replace(config, kind=kind(**(own_keys | keys)))
    config.kind.check(config)
    return replace(spec, config=config, **own)  # type: ignore[arg-type]
