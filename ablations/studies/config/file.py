"""Study files: TOML -> StudyFile, with every mistake named by file, key, value and remedy.

Knows neither Optuna nor engines. The schema is in `search_spaces/README.md`.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations.core.condition import (
    DECODING_PARAMETERS,
    INTEGER_PARAMETERS,
    PARAMETERS,
    TEXT_PARAMETERS,
    DecodingParams,
    format_value,
    neutral_value,
)
from ablations.core.errors import AblationError, ConditionError, SearchSpaceError, check_choice, nearest
from ablations.core.prompt import Value
from ablations.prompts.components import check_component
from ablations.studies.config.space import Choices, Parameter, Range, Requirement, SearchSpace, typed_value

SEARCH_SPACES = Path(__file__).resolve().parents[3] / "search_spaces"
MODES = ("ablation", "search", "greedy-search", "icl-vs-ift")
FIXED_MODES: Mapping[str, str] = {
    "greedy-search": "a greedy search",
    "icl-vs-ift": "a comparison with fine-tuning",
}
"""Modes that vary no parameter of a search space, and what their studies are called."""
DESIGN_SAMPLERS = ("qmc", "grid", "brute", "random")
ADAPTIVE_SAMPLERS = ("tpe", "gp")
SAMPLERS = DESIGN_SAMPLERS + ADAPTIVE_SAMPLERS

_STUDY_KEYS: dict[str, type | tuple[type, ...]] = {
    "description": str,
    "mode": str,
    "sampler": str,
    "trials": int,
    "levels": int,
    "seed": int,
    "concurrency": int,
    "model": str,
    "backend": str,
    "judge": str,
    "min_coverage": float,
    "queries": str,
    "limit": int,
    "confirm": int,
    "held_back": int,
    "baseline": dict,
    "design": str,
    "bare": dict,
    "conditions": list,
    "models": list,
}
_POOL_KEYS: dict[str, type] = {
    "name": str,
    "encoder": str,
    "max_tokens_each": int,
    "max_tokens_total": int,
    "greedy": str,
    "fit": str,
}
_SEARCH_KEYS: dict[str, type] = {"rounds": int, "candidates": int, "stop": str}
_TUNING_KEYS: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "sizes": list,
    "draws": int,
    "pools": list,
    "aligned": str,
    "max_tokens": int,
    "epochs": int,
    "learning_rate": float,
    "batch": int,
    "rank": int,
    "alpha": int,
    "target_modules": list,
    "tune_learning_rate": bool,
    "held_out": int,
    "icl": dict,
    "ift": dict,
}
FITS = ("refuse", "leave-out")
"""What becomes of numbers of demonstrations whose prompt is longer than the context."""
SEARCH_STOPS = ("rounds", "no-gain")
_KEYS: dict[str, Mapping[str, Any]] = {
    "study": _STUDY_KEYS,
    "pool": _POOL_KEYS,
    "search": _SEARCH_KEYS,
    "tuning": _TUNING_KEYS,
}
_TYPE_NAMES: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
_TABLES = ("baseline", "bare", "conditions", "models")
_PARAMETER_KEYS = ("low", "high", "step", "log", "choices", "requires")


@dataclass(frozen=True)
class StudyFile:
    """What a study file says.

    Attributes:
        name: the file's name without its ending.
        path: where it lies.
        text: its whole text, for the record.
        space: the varied parameters.
        baseline: parameter values of the baseline; those left out are neutral. Every varied one has a value.
        bare: parameter values of the bare prompt, every one of them; None where the file has none.
        engine: the `[engine]` table.
        options: the remaining keys of `[study]`, checked for type.
        pool, search, tuning: the tables of these names.
        conditions: the settings that the design `listed` evaluates, by values of varied parameters.
        models: the models that are studied one after the other; empty where there is one.
    """

    name: str
    path: Path
    text: str
    space: SearchSpace
    baseline: Mapping[str, Value]
    engine: Mapping[str, Any]
    options: Mapping[str, Any]
    bare: Mapping[str, Value] | None = None
    pool: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple[Mapping[str, Value], ...] = ()
    models: tuple[str, ...] = ()


def find_study_file(name: str) -> Path:
    """Return the path of a study in `search_spaces/`; raise `SearchSpaceError` for an unknown name."""
    path = SEARCH_SPACES / f"{name}.toml"
    if not re.fullmatch(r"[\w-]+", name) or not path.is_file():
        known = [known.stem for known in sorted(SEARCH_SPACES.glob("*.toml"))]
        raise SearchSpaceError(
            f"--study {name!r} is not a known study; {nearest(name, known)}, or give --search-space PATH"
        )
    return path


def read_study_file(path: Path) -> StudyFile:
    """Read and check a study file.

    Raises:
        SearchSpaceError: the file is missing, no TOML, or has an unknown key, an empty range, a
            baseline outside the space, or a grid over a continuous range.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SearchSpaceError(f"{path} cannot be read: {error}; give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise SearchSpaceError(f"{path} is not valid TOML: {error}; mend that line") from error
    try:
        return _study_file(path, text, document)
    except AblationError as error:
        raise SearchSpaceError(f"{path}: {error}") from error


def _study_file(path: Path, text: str, document: Mapping[str, Any]) -> StudyFile:
    _known_keys(document, (*_KEYS, "parameters", "engine"), "the file")
    study, pool, search, tuning = (_checked(document, name) for name in _KEYS)
    parameters = _table(document, "parameters")
    space = SearchSpace(tuple(_parameter(name, _table(parameters, name, "parameters.")) for name in parameters))
    baseline = _baseline(_table(study, "baseline"), space)
    bare = _bare(_table(study, "bare"), baseline, space) if "bare" in study else None
    options = {key: value for key, value in study.items() if key not in _TABLES}
    check_choice("study.mode", options.get("mode", MODES[0]), MODES)
    check_choice("study.sampler", options.get("sampler", SAMPLERS[0]), SAMPLERS)
    if options.get("sampler") in ("grid", "brute"):
        space.grid()
    if not space.parameters and options.get("mode") not in FIXED_MODES:
        raise SearchSpaceError("the space has no parameter; add a table such as [parameters.temperature]")
    check_choice("pool.fit", pool.get("fit", FITS[0]), FITS)
    check_choice("search.stop", search.get("stop", SEARCH_STOPS[0]), SEARCH_STOPS)
    return StudyFile(
        name=path.stem,
        path=path,
        text=text,
        space=space,
        baseline=baseline,
        engine=_table(document, "engine"),
        options=options,
        bare=bare,
        pool=pool,
        search=search,
        tuning=tuning,
        conditions=tuple(
            _listed(listed, number, space) for number, listed in enumerate(study.get("conditions", []), 1)
        ),
        models=tuple(_names(study.get("models", []))),
    )


def _checked(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table whose keys are known and of the right type."""
    table, known = _table(document, name), _KEYS[name]
    _known_keys(table, known, f"[{name}]")
    for key, value in table.items():
        kinds: Any = (float, int) if known[key] is float else known[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and known[key] is not bool):
            expected = _TYPE_NAMES.get(known[key], "another value")
            raise SearchSpaceError(f"{name}.{key} = {value!r} is of the wrong type; give {expected}")
        if isinstance(value, int) and not isinstance(value, bool) and name != "study" and value < 1:
            raise SearchSpaceError(f"{name}.{key} = {value} is out of range; give 1 or more")
    return table


def _names(models: list[Any]) -> list[str]:
    if not all(isinstance(model, str) and model for model in models):
        raise SearchSpaceError(f"study.models = {models!r} must be a list of models by name, folder or hub id")
    return models


def _listed(table: Any, number: int, space: SearchSpace) -> dict[str, Value]:
    """Return the varied parameters of a listed condition."""
    if not isinstance(table, dict):
        raise SearchSpaceError(f"study.conditions item {number} = {table!r} is not a table of parameters")
    values = {name: typed_value(name, value) for name, value in table.items()}
    for name, value in values.items():
        _check_inside(f"study.conditions item {number}: {name}", name, value, space)
    return values


def _parameter(name: str, table: Mapping[str, Any]) -> Parameter:
    if name not in PARAMETERS:
        raise SearchSpaceError(f"[parameters.{name}] is not a parameter; {nearest(name, PARAMETERS)}")
    _known_keys(table, _PARAMETER_KEYS, f"[parameters.{name}]")
    try:
        requires = Requirement.parse(table["requires"]) if "requires" in table else None
        domain = _domain(name, table)
        for value in domain.spread(2):  # a range's ends, or all choices
            _check_value(name, value)
        if name == "temperature" and isinstance(domain, Range) and domain.low == 0 and (domain.step or 0) < 0.01:
            raise SearchSpaceError(
                "the range holds temperatures between 0 and 0.01, which engines would change; "
                "give low = 0.01, or a step of at least 0.01"
            )
        return Parameter(name, domain, requires)
    except (SearchSpaceError, ConditionError) as error:
        raise SearchSpaceError(f"parameters.{name}: {error}") from error


def _domain(name: str, table: Mapping[str, Any]) -> Range | Choices:
    if "choices" in table:
        extra = [key for key in ("low", "high", "step", "log") if key in table]
        if extra or not isinstance(table["choices"], list):
            raise SearchSpaceError(
                f"give either choices = [...] or low and high, not {', '.join(extra) or 'something else'}"
            )
        return Choices(tuple(typed_value(name, option) for option in table["choices"]))
    if "low" not in table or "high" not in table:
        raise SearchSpaceError("a parameter needs low and high, or choices; add them")
    for key in ("low", "high", "step"):
        if isinstance(table.get(key, 0), bool) or not isinstance(table.get(key, 0), int | float):
            raise SearchSpaceError(f"{key} = {table[key]!r} is not a number; give a number")
    if not isinstance(table.get("log", False), bool):
        raise SearchSpaceError(f"log = {table['log']!r} is neither true nor false")
    if name in TEXT_PARAMETERS:
        raise SearchSpaceError("this parameter has no range; give choices = [...]")
    return Range(
        low=table["low"],
        high=table["high"],
        step=table.get("step"),
        log=table.get("log", False),
        integer=name in INTEGER_PARAMETERS,
    )


def _check_value(name: str, value: Any) -> None:
    """Raise `ConditionError` unless a condition can hold `value`."""
    if name in DECODING_PARAMETERS:
        DecodingParams(**{name: value})
    else:
        check_component(name, value)


def _bare(table: Mapping[str, Any], baseline: Mapping[str, Value], space: SearchSpace) -> dict[str, Value]:
    """Return the bare prompt: the baseline with what this table takes away."""
    bare = {name: typed_value(name, value) for name, value in table.items()}
    for name, value in bare.items():
        _check_inside(f"study.bare.{name}", name, value, space)
    return {**baseline, **bare}


def _check_inside(where: str, name: str, value: Value, space: SearchSpace) -> None:
    """Raise `SearchSpaceError` unless a parameter is varied over `value`."""
    if name not in space.names:
        raise SearchSpaceError(f"{where} is not varied; add [parameters.{name}], or drop it")
    if not space[name].domain.contains(value):
        raise SearchSpaceError(
            f"{where} = {format_value(value)} lies outside parameters.{name} "
            f"({space[name].domain.describe()}); choose a value inside, or widen the parameter"
        )


def _baseline(table: Mapping[str, Any], space: SearchSpace) -> dict[str, Value]:
    _known_keys(table, PARAMETERS, "[study.baseline]")
    baseline = {name: typed_value(name, value) for name, value in table.items()}
    for name, value in baseline.items():
        try:
            _check_value(name, value)
        except ConditionError as error:
            raise SearchSpaceError(f"study.baseline.{error}") from error
    for parameter in space.parameters:
        name = parameter.name
        if name not in baseline and not parameter.active(space.active(baseline)) and name in DECODING_PARAMETERS:
            # Without effect here, but the design switches it on: the value it has then must be known and in the space.
            neutral = neutral_value(name)
            baseline |= {name: neutral} if parameter.domain.contains(neutral) else {}
        if name not in baseline:
            raise SearchSpaceError(
                f"study.baseline does not set {name}, which is varied; add {name} = ... "
                f"(within {parameter.domain.describe()})"
            )
        _check_inside(f"study.baseline.{name}", name, baseline[name], space)
    return baseline


def _table(document: Mapping[str, Any], name: str, prefix: str = "") -> Mapping[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise SearchSpaceError(f"{prefix}{name} = {table!r} is not a table; write [{prefix}{name}] and its keys below")
    return table


def _known_keys(table: Mapping[str, Any], known: Mapping[str, Any] | tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise SearchSpaceError(f"unknown key {key!r} in {where}; {nearest(key, known)}")
