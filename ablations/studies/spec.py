"""StudySpec: everything one study is made from, frozen before anything runs.

Knows neither Optuna nor MLflow nor how conditions are evaluated, and no kind of study; one that needs more derives its
own from it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from ablations.core.condition import (
    DECODING_PARAMETERS,
    PROMPT_PARAMETERS,
    Condition,
    DecodingParams,
    content_hash,
    plain_values,
)
from ablations.core.errors import ConditionError, SearchSpaceError, StudyMismatchError, UsageError
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import PromptParts, Value
from ablations.core.records import Query
from ablations.datasets.prepare import Prepared
from ablations.prompts.components import build_parts
from ablations.studies.config.config import KindConfig, StudyConfig
from ablations.studies.config.space import SearchSpace, Values


@dataclass(frozen=True)
class StudySpec:
    """Specification of a study: its conditions and its queries.

    Attributes:
        config: the study's configuration.
        queries: the evaluation set after `--limit`.
        fixed_parts: a prompt file's parts, which replace system prompt and demonstrations; or None.
        prepared: the pool that demonstrations are chosen from; None for the first of the built-in ones.
        confirms: the study whose best conditions this one evaluates again; it has no A/A replicate. None of most.
        more_pools: further pools, of a comparison of prompts with fine-tuning.

    Raises:
        UsageError: a pool or a prompt file that does not fit what is varied.
        SearchSpaceError: the space holds a condition that cannot be.
    """

    config: StudyConfig[KindConfig]
    queries: tuple[Query, ...]
    fixed_parts: PromptParts | None = None
    prepared: Prepared | None = None
    confirms: str | None = None
    more_pools: tuple[Prepared, ...] = ()

    def __post_init__(self) -> None:
        if self.prepared is not None and not self.prepared.chooser.styled and "style" in self.space.names:
            raise UsageError(
                f"--pool {self.prepared.chooser.pool.name} has its demonstrations in one style, and this study varies "
                "style; drop the flag, or take [parameters.style] out of the study file"
            )
        if self.fixed_parts is not None and (varied := set(self.space.names) & set(PROMPT_PARAMETERS)):
            raise UsageError(
                f"--prompt-file replaces {', '.join(sorted(varied))}, which this study varies; drop the flag, or "
                "choose a study that varies decoding parameters alone"
            )

        # The one pair of parameters that can contradict each other, whatever the sampler makes of them.
        for stop, template in product(*(self._values_of(name) for name in ("stop", "template"))):
            self.to_condition({**stop, **template})

    def _values_of(self, name: str) -> list[Values]:
        """Return every value of a listed parameter, or nothing to set where it is not varied."""
        return [{name: value} for value in self.space[name].domain.values()] if name in self.space.names else [{}]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.config.name

    @property
    def mode(self) -> str:
        """The name of the kind of study."""
        return self.config.mode

    @property
    def seed(self) -> int:
        """The seed of the design, of the queries' subset and of all requests."""
        return self.config.study.seed

    @property
    def concurrency(self) -> int:
        """Trials in flight on the one engine."""
        return self.config.study.concurrency

    @property
    def min_coverage(self) -> float:
        """The share of scored completions below which a trial fails, 0 to 1."""
        return self.config.study.min_coverage

    @property
    def space(self) -> SearchSpace:
        """The varied parameters."""
        return self.config.space

    @property
    def pools(self) -> tuple[Prepared, ...]:
        """Every pool that demonstrations are chosen from."""
        return self.more_pools if self.prepared is None else (self.prepared, *self.more_pools)

    def possible(self, values: Values) -> bool:
        """Whether a greedy prompt has as many demonstrations as `values` ask of it."""
        full = {**self.config.baseline, **values}
        if self.prepared is None or full.get("source") != "greedy":
            return True
        return int(full.get("shots", 0)) <= self.prepared.chooser.most("greedy")  # type: ignore[arg-type]

    def to_condition(self, values: Values) -> Condition:
        """Return the condition in which the varied parameters have `values` and the rest is the baseline's."""
        full: dict[str, Value] = {**self.config.baseline, **values}
        decoding = DecodingParams(**{name: full[name] for name in DECODING_PARAMETERS if name in full})  # type: ignore[arg-type]
        components = {name: full[name] for name in PROMPT_PARAMETERS if name in full}
        try:
            # A greedy search begins with the built-in demonstrations and adds those of the pool.
            chooser = self.prepared.chooser if self.prepared and not self.config.kind.adds_shots else None
            return Condition(decoding, self.fixed_parts or build_parts(**components, chooser=chooser))  # type: ignore[arg-type]
        except ConditionError as error:
            raise SearchSpaceError(
                f"{self.config.path}: the space holds a condition that cannot be: {error}"
            ) from error

    @cached_property
    def baseline(self) -> Condition:
        """The condition that effects are measured against."""
        return self.to_condition({})

    @property
    def turns(self) -> int:
        """Turns to answer per trial."""
        return sum(len(query.turns) for query in self.queries)

    def identity(self, backend: JsonObject, judge: Mapping[str, object]) -> JsonObject:
        """Return what may not change under one study name, as plain JSON types.

        The number of trials and the concurrency are left out: both can be raised later.
        """
        return {
            "model": backend["model"],
            "backend": backend["backend"],
            "engine": dict(backend["settings"]),
            "judge": dict(judge),
            "queries": content_hash([query.to_dict() for query in self.queries]),
            "number of queries": len(self.queries),
            "parameters": {
                parameter.name: parameter.domain.describe()
                + (f"; requires {parameter.requires}" if parameter.requires else "")
                for parameter in self.space.parameters
            },
            "order of parameters": list(self.space.names),
            "baseline": plain_values(self.baseline.values()),
            "prompt": content_hash(self.baseline.prompt.content()),
            "mode": self.mode,
            "pool": None if self.prepared is None else self.prepared.identity,
            "seed": self.seed,
            "min_coverage": self.min_coverage,
            **self.config.kind.identity(),
            **({} if self.confirms is None else {"confirms": self.confirms}),
            **({"more pools": [one.identity for one in self.more_pools]} if self.more_pools else {}),
        }


def check_same_study(name: str, stored: Mapping[str, object], current: Mapping[str, object]) -> None:
    """Raise `StudyMismatchError` that shows every difference between two identities."""
    found = differences(stored, current)
    if found:
        raise StudyMismatchError(
            f"the study {name!r} exists and was made from something else:\n  "
            + "\n  ".join(found)
            + "\nuse --name for a second study, or --fresh to start this one again (stored completions are reused)"
        )


def differences(stored: Mapping[str, object], current: Mapping[str, object]) -> list[str]:
    """Return every difference between two identities, in words."""
    return list(_differences("", stored, current))


def _differences(prefix: str, stored: Mapping[str, object], current: Mapping[str, object]) -> Iterable[str]:
    for key in sorted({*stored, *current}):
        before, now = stored.get(key), current.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(f"{prefix}{key}.", before, now)
        elif before != now:
            yield f"{prefix}{key}: was {before!r}, now {now!r}"
