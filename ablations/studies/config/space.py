"""Search spaces: which parameters vary, over which values, and under which condition.

Knows neither files nor how a study walks through the space, beyond Optuna's `Trial`.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from typing import Protocol, cast

from ablations.core.condition import INTEGER_PARAMETERS, PARAMETERS, format_value
from ablations.core.errors import SearchSpaceError, nearest
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import Value

Values = Mapping[str, Value]
"""Parameter values by name: the active ones of a space, or a full condition."""

RENAMED: Mapping[str, str] = {"rules": "system_prompt", "headings": "template", "demonstrations": "shots"}
"""Parameters that had other names once."""

_OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_ROUNDING = 1e-6
"""Steps that floating point may be off by: (1.0 - 0.8) / 0.2 is a little below 1."""
_REQUIRES = re.compile(r"^\s*(\w+)\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*$")


class Suggests(Protocol):
    """The part of `optuna.Trial` that a space needs."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """Return a number."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """Return a whole number."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> object:
        """Return one of the choices."""
        ...


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; with `step` a grid, with `log` on a logarithmic scale.

    Raises:
        SearchSpaceError: the range is empty, or `step` and `log` do not fit it.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low >= self.high:
            raise SearchSpaceError(
                f"the range low = {self.low:g}, high = {self.high:g} is empty; low must be below high"
            )
        if self.step is not None and not (self.step > 0 and self._steps(self.high) > 1 - _ROUNDING):
            raise SearchSpaceError(
                f"step = {self.step:g} does not fit the range {self.low:g} to {self.high:g}; "
                f"give a step above 0 up to {self.high - self.low:g}"
            )
        if self.step is not None and not self._divides(self.high):
            raise SearchSpaceError(
                f"step = {self.step:g} does not lead from low = {self.low:g} to high = {self.high:g}; "
                f"end the range at {self.low + math.floor(self._steps(self.high)) * self.step:g}"
            )
        if self.log and (self.low <= 0 or self.step is not None):
            raise SearchSpaceError("log = true needs low above 0 and no step; remove step or log")
        if self.integer and any(value != int(value) for value in (self.low, self.high, self.step or 1)):
            raise SearchSpaceError("low, high and step of this parameter must be whole numbers")

    def _steps(self, value: float) -> float:
        return (value - self.low) / (self.step or 1)

    def _divides(self, value: float) -> bool:
        steps = self._steps(value)
        return abs(steps - round(steps)) < _ROUNDING

    def distance_from(self, here: Value) -> Callable[[Value], float]:
        """Return what gives the distance of a value on the range's scale, rounded so that equal ones are equal."""

        def place(value: Value) -> float:
            return math.log(cast(float, value)) if self.log else cast(float, value)

        return lambda value: round(abs(place(value) - place(here)), 6)

    @property
    def continuous(self) -> bool:
        """Whether the values cannot be listed."""
        return self.step is None and not self.integer

    def contains(self, value: Value) -> bool:
        """Whether `value` lies in the range and on its grid."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.integer and value != int(value):
            return False
        return self.step is None or self._divides(value)

    def values(self) -> tuple[Value, ...]:
        """List the grid; raise `SearchSpaceError` for a continuous range."""
        if self.continuous:
            raise SearchSpaceError(
                f"the range {self.low:g} to {self.high:g} is continuous and has no grid; give it a step, or choices"
            )
        return self._grid

    @cached_property
    def _grid(self) -> tuple[Value, ...]:
        step = self.step or 1
        count = round((self.high - self.low) / step) + 1
        return tuple(self._typed(self.low + index * step) for index in range(count))

    def quantile(self, share: float) -> Value:
        """Return the value at `share` (0 to 1) of the range, on its grid and scale."""
        if not self.continuous and not self.log:
            grid = self.values()
            return grid[min(int(share * len(grid)), len(grid) - 1)]
        if self.log:
            return self._typed(math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low))))
        return self._typed(self.low + share * (self.high - self.low))

    def spread(self, count: int) -> tuple[Value, ...]:
        """Return up to `count` values from end to end, evenly spaced on the range's scale."""
        shares = [index / max(count - 1, 1) for index in range(count)]
        if self.continuous or self.log:
            return tuple(dict.fromkeys(self.quantile(share) for share in shares))
        grid = self.values()
        return tuple(dict.fromkeys(grid[round(share * (len(grid) - 1))] for share in shares))

    def suggest(self, name: str, trial: Suggests) -> Value:
        """Ask `trial` for a value."""
        if self.integer:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return self._typed(trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log))

    def _typed(self, value: float) -> Value:
        return round(value) if self.integer else round(value, 10) + 0.0  # never -0.0

    def describe(self) -> str:
        """Return the range in a few words."""
        grid = f" in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{grid}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """A fixed list of values. Lists of stop strings travel through Optuna as JSON labels."""

    options: tuple[Value, ...]

    def __post_init__(self) -> None:
        if len(self.options) < 2 or len(set(self.labels)) != len(self.options):
            raise SearchSpaceError(
                f"choices = [{', '.join(self.labels)}] must list at least two different values; "
                "set a single value in the baseline instead"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The options as text, in their order."""
        return tuple(format_value(option) for option in self.options)

    continuous = False

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the options."""
        return value in self.options

    def values(self) -> tuple[Value, ...]:
        """List the options."""
        return self.options

    def quantile(self, share: float) -> Value:
        """Return the option at `share` (0 to 1) of the list."""
        return self.options[min(int(share * len(self.options)), len(self.options) - 1)]

    def spread(self, count: int) -> tuple[Value, ...]:
        """Return all options: categories have no order to thin them out by, whatever `count` says."""
        del count
        return self.options

    def suggest(self, name: str, trial: Suggests) -> Value:
        """Ask `trial` for an option."""
        return self.options[self.labels.index(str(trial.suggest_categorical(name, self.labels)))]

    def describe(self) -> str:
        """Return the options in a few words."""
        return ", ".join(self.labels)


@dataclass(frozen=True)
class Requirement:
    """A parameter is active only where another one's value satisfies this comparison."""

    parameter: str
    comparison: str
    value: Value

    @classmethod
    def parse(cls, text: object) -> "Requirement":
        """Read `"temperature > 0"`; raise `SearchSpaceError` for anything else."""
        match = _REQUIRES.match(text) if isinstance(text, str) else None
        if match is None:
            raise SearchSpaceError(f'requires = {text!r} is not a comparison; write for example "temperature > 0"')
        name, comparison, raw = match.groups()
        value: Value
        try:
            value = float(raw)
        except ValueError:
            value = raw.strip("'\"")
        if isinstance(value, str) and comparison not in ("==", "!="):
            raise SearchSpaceError(f"requires = {text!r} orders a text; use == or !=")
        return cls(name, comparison, value)

    def holds(self, values: Values) -> bool:
        """Whether the comparison is true of `values`."""
        actual = values.get(self.parameter)
        if actual is None or isinstance(actual, str | tuple) != isinstance(self.value, str):
            return False
        return bool(_OPERATORS[self.comparison](actual, self.value))

    def __str__(self) -> str:
        return f"{self.parameter} {self.comparison} {format_value(self.value)}"


