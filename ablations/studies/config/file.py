"""Study files: TOML -> its tables, the search space and the baseline, every mistake named by key, value and remedy.

Knows neither kinds of studies nor flags. The schema is in `search_spaces/README.md`.
"""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from ablations.core.condition import (
    DECODING_PARAMETERS,
    INTEGER_PARAMETERS,
    PARAMETERS,
    TEXT_PARAMETERS,
    DecodingParams,
    format_value,
    neutral_value,
)
from ablations.core.errors import ConditionError, SearchSpaceError, UsageError, nearest, reason
from ablations.core.prompt import Value
from ablations.prompts.components import check_component
from ablations.storage.workspace import REPOSITORY
from ablations.studies.config.keys import Key
from ablations.studies.config.space import (
    Choices,
    Parameter,
    Range,
    Requirement,
    SearchSpace,
    Values,
    right_name,
    typed_value,
)

SEARCH_SPACES = REPOSITORY / "search_spaces"
TomlTable = Mapping[str, object]
PARAMETER_KEYS: Mapping[str, Key] = {
    "low": Key("the lower end of a range, included"),
    "high": Key("its upper end, included"),
    "step": Key("makes the range a grid; it must lead from `low` to `high`", above=0),
    "log": Key("`true`: a logarithmic scale, without `step`"),
    "choices": Key("a list of values instead of a range"),
    "requires": Key(
        'such as `"temperature > 0"`: the parameter is varied only where that holds',
        more="The parameter it names must stand above",
    ),
}
"""Keys of a table `[parameters.NAME]`."""


@dataclass(frozen=True)
class Document:
    """A study file as TOML.

    Attributes:
        path: where it lies.
        text: its whole text, for the record.
        tables: its content.
    """

    path: Path
    text: str
    tables: TomlTable

    def table(self, name: str) -> TomlTable:
        """Return a table, empty where the file has none."""
        return table_of(self.tables, name)


def find_study_file(name: str) -> Path:
    """Return the path of a study in `search_spaces/`; raise `SearchSpaceError` for an unknown name."""
    path = SEARCH_SPACES / f"{name}.toml"
    if not re.fullmatch(r"[\w-]+", name) or not path.is_file():
        known = [known.stem for known in sorted(SEARCH_SPACES.glob("*.toml"))]
        raise SearchSpaceError(
            f"--study {name!r} is not a known study; {nearest(name, known)}, or give --search-space PATH"
        )
    return path


def read_document(path: Path) -> Document:
    """Return a file's tables; raise `SearchSpaceError` where it is missing, or no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        return Document(path, text, tomllib.loads(text))
    except (OSError, UnicodeDecodeError) as error:
        raise SearchSpaceError(f"{path} cannot be read: {reason(error)}; give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise SearchSpaceError(f"{path} is not valid TOML: {error}; correct that line") from error


def table_of(tables: TomlTable, name: str, prefix: str = "") -> TomlTable:
    """Return a table within others, empty where it is not there; raise `SearchSpaceError` where it is no table."""
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise SearchSpaceError(f"{prefix}{name} = {table!r} is not a table; write [{prefix}{name}] and its keys below")
    return table


def check_keys(table: TomlTable, known: Collection[str], where: str) -> None:
    """Raise `SearchSpaceError` for a key that is not known, with the nearest one that is."""
    for key in table:
        if key not in known:
            raise SearchSpaceError(f"unknown key {key!r} in {where}; {nearest(key, known)}")


def read_space(document: Document) -> SearchSpace:
    """Return the varied parameters; raise `SearchSpaceError` for one that cannot be."""
    parameters = document.table("parameters")
    return SearchSpace(tuple(_parameter(name, table_of(parameters, name, "parameters.")) for name in parameters))


def read_baseline(document: Document, space: SearchSpace) -> dict[str, Value]:
    """Return the values of the baseline, one of every varied parameter; others that are left out are neutral."""
    table = table_of(document.table("study"), "baseline", "study.")
    for name in table:
        if name not in PARAMETERS:
            raise SearchSpaceError(f"unknown key {name!r} in [study.baseline]; {right_name(name)}")
    baseline: dict[str, Value] = {name: typed_value(name, value) for name, value in table.items()}
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
        check_inside(f"study.baseline.{name}", name, baseline[name], space)
    return baseline


def check_varied(where: str, values: Values, space: SearchSpace) -> None:
    """Raise `SearchSpaceError` unless every one of `values` is a varied parameter's and inside its domain."""
    for name, value in values.items():
        check_inside(f"{where}{name}", name, value, space)


def check_inside(where: str, name: str, value: Value, space: SearchSpace) -> None:
    """Raise `SearchSpaceError` unless a parameter is varied over `value`."""
    if name not in PARAMETERS:
        raise SearchSpaceError(f"{where} is not a parameter; {right_name(name)}")
    if name not in space.names:
        raise SearchSpaceError(f"{where} is not varied; add [parameters.{name}], or drop it")
    if not space[name].domain.contains(value):
        raise SearchSpaceError(
            f"{where} = {format_value(value)} lies outside parameters.{name} "
            f"({space[name].domain.describe()}); choose a value inside, or widen the parameter"
        )


def read_setting(pair: str) -> tuple[str, object]:
    """Read `KEY=VALUE` of `--engine` with TOML's values; what is none is a text."""
    key, separator, text = pair.partition("=")
    if not separator or not key.isidentifier():
        raise UsageError(f"--engine {pair!r} is not KEY=VALUE; write for example --engine dtype=bfloat16")
    typed = text.lower() if text.lower() in ("true", "false") else text
    try:
        return key, tomllib.loads(f"value = {typed}")["value"]
    except tomllib.TOMLDecodeError:
        return key, text


def _parameter(name: str, table: TomlTable) -> Parameter:
    if name not in PARAMETERS:
        raise SearchSpaceError(f"[parameters.{name}] is not a parameter; {right_name(name)}")
    check_keys(table, PARAMETER_KEYS, f"[parameters.{name}]")
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


def _domain(name: str, table: TomlTable) -> Range | Choices:
    if "choices" in table:
        options, extra = table["choices"], [key for key in ("low", "high", "step", "log") if key in table]
        if extra or not isinstance(options, list):
            raise SearchSpaceError(
                f"give either choices = [...] or low and high, not {', '.join(extra) or 'something else'}"
            )
        return Choices(tuple(typed_value(name, option) for option in options))
    if "low" not in table or "high" not in table:
        raise SearchSpaceError("a parameter needs low and high, or choices; add them")
    low, high, step, log = table["low"], table["high"], table.get("step"), table.get("log", False)
    if not _is_number(low):
        raise SearchSpaceError(f"low = {low!r} is not a number; give a number")
    if not _is_number(high):
        raise SearchSpaceError(f"high = {high!r} is not a number; give a number")
    if step is not None and not _is_number(step):
        raise SearchSpaceError(f"step = {step!r} is not a number; give a number")
    if not isinstance(log, bool):
        raise SearchSpaceError(f"log = {log!r} is neither true nor false")
    if name in TEXT_PARAMETERS:
        raise SearchSpaceError("this parameter has no range; give choices = [...]")
    return Range(low, high, step, log, integer=name in INTEGER_PARAMETERS)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_value(name: str, value: Value) -> None:
    """Raise `ConditionError` unless a condition can hold `value`."""
    if name in DECODING_PARAMETERS:
        DecodingParams(**{name: value})  # type: ignore[arg-type]
    else:
        check_component(name, value)
