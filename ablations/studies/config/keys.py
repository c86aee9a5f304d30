"""Keys of a study file's tables: type, range, default, help and flag of each, said once; values are checked by them.

Knows neither TOML nor the command line nor any table. The checks are the project's own, because a message must name
file or flag, key, value, remedy and nearest name, which a library's wording does not.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from ablations.core.errors import UsageError, nearest
from ablations.studies.config.space import typed_value

MODEL, DATA = "what generates", "on what, judged by what"
SHOTS, JUDGE = "which demonstrations", "what judges"
WALK, AFTER = "how to walk through the space", "what is evaluated again when the study has ended"
"""Headings of `--help`."""

_TYPES: Mapping[object, str] = {
    str: "a text",
    Path: "a path",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table of parameters",
}


class Misfit(ValueError):
    """A value that a key cannot have: what is wrong with it and what to do."""


@dataclass(frozen=True)
class Key:
    """Description of a `Table`'s field beside its type and its default.

    Attributes:
        help: what the key means, in a line.
        flag: the option of `run` that overrides it; one that begins with `--no-` sets false. Empty for none.
        metavar: how `--help` calls the flag's value.
        group: the heading of `--help` under which the flag stands.
        more: what the reference says after the line.
        least, above, most: the range of a number; `above` is excluded.
        choices: every text that is possible; empty for any.
        default: the default in words, where the field's own is computed or empty.
        repeated: whether the flag is given once for each item of a list, rather than once with commas.
        flag_help: what `--help` says of the flag where it does the reverse of what the key means.
        also: a flag of another table's key, which in this kind of study gives the one item of the list.
    """

    help: str
    flag: str = ""
    metavar: str = ""
    group: str = WALK
    more: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    default: str = ""
    repeated: bool = False
    flag_help: str = ""
    also: str = ""

    @property
    def range(self) -> str:
        """The range in words."""
        if self.least is not None and self.most is None:
            return f"{self.least:g} or more"
        low = f"above {self.above:g}" if self.least is None else f"from {self.least:g}"
        return f"a number {low}" + ("" if self.most is None else f" up to {self.most:g}")


@dataclass(frozen=True)
class Field:
    """A key in its table.

    Attributes:
        name: in the table.
        type: of the value, or of each item of a list; `dict` for a table of parameter values.
        many: whether the value is a list.
        key: what the field says.
        default: its default; `MISSING` where it must be given.
    """

    name: str
    type: type
    many: bool
    key: Key
    default: object

    def fit(self, value: object) -> object:
        """Return a value as the field holds it: numbers as floats where a float is asked for, lists as tuples.

        Raises:
            Misfit: the type is another, or the value is out of range.
        """
        if not self.many:
            return self._one(value)
        if not isinstance(value, list | tuple):
            raise Misfit("is of the wrong type; give a list")
        return tuple(map(self._one, value))

    def _one(self, value: object) -> object:
        if self.type is dict and isinstance(value, Mapping):
            return {name: typed_value(name, item) for name, item in value.items()}
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.type is Path and isinstance(value, str):
            value = Path(value)
        if not isinstance(value, self.type) or (isinstance(value, bool) and self.type is not bool):
            raise Misfit(f"is of the wrong type; give {'a list, each item ' if self.many else ''}{_TYPES[self.type]}")
        if isinstance(value, int | float) and not isinstance(value, bool) and not self._within(value):
            raise Misfit(f"is out of range; give {self.key.range}")
        if self.key.choices and value not in self.key.choices:
            which = f"holds {shown(value)}, which is" if self.many else "is"
            raise Misfit(f"{which} not known; {nearest(str(value), self.key.choices)}")
        if self.many and value == "":
            raise Misfit("has an empty name; drop it")
        return value

    def _within(self, value: float) -> bool:
        key = self.key
        low = value >= key.least if key.least is not None else key.above is None or value > key.above
        return math.isfinite(value) and low and (key.most is None or value <= key.most)


@dataclass(frozen=True)
class Table:
    """A table of a study file: a frozen dataclass whose fields are `Annotated` with a `Key`, checked on construction.

    Raises:
        UsageError: a value does not fit its key.
    """

    table: ClassVar[str]

    def __post_init__(self) -> None:
        for name, field in table_fields(type(self)).items():
            value = getattr(self, name)
            if value is None and field.default is None:
                continue
            try:
                object.__setattr__(self, name, field.fit(value))
            except Misfit as error:
                raise UsageError(f"{self.table}.{name} = {shown(value)} {error}") from error


T = TypeVar("T", bound=Table)


def table_fields(table: type[Table]) -> Mapping[str, Field]:
    """Return the keys of a table by name, in their order."""
    hints = get_type_hints(table, include_extras=True)
    found = {}
    for field in fields(table):
        if get_origin(hints[field.name]) is not Annotated:
            continue
        annotation, key = get_args(hints[field.name])
        if get_origin(annotation) in (Union, UnionType):
            (annotation,) = (one for one in get_args(annotation) if one is not NoneType)
        many = get_origin(annotation) is tuple
        plain = get_args(annotation)[0] if many else annotation
        default = field.default if field.default_factory is MISSING else field.default_factory()
        found[field.name] = Field(field.name, dict if get_origin(plain) is Mapping else plain, many, key, default)
    return found


def read_flags(table: type[T], given: Mapping[str, object]) -> T:
    """Return a table with what flags say, by key; raise `UsageError` with the flag for a value that does not fit."""
    for name, field in table_fields(table).items():
        if name in given:
            try:
                field.fit(given[name])
            except Misfit as error:
                raise UsageError(f"{field.key.flag} {shown(given[name])} {error}") from error
    return table(**given)


def shown(value: object) -> str:
    """Return a value as messages show it.

    >>> shown(0.5), shown("many"), shown((3, 3))
    ('0.5', "'many'", '[3, 3]')
    """
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Path):
        return str(value)
    return repr(list(value) if isinstance(value, tuple) else value)
