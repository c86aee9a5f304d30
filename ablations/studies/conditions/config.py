"""Tables of a study of conditions: a design that is fixed beforehand, or a search by an optimiser.

Knows designs by name, not what they evaluate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from ablations.core.errors import UsageError
from ablations.studies.config.config import KindConfig, Scalar, StudyConfig
from ablations.studies.config.file import check_varied
from ablations.studies.config.keys import AFTER, Key
from ablations.studies.config.space import Values

DESIGN_SAMPLERS = ("qmc", "grid", "brute", "random")
ADAPTIVE_SAMPLERS = ("tpe", "gp")
SAMPLERS = DESIGN_SAMPLERS + ADAPTIVE_SAMPLERS
ABLATION, SEARCH = "ablation", "search"
"""The modes of a study of conditions."""
DESIGNS = ("one-factor", "leave-one-out", "add-one-in", "factorial", "sampled", "listed")
"""One factor at a time around the baseline, then points that fill the space; each component of the baseline taken away;
each added to the bare prompt; every combination; points that fill the space alone; the study file's own list."""
BARE_DESIGNS = ("leave-one-out", "add-one-in")
"""Designs between the baseline and the bare prompt."""


@dataclass(frozen=True)
class ConditionsConfig(KindConfig):
    """The keys of an ablation in `[study]`."""

    table: ClassVar[str] = "study"
    noun: ClassVar[str] = "an ablation"
    about: ClassVar[str] = "a design fixed beforehand, from which effects and importances come"
    varies: ClassVar[bool] = True
    instead: ClassVar[Mapping[str, str]] = {"--no-racing": "an ablation evaluates every condition to the end"}

    sampler: Annotated[
        str,
        Key(
            "`qmc`, `grid`, `brute`, `random`; in a search also `tpe`, `gp`",
            "--sampler",
            "NAME",
            more="`qmc`: scrambled Sobol points. `brute`: the grid in seeded random order. `tpe` and `gp` adapt to "
            "results",
            choices=SAMPLERS,
        ),
    ] = SAMPLERS[0]
    design: Annotated[
        str,
        Key(
            "of an ablation: how its conditions are chosen",
            "--design",
            "NAME",
            more="`one-factor` (one parameter at a time), `leave-one-out` (each component taken from the baseline), "
            "`add-one-in` (each added to the bare prompt), `factorial` (every combination), `sampled` (the baseline "
            "and points that fill the space), `listed` (the conditions of `[[study.conditions]]`)",
            choices=DESIGNS,
        ),
    ] = DESIGNS[0]
    trials: Annotated[
        int,
        Key(
            "trials in all, the baseline included",
            "--trials",
            "N",
            more="Raise it later to extend a study; the first trials stay the same",
            least=1,
        ),
    ] = 24
    levels: Annotated[
        int, Key("values per parameter when one factor is varied at a time", "--levels", "N", least=2)
    ] = 3
    bare: Annotated[Values | None, Key("a table, below: what a component is when it is taken away", default="none")] = (
        None
    )
    conditions: Annotated[tuple[Values, ...], Key("tables, below: the conditions of the design `listed`")] = ()
    confirm: Annotated[
        int | None,
        Key(
            "the best K conditions, evaluated again on fresh seeds and held-back queries",
            "--confirm",
            "K",
            AFTER,
            more="0 leaves it out",
            least=0,
            default="0; in a search 1 to 3, at about a quarter of its cost",
        ),
    ] = None
    held_back: Annotated[
        int | None,
        Key(
            "queries for that, which the study does not see",
            "--held-back",
            "N",
            AFTER,
            least=0,
            default="as many as it sees",
        ),
    ] = None

    @property
    def confirmed(self) -> int:
        """How many conditions are confirmed."""
        return self.confirm or 0

    @property
    def chooses(self) -> bool:
        """Whether the best conditions are confirmed."""
        return self.confirmed > 0

    def effective(self) -> dict[str, Scalar]:
        """Return what is shown of a study."""
        names = ("sampler", "design", "trials", "levels", "held_back")
        return {name: getattr(self, name) for name in names} | {"confirm": self.confirmed}

    def check(self, config: StudyConfig[KindConfig]) -> None:
        """Raise `UserError` for a design that the rest of the study does not allow."""
        where, space = str(config.path), config.space
        check_varied("study.bare.", self.bare or {}, space)
        for number, values in enumerate(self.conditions, 1):
            check_varied(f"study.conditions item {number}: ", values, space)
        self._check_walk(config)
        if self.design in BARE_DESIGNS and self.bare is None:
            raise config.refusal("study.design", f"needs the bare prompt; add a table [study.bare] to {where}")
        if (self.design == "listed") != bool(self.conditions):
            raise config.refusal(
                "study.design",
                "is at odds with the study file: a list of conditions and the design 'listed' belong together; add "
                f"[[study.conditions]] to {where}, or choose another design",
            )
        if self.design == "factorial" or self.sampler in ("grid", "brute"):
            space.grid()
        if "study.held_back" in config.flags and not self.confirmed:
            raise UsageError("--held-back belongs to a confirmation; add --confirm K, or drop it")

    def _check_walk(self, config: StudyConfig[KindConfig]) -> None:
        if self.sampler in ADAPTIVE_SAMPLERS:
            raise config.refusal(
                "study.sampler",
                "adapts to results and so biases importances; an ablation takes "
                f"{', '.join(DESIGN_SAMPLERS)}. For a search add --mode search",
            )


@dataclass(frozen=True)
class SearchConfig(ConditionsConfig):
    """The keys of a search in `[study]`."""

    noun: ClassVar[str] = "a search"
    about: ClassVar[str] = "seeks the best condition, stops hopeless trials early and gives no importances"
    instead: ClassVar[Mapping[str, str]] = {}

    racing: Annotated[
        bool,
        Key(
            "of a search: stop hopeless trials early",
            "--no-racing",
            more="`--no-racing` evaluates them to the end",
            flag_help="of a search, greedy or not: evaluate all trials and candidates to the end",
        ),
    ] = True

    @property
    def chooses(self) -> bool:
        """Whether a best condition is sought: always."""
        return True

    @property
    def confirmed(self) -> int:
        """How many conditions are confirmed: by default up to three, whose scores are subject to selection bias.

        They are as many as a quarter of the search pays: each, and the baseline, is evaluated on twice the queries.
        """
        return min(3, max(1, self.trials // 8 - 1)) if self.confirm is None else self.confirm

    def _check_walk(self, config: StudyConfig[KindConfig]) -> None:
        if self.design != DESIGNS[0]:
            raise config.refusal("study.design", 'is for an ablation; drop it, or write mode = "ablation"')


MODES: Mapping[str, type[KindConfig]] = {ABLATION: ConditionsConfig, SEARCH: SearchConfig}
"""Names of this kind in a study file, each with its own table there."""
