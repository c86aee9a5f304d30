"""The configuration of a study: its file's tables and what flags put over them, as one typed value.

Knows the tables that every study has; a kind's own table is a `KindConfig`, which stands in the kind's package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from ablations.core.errors import AblationError, SearchSpaceError, UsageError, UserError, nearest
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import Value
from ablations.core.records import Query
from ablations.judges.base import SHARE
from ablations.storage.workspace import STUDY_NAME
from ablations.studies.config.file import Document, TomlTable, check_keys, read_baseline, read_document, read_space
from ablations.studies.config.keys import Field, Misfit, Table, shown, table_fields
from ablations.studies.config.space import SearchSpace
from ablations.studies.config.tables import DEFAULT_MODEL, LOCAL, SERVER, SHARED, JudgeTable, PoolTable, StudyTable

if TYPE_CHECKING:
    from ablations.datasets.prepare import PoolSettings

MOST_CHARACTERS = 100
"""Of a study's name."""
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class KindConfig(Table):
    """The table of one kind of study; its keys may also stand in `[study]`.

    Attributes:
        noun: what its studies are called in messages.
        about: what they do, after the mode's name.
        varies: whether they vary the parameters of `[parameters.*]`, and so need some; else none may be given.
        instead: why a flag of other kinds has no place here, by flag.
        first_turns: whether they ask the first turn of a query alone.
        adds_shots: whether they add demonstrations of the pool to the baseline's prompt, which has built-in ones.
    """

    noun: ClassVar[str]
    about: ClassVar[str]
    varies: ClassVar[bool] = False
    instead: ClassVar[Mapping[str, str]] = {}
    first_turns: ClassVar[bool] = False
    adds_shots: ClassVar[bool] = False

    def check(self, config: "StudyConfig[KindConfig]") -> None:
        """Raise `UserError` for what contradicts another table."""

    def effective(self) -> dict[str, Scalar]:
        """Return what is shown of a study, by the names of its keys; numbers that may grow are left out."""
        return {
            name: value
            for name in table_fields(type(self))
            if isinstance(value := getattr(self, name), str | int | float | None)
        }

    @property
    def chooses(self) -> bool:
        """Whether what the study does next depends on which condition scores best."""
        return False

    def identity(self) -> JsonObject:
        """Return what may not change under a study's name, as plain JSON types, beside what all kinds have."""
        return {}

    def pool(self, settings: "PoolSettings") -> "PoolSettings":
        """Return the pool that the study reads, from what `[pool]` says."""
        return settings

    def asked(self, queries: Sequence[Query]) -> tuple[Query, ...]:
        """Return the queries as the study asks them."""
        return tuple(query.first_turns(1) for query in queries) if self.first_turns else tuple(queries)


C = TypeVar("C", bound=KindConfig, covariant=True)
T = TypeVar("T", bound=Table)


@dataclass(frozen=True)
class Override:
    """Value that a flag puts in the place of a key.

    Attributes:
        key: the table and the key, "study.seed"; "name" and "server" stand for themselves.
        value: typed as the key's field is.
        flag: as messages call it.
    """

    key: str
    value: object
    flag: str


@dataclass(frozen=True)
class StudyConfig(Generic[C]):
    """Configuration of one study.

    Attributes:
        name: in all records.
        path, text: of the study file.
        study, pool, judge: the tables of these names.
        kind: the kind's own table.
        space: the varied parameters.
        baseline: parameter values of the baseline; those left out are neutral. Every varied one has a value.
        server: addresses of the completions servers that share the requests; empty for an engine in this process.
        engine: arguments of that engine.
        flags: the flag that gave a value, by key.

    Raises:
        UsageError: the name is none.
    """

    name: str
    path: Path
    text: str
    study: StudyTable
    kind: C
    space: SearchSpace
    baseline: Mapping[str, Value]
    pool: PoolTable = field(default_factory=PoolTable)
    judge: JudgeTable = field(default_factory=JudgeTable)
    server: tuple[str, ...] = ()
    engine: Mapping[str, object] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not STUDY_NAME.fullmatch(self.name):
            raise UsageError(f"--name {self.name!r} has other characters than letters, digits, '_', '-' and '.'")
        if len(self.name) > MOST_CHARACTERS:
            raise UsageError(
                f"the study name {self.name!r} is longer than {MOST_CHARACTERS} characters; shorten --name"
            )

    @property
    def file(self) -> str:
        """The file's name without its ending, which is that of MLflow's experiment."""
        return self.path.stem

    @property
    def mode(self) -> str:
        """The name of the kind of study."""
        return self.study.mode

    def effective(self) -> dict[str, Scalar]:
        """Return what is in force by name, for the record and for MLflow."""
        names = ("seed", "concurrency", "model", "backend", "judge", "min_coverage", "queries", "limit")
        common = {name: getattr(self.study, name) for name in names}
        beside = [name for name in self.study.also_judge if name != self.study.judge]
        common |= {"also_judge": ", ".join(beside)} if beside else {}
        return {"name": self.name, "mode": self.mode, **self.kind.effective(), **common}

    def refusal(self, key: str, why: str) -> UserError:
        """Return the error for a value that cannot be, named by the flag that gave it, else by file and key."""
        table, _, name = key.partition(".")
        value = getattr({"study": self.study, "pool": self.pool, "judge": self.judge}.get(table), name, None)
        value = getattr(self.kind, name, value) if table == self.kind.table else value
        if flag := self.flags.get(key):
            return UsageError(f"{flag} {value} {why}" if isinstance(value, str) else f"{flag} {shown(value)} {why}")
        return SearchSpaceError(f"{self.path}: {key} = {shown(value)} {why}")


