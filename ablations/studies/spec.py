"""StudySpec: everything one study is made from, frozen before anything runs.

Knows neither Optuna nor MLflow nor how conditions are evaluated. Flags override the study file, the
study file overrides the defaults here.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

from ablations.core.condition import (
    DECODING_PARAMETERS,
    PROMPT_PARAMETERS,
    Condition,
    DecodingParams,
    content_hash,
    plain_value,
)
from ablations.core.errors import ConditionError, SearchSpaceError, StudyMismatchError, UsageError, check_choice
from ablations.core.prompt import PromptParts, Value
from ablations.core.records import Query
from ablations.core.statistics import MIN_COVERAGE
from ablations.datasets.prepare import Prepared
from ablations.prompts.components import build_parts
from ablations.prompts.templates import TEMPLATES
from ablations.storage.workspace import STUDY_NAME
from ablations.studies.conditions.design import BARE_DESIGNS, DESIGNS, DesignPlan, fixed_part, make_design
from ablations.studies.config.file import ADAPTIVE_SAMPLERS, FIXED_MODES, SAMPLERS, StudyFile
from ablations.studies.config.space import SearchSpace, Values
from ablations.studies.engine.trial import DesignPoint

SEARCHABLE = tuple(name for name, headings in TEMPLATES.items() if not headings.inline and not headings.chat)
"""Template of prompt files that can be taken apart again."""

MOST_CHARACTERS = 100
"""Of a study's name."""

DEFAULTS: Mapping[str, Any] = {
    "mode": "ablation",
    "sampler": "qmc",
    "design": "one-factor",
    "trials": 24,
    "levels": 3,
    "seed": 0,
    "concurrency": 4,
    "model": "gemma-3-270m",
    "backend": "vllm",
    "judge": "reference",
    "min_coverage": MIN_COVERAGE,
    "queries": "instructions",
    "limit": None,
    "confirm": None,
    "held_back": None,
}


