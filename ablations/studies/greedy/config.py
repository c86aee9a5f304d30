"""The table of a greedy search, which adds demonstrations to the baseline's prompt one by one.

Knows neither pools nor scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from ablations.core.jsonl import JsonObject
from ablations.prompts.templates import TEMPLATES
from ablations.studies.config.config import KindConfig, StudyConfig
from ablations.studies.config.keys import Key

SEARCHABLE = tuple(name for name, template in TEMPLATES.items() if not template.inline and not template.chat)
"""Templates of prompt files that can be taken apart again."""


@dataclass(frozen=True)
class GreedyConfig(KindConfig):
    """`[search]`."""

    table: ClassVar[str] = "search"
    noun: ClassVar[str] = "a greedy search"
    about: ClassVar[str] = "adds demonstrations to the baseline's prompt; takes `[search]` and no parameters"
    first_turns: ClassVar[bool] = True
    adds_shots: ClassVar[bool] = True
    instead: ClassVar[Mapping[str, str]] = {
        "--confirm": "a greedy search confirms its prompt on its own held-back half"
    }

    rounds: Annotated[int, Key("demonstrations added at most", "--rounds", "N", least=1)] = 3
    candidates: Annotated[
        int | None,
        Key(
            "a seeded sample of the pool that races in each round",
            "--candidates",
            "N",
            least=1,
            default="all of it",
        ),
    ] = None
    stop: Annotated[
        str,
        Key(
            "when the search ends",
            more="`rounds`: adds the best of each round. `no-gain`: ends when the gain's 95 % interval includes 0",
            choices=("rounds", "no-gain"),
        ),
    ] = "rounds"
    racing: Annotated[
        bool,
        Key("stop hopeless candidates early", "--no-racing", more="`--no-racing` evaluates them to the end"),
    ] = True

    @property
    def chooses(self) -> bool:
        """Whether a best condition is sought: in every round."""
        return True

    def identity(self) -> JsonObject:
        """Return how the search goes."""
        return {self.table: {name: value for name, value in self.effective().items() if value is not None}}

    def check(self, config: StudyConfig[KindConfig]) -> None:
        """Raise `UserError` for a template that no prompt file can be written in."""
        template = str(config.baseline.get("template", "urial"))
        if template not in SEARCHABLE:
            raise config.refusal(
                "study.mode",
                f"writes a prompt file, and template = {template!r} has no form of it; choose one of "
                f"{', '.join(SEARCHABLE)}",
            )


MODES: Mapping[str, type[KindConfig]] = {"greedy-search": GreedyConfig}
"""Names of this kind in a study file, each with its own table there."""