@dataclass(frozen=True)
class Parameter:
    """One varied parameter: its name, its domain and, where it is conditional, its requirement."""

    name: str
    domain: Range | Choices
    requires: Requirement | None = None

    def active(self, values: Values) -> bool:
        """Whether the parameter has an effect under `values`."""
        return self.requires is None or self.requires.holds(values)


@dataclass(frozen=True)
class SearchSpace:
    """The varied parameters, in an order in which every requirement comes before what needs it.

    Raises:
        SearchSpaceError: an unknown parameter, one given twice, or a requirement that comes too late.
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for parameter in self.parameters:
            if parameter.name not in PARAMETERS:
                raise SearchSpaceError(f"unknown parameter {parameter.name!r}; {right_name(parameter.name)}")
            if parameter.name in seen:
                raise SearchSpaceError(f"{parameter.name} is given twice; drop one of the two")
            if parameter.requires:
                self._check_requirement(parameter.name, parameter.requires, seen)
            seen.add(parameter.name)

    def _check_requirement(self, name: str, requirement: Requirement, seen: set[str]) -> None:
        if requirement.parameter not in PARAMETERS:
            known = right_name(requirement.parameter)
            raise SearchSpaceError(f"{name} requires {requirement}: {requirement.parameter!r} is no parameter; {known}")
        if requirement.parameter not in seen:
            raise SearchSpaceError(
                f"{name} requires {requirement}, but {requirement.parameter} is not varied "
                "before it; put its table first, or drop requires"
            )
        domain = self[requirement.parameter].domain
        # A continuous range is judged by its ends, which decide every comparison but equality.
        values = domain.spread(2) if domain.continuous else domain.values()
        exact = requirement.comparison == "==" and domain.contains(requirement.value)
        if not exact and not any(requirement.holds({requirement.parameter: value}) for value in values):
            raise SearchSpaceError(
                f"{name} requires {requirement}, but {requirement.parameter} ({domain.describe()}) is never so; "
                "widen that parameter, or drop this one"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[self.names.index(name)]

    def suggest(self, trial: Suggests) -> dict[str, Value]:
        """Ask `trial` for every active parameter."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.active(values):
                values[parameter.name] = parameter.domain.suggest(parameter.name, trial)
        return values

    def active(self, values: Values) -> dict[str, Value]:
        """Return the varied parameters of `values` that have an effect, in the space's order."""
        found: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.name in values and parameter.active(found):
                found[parameter.name] = values[parameter.name]
        return found

    def at_quantiles(self, shares: Mapping[str, float]) -> dict[str, Value]:
        """Return the active parameters at the given share (0 to 1) of each domain."""
        return self.active(
            {parameter.name: parameter.domain.quantile(shares[parameter.name]) for parameter in self.parameters}
        )

    def grid(self) -> list[dict[str, Value]]:
        """List every combination of active values once; raise `SearchSpaceError` where a range is continuous."""
        domains = []
        for parameter in self.parameters:
            try:
                domains.append(parameter.domain.values())
            except SearchSpaceError as error:
                raise SearchSpaceError(f"parameters.{parameter.name}: {error} (a grid was asked for)") from error
        combinations = (self.active(dict(zip(self.names, point, strict=True))) for point in product(*domains))
        return [dict(items) for items in dict.fromkeys(tuple(point.items()) for point in combinations)]

    def with_domain(self, name: str, domain: Range | Choices) -> "SearchSpace":
        """Return the space with another domain of one parameter."""
        return SearchSpace(tuple(replace(p, domain=domain) if p.name == name else p for p in self.parameters))

    def without(self, name: str) -> "SearchSpace":
        """Return the space without one parameter; raise `SearchSpaceError` where another one requires it."""
        return SearchSpace(tuple(parameter for parameter in self.parameters if parameter.name != name))

    def to_dict(self) -> JsonObject:
        """Return the parameters in their order as plain JSON types."""
        return {"parameters": [asdict(parameter) for parameter in self.parameters]}

    @classmethod
    def from_dict(cls, fields: JsonObject) -> "SearchSpace":
        """Build the space from what `to_dict` returned, also after a way through JSON."""
        parameters = []
        for one in fields["parameters"]:
            stored, requires = one["domain"], one["requires"]
            options = tuple(typed_value(one["name"], value) for value in stored.get("options", ()))
            domain = Choices(options) if options else Range(**stored)
            parameters.append(Parameter(one["name"], domain, None if requires is None else Requirement(**requires)))
        return cls(tuple(parameters))


def right_name(name: str, known: Iterable[str] = PARAMETERS) -> str:
    """Return the help that goes with a name that no parameter has.

    >>> right_name("rules")
    'rules is called system_prompt now'
    """
    return f"{name} is called {RENAMED[name]} now" if name in RENAMED else nearest(name, known)


def typed_value(name: str, value: object) -> Value:
    """Return a TOML value as the type that the parameter has: whole numbers stay, others become floats.

    Whether the parameter can have it is not checked here.
    """
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool) and name not in INTEGER_PARAMETERS:
        return float(value)
    return cast(Value, value)