@dataclass(frozen=True)
class StudySpec:
    """What a study evaluates, on what, and how it walks through its space.

    Attributes:
        name: the study's name; under one name there is one set of ingredients.
        file: the study file.
        mode, sampler, trials, levels, seed, concurrency: see `search_spaces/README.md`.
        queries: the evaluation set after `--limit`.
        fixed_parts: a prompt file's parts, which replace rules and demonstrations; or None.
        racing: whether a search stops hopeless trials early (see `pruning`), a greedy search hopeless candidates.
        prepared: the pool that demonstrations are chosen from; None for the first of the built-in ones.
        design_name: how an ablation chooses its conditions, one of `design.DESIGNS`.
        min_coverage: below this share of scored completions, 0 to 1, a trial fails.
        confirms: the study whose best conditions this one evaluates again; it has no A/A replicate. None of most.
        more_pools: further pools, of a comparison of prompts with fine-tuning.

    Raises:
        UsageError: a number out of range, or a sampler that does not fit the mode.
    """

    name: str
    file: StudyFile
    mode: str
    sampler: str
    trials: int
    levels: int
    seed: int
    concurrency: int
    queries: tuple[Query, ...]
    fixed_parts: PromptParts | None = None
    min_coverage: float = MIN_COVERAGE
    design_name: str = "one-factor"
    prepared: Prepared | None = None
    racing: bool = True
    confirms: str | None = None
    more_pools: tuple[Prepared, ...] = ()

    def __post_init__(self) -> None:
        if not STUDY_NAME.fullmatch(self.name):
            raise UsageError(f"--name {self.name!r} has other characters than letters, digits, '_', '-' and '.'")
        if len(self.name) > MOST_CHARACTERS:
            raise UsageError(
                f"the study name {self.name!r} is longer than {MOST_CHARACTERS} characters; shorten --name"
            )
        for name in ("trials", "levels", "concurrency"):
            lowest = 2 if name == "levels" else 1
            if getattr(self, name) < lowest:
                raise UsageError(f"--{name} {getattr(self, name)} leaves nothing to do; give at least {lowest}")
        if not 0 < self.min_coverage <= 1:
            raise UsageError(f"--min-coverage {self.min_coverage:g} is no share; give a number above 0 up to 1")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is negative; give 0 or more")
        check_choice("--sampler", self.sampler, SAMPLERS)
        check_choice("--design", self.design_name, DESIGNS)
        if self.mode != "ablation" and self.design_name != DEFAULTS["design"]:
            raise UsageError(f"--design {self.design_name} is for an ablation; drop it, or --mode search")
        if self.design_name in BARE_DESIGNS and self.file.bare is None:
            raise UsageError(
                f"--design {self.design_name} needs the bare prompt; add a table [study.bare] to {self.file.path}"
            )
        if (self.design_name == "listed") != bool(self.file.conditions):
            raise UsageError(
                f"--design {self.design_name}: a list of conditions and the design 'listed' belong together; add "
                f"[[study.conditions]] to {self.file.path}, or choose another design"
            )
        if self.design_name == "factorial":
            self.space.grid()
        if self.prepared is not None and not self.prepared.chooser.styled and "style" in self.space.names:
            raise UsageError(
                f"--pool {self.prepared.chooser.pool.name} has its demonstrations in one style, and this study varies "
                "style; drop the flag, or take [parameters.style] out of the study file"
            )
        if self.mode in FIXED_MODES and self.space.names:
            raise UsageError(
                f"{self.file.path}: {FIXED_MODES[self.mode]} varies the demonstrations alone; drop [parameters.…]"
            )
        layout = self.file.baseline.get("template", "urial")
        if self.mode == "greedy-search" and layout not in SEARCHABLE:
            raise UsageError(
                f"{self.file.path}: a greedy search writes a prompt file, and template = {layout!r} have no form of "
                f"it; choose one of {', '.join(SEARCHABLE)}"
            )
        if self.mode not in FIXED_MODES and not self.space.names:
            raise UsageError(
                f"--mode {self.mode}: {self.file.path} varies no parameter; drop the flag, its own mode needs none"
            )
        if self.mode == "ablation" and self.sampler in ADAPTIVE_SAMPLERS:
            raise UsageError(
                f"--sampler {self.sampler} looks at results and so biases importances; an ablation takes qmc, grid, "
                "brute or random. For a search add --mode search"
            )
        if self.fixed_parts is not None and (varied := set(self.space.names) & set(PROMPT_PARAMETERS)):
            raise UsageError(
                f"--prompt-file replaces {', '.join(sorted(varied))}, which this study varies; drop the flag, or "
                "choose a study that varies decoding parameters alone"
            )

        # The one pair of parameters that can contradict each other, whatever the sampler makes of them.
        for stop, headings in product(*(self._values_of(name) for name in ("stop", "headings"))):
            self.to_condition({**stop, **headings})

    def _values_of(self, name: str) -> list[Values]:
        """Return every value of a listed parameter, or nothing to set where it is not varied."""
        return [{name: value} for value in self.space[name].domain.values()] if name in self.space.names else [{}]

    @property
    def space(self) -> SearchSpace:
        """The varied parameters."""
        return self.file.space

    @property
    def pools(self) -> tuple[Prepared, ...]:
        """Every pool that demonstrations are chosen from."""
        return self.more_pools if self.prepared is None else (self.prepared, *self.more_pools)

    def possible(self, values: Values) -> bool:
        """Whether a greedy prompt has as many demonstrations as `values` ask of it."""
        full = {**self.file.baseline, **values}
        if self.prepared is None or full.get("source") != "greedy":
            return True
        return int(full.get("shots", 0)) <= self.prepared.chooser.most("greedy")  # type: ignore[arg-type]

    def to_condition(self, values: Values) -> Condition:
        """Return the condition in which the varied parameters have `values` and the rest is the baseline's."""
        full: dict[str, Value] = {**self.file.baseline, **values}
        decoding = DecodingParams(**{name: full[name] for name in DECODING_PARAMETERS if name in full})  # type: ignore[arg-type]
        components: dict[str, Any] = {name: full[name] for name in PROMPT_PARAMETERS if name in full}
        try:
            # A greedy search begins with the built-in demonstrations and adds those of the pool.
            chooser = self.prepared.chooser if self.prepared and self.mode != "greedy-search" else None
            return Condition(decoding, self.fixed_parts or build_parts(**components, chooser=chooser))
        except ConditionError as error:
            raise SearchSpaceError(f"{self.file.path}: the space holds a condition that cannot be: {error}") from error

    @cached_property
    def baseline(self) -> Condition:
        """The condition that effects are measured against."""
        return self.to_condition({})

    @property
    def design_kind(self) -> str:
        """A grid is a factorial design by another name; a search has nothing fixed but its baseline."""
        if self.mode != "ablation":
            return "sampled"
        return "factorial" if self.sampler in ("grid", "brute") else self.design_name

    @cached_property
    def plan(self) -> DesignPlan:
        """What the design is made from."""
        return DesignPlan(
            space=self.space,
            baseline=self.file.baseline,
            to_condition=self.to_condition,
            possible=self.possible,
            sampler=self.sampler,
            design=self.design_kind,
            bare=self.file.bare,
            listed=self.file.conditions,
            trials=self.trials,
            levels=self.levels,
            seed=self.seed,
            replicated=self.confirms is None,
        )

    @cached_property
    def design(self) -> list[DesignPoint]:
        """The planned trials: all of them, or where the sampler adapts to results those before its own."""
        return make_design(self.plan)

    @cached_property
    def boundary_conditions(self) -> list[Condition]:
        """Conditions that show what all trials need of a backend.

        These are the design's and, where the sampler adapts to results, the baseline with each varied parameter
        at both ends of its domain.
        """
        conditions = [self.to_condition(point.values) for point in self.design]
        if self.sampler in ADAPTIVE_SAMPLERS:
            for parameter in self.space.parameters:
                conditions += [self.to_condition({parameter.name: value}) for value in parameter.domain.spread(2)]
            longest = {name for name in ("max_tokens", "shots") if name in self.space.names}
            conditions.append(self.to_condition({name: max(self.space[name].domain.values()) for name in longest}))
        return conditions

    @property
    def left_out(self) -> int:
        """How many trials of the design's fixed part, or of all combinations, `trials` leaves out."""
        if self.design_kind in ("factorial", "listed"):
            return len(make_design(replace(self.plan, trials=sys.maxsize))) - len(self.design)
        return max(len(fixed_part(self.plan)) - self.trials, 0)

    @property
    def prunes(self) -> bool:
        """Whether trials that cannot become the best stop early; in an ablation that would break the pairing."""
        return self.mode == "search" and self.racing

    @property
    def total_trials(self) -> int:
        """How many trials the study has when it is done."""
        return self.trials if self.sampler in ADAPTIVE_SAMPLERS else len(self.design)

    @property
    def turns(self) -> int:
        """Turns to answer per trial."""
        return sum(len(query.turns) for query in self.queries)

    def identity(self, backend: Mapping[str, Any], judge: Mapping[str, Any]) -> dict[str, Any]:
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
            "baseline": {name: plain_value(value) for name, value in self.baseline.values().items()},
            "prompt": content_hash(self.baseline.prompt.content()),
            "mode": self.mode,
            "sampler": self.sampler,
            "design": self.design_name,
            "bare": {name: plain_value(value) for name, value in (self.file.bare or {}).items()},
            "conditions": [
                {name: plain_value(value) for name, value in listed.items()} for listed in self.file.conditions
            ],
            "search": {**self.file.search, "racing": self.racing},
            "pool": None if self.prepared is None else self.prepared.identity,
            "levels": self.levels,
            "seed": self.seed,
            "min_coverage": self.min_coverage,
            **({} if self.confirms is None else {"confirms": self.confirms}),
            **({"more pools": [one.identity for one in self.more_pools]} if self.more_pools else {}),
        }


def check_same_study(name: str, stored: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise `StudyMismatchError` that shows every difference between two identities."""
    found = differences(stored, current)
    if found:
        raise StudyMismatchError(
            f"the study {name!r} exists and was made from other ingredients:\n  "
            + "\n  ".join(found)
            + "\nuse --name for a second study, or --fresh to start this one anew (stored completions are reused)"
        )


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return every difference between two identities, in words."""
    return list(_differences("", stored, current))


def _differences(prefix: str, stored: Mapping[str, Any], current: Mapping[str, Any]) -> Iterable[str]:
    for key in sorted({*stored, *current}):
        before, now = stored.get(key), current.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(f"{prefix}{key}.", before, now)
        elif before != now:
            yield f"{prefix}{key}: was {before!r}, now {now!r}"