Config = StudyConfig[KindConfig]
"""Configuration of a study of any kind."""


def load_config(
    path: Path, overrides: Sequence[Override], kinds: Mapping[str, type[KindConfig]]
) -> StudyConfig[KindConfig]:
    """Return the configuration of a study file with what flags put over it.

    Args:
        path: of the file.
        overrides: what flags say.
        kinds: the kinds of studies by mode; a file that names none is of the first.

    Raises:
        SearchSpaceError: the file is missing, no TOML, or says what cannot be.
        UsageError: a flag does.
    """
    document = read_document(path)
    try:
        return _Loader(document, overrides, kinds).load()
    except UsageError:
        raise
    except AblationError as error:
        raise error if str(error).startswith(f"{path}: ") else SearchSpaceError(f"{path}: {error}") from error


class _Loader:
    """Puts the flags over a file's tables."""

    def __init__(
        self, document: Document, overrides: Sequence[Override], kinds: Mapping[str, type[KindConfig]]
    ) -> None:
        self._document, self._kinds = document, kinds
        tables = {kind.table for kind in kinds.values()}
        check_keys(document.tables, {*SHARED, *tables, "parameters", "engine"}, "the file")
        self._mode = self._find_mode(overrides)
        self._kind = kinds[self._mode]
        self._given: dict[str, Override] = {}
        for override in overrides:
            self._put_over(override)

    def load(self) -> StudyConfig[KindConfig]:
        document, kind = self._document, self._kind
        study, pool, judge = self._table(StudyTable), self._table(PoolTable), self._table(JudgeTable)
        space = self._space()
        own = self._table(kind)
        self._refuse_tables_of_others()
        if "study.judge" in self._given and "study.also_judge" not in self._given:
            study = replace(study, also_judge=())  # those of the file were chosen to stand beside the file's own judge
        server = self._given.get("server")
        engine = {name.removeprefix("engine."): one for name, one in self._given.items() if name.startswith("engine.")}
        config = StudyConfig(
            name=str(self._given["name"].value) if "name" in self._given else document.path.stem,
            path=document.path,
            text=document.text,
            study=replace(study, mode=self._mode),
            kind=own,
            space=space,
            baseline=read_baseline(document, space),
            pool=pool,
            judge=judge,
            server=tuple(server.value) if server is not None and isinstance(server.value, Sequence) else (),
            engine=dict(document.table("engine")) | {name: one.value for name, one in engine.items()},
            flags={key: one.flag for key, one in self._given.items()},
        )
        own.check(config)
        if own.chooses and study.judge == "checks" and judge.checks_score == SHARE:
            raise config.refusal(
                "judge.checks_score",
                f"may not choose a best condition, as {own.noun} does here: it pays a wrong answer for having ended; "
                "give graded or strict",
            )
        return _served(config)

    def _find_mode(self, overrides: Sequence[Override]) -> str:
        (flag,) = [one for one in overrides if one.key == "study.mode"][-1:] or (None,)
        mode = self._document.table("study").get("mode", next(iter(self._kinds))) if flag is None else flag.value
        if not isinstance(mode, str) or mode not in self._kinds:
            where = "study.mode =" if flag is None else flag.flag
            error = SearchSpaceError if flag is None else UsageError
            raise error(f"{where} {shown(mode)} is not known; {nearest(str(mode), self._kinds)}")
        return mode

    def _put_over(self, override: Override) -> None:
        key = self._key_of(override)
        if override.flag and any(one.key.also == override.flag for one in table_fields(self._kind).values()):
            override = replace(override, value=(override.value,))
        if (before := self._given.get(key)) is not None:
            raise UsageError(f"{before.flag} and {override.flag} both set {key}; drop one of the flags")
        self._given[key] = override

    def _key_of(self, override: Override) -> str:
        """Return the key that a flag sets in this kind of study.

        Raises:
            UsageError: the flag belongs to other kinds.
        """
        kind, (table, _, name) = self._kind, override.key.partition(".")
        own = table_fields(kind)
        for one in own.values():
            if override.flag in (one.key.flag, one.key.also) and override.flag:
                return f"{kind.table}.{one.name}"
        if table in ("name", "server", "engine") or (table in SHARED and name in table_fields(SHARED[table])):
            return override.key
        if table == kind.table and name in own:
            return override.key
        owners = [
            mode
            for mode, other in self._kinds.items()
            if any(one.key.flag == override.flag for one in table_fields(other).values())
        ]
        why = kind.instead.get(override.flag, "")
        flags = ", ".join(one.key.flag for one in own.values() if one.key.flag)
        raise UsageError(
            f"{override.flag}: of no use to {kind.noun} (mode {self._mode}), which takes "
            + (flags or "no flags of its own")
            + (f" ({why})" if why else "")
            + (f"; drop it, or run a study of the mode {' or '.join(owners)}" if owners else "; drop it")
        )

    def _space(self) -> SearchSpace:
        space, kind = read_space(self._document), self._kind
        if kind.varies and not space.parameters:
            drop = f", or drop --mode {self._mode}" if "study.mode" in self._given else ""
            raise SearchSpaceError(f"the space has no parameter; add a table such as [parameters.temperature]{drop}")
        if not kind.varies and space.parameters:
            raise SearchSpaceError(f"{kind.noun} varies the demonstrations alone; drop [parameters.…]")
        return space

    def _table(self, table: type[T]) -> T:
        """Return a table with the flags put over it."""
        fields, values = table_fields(table), self._own_values(table)
        for name, value in values.items():
            self._check(f"{table.table}.{name}", fields[name], value)
        try:
            return table(**values)
        except UsageError as error:
            if any(key.startswith(f"{table.table}.") for key in self._given):
                raise
            raise SearchSpaceError(str(error)) from error

    def _own_values(self, table: type[Table]) -> dict[str, object]:
        own, values = table_fields(table), self._document.table(table.table)
        known = {*own, *(table_fields(self._kind) if table.table == self._kind.table else ())}
        if table.table in SHARED:
            known |= {*table_fields(SHARED[table.table])}
        known |= {"baseline"} if table.table == "study" else set()
        self._refuse_keys_of_others(table.table, values, known)
        check_keys(values, known, f"[{table.table}]")
        over = {
            name: self._given[f"{table.table}.{name}"].value for name in own if f"{table.table}.{name}" in self._given
        }
        return {name: value for name, value in values.items() if name in own} | over

    def _refuse_keys_of_others(self, table: str, values: TomlTable, known: set[str]) -> None:
        for mode, other in self._kinds.items():
            foreign = [name for name in values if other.table == table and name in table_fields(other)]
            for name in foreign:
                if name not in known:
                    raise SearchSpaceError(f'{table}.{name} belongs to {other.noun}; write mode = "{mode}", or drop it')

    def _refuse_tables_of_others(self) -> None:
        for mode, other in self._kinds.items():
            if other.table in self._document.tables and other.table not in {*SHARED, self._kind.table}:
                raise SearchSpaceError(
                    f'[{other.table}] belongs to {other.noun}; write mode = "{mode}" in [study], or drop the table'
                )

    def _check(self, key: str, field: Field, value: object) -> None:
        given = self._given.get(key)
        try:
            field.fit(value)
        except Misfit as error:
            if given is not None:
                raise UsageError(f"{given.flag} {shown(value)} {error}") from error
            raise SearchSpaceError(f"{key} = {shown(value)} {error}") from error


def _served(config: StudyConfig[KindConfig]) -> StudyConfig[KindConfig]:
    """Return the configuration with the backend that its servers imply, and the model that is asked for where none is.

    Raises:
        UsageError: servers and an engine of this process are asked for at once, or neither.
    """
    study, flags = config.study, config.flags
    if config.server:
        if study.backend == LOCAL and "study.backend" in flags:
            raise UsageError("--base-url names a server, --backend vllm runs in this process; drop one of them")
        study = replace(study, backend=SERVER)
    if study.backend == SERVER and not config.server:
        raise config.refusal("study.backend", "needs the server's address; give --base-url URL")
    if study.backend == SERVER and any(key.startswith("engine.") for key in flags):
        raise UsageError("--engine sets arguments of the engine in this process; a server has its own")
    if study.backend == LOCAL and study.model is None:
        study = replace(study, model=DEFAULT_MODEL)  # a packaged model, which no server has
    return replace(config, study=study)
