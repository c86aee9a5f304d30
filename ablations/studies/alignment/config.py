"""The keys of a comparison of models: which ones, and in which ways each of them is asked.

Knows models by name alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from ablations.core.condition import plain_values
from ablations.core.errors import UsageError
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import Value
from ablations.studies.config.config import KindConfig, Scalar, StudyConfig
from ablations.studies.config.file import check_varied
from ablations.studies.config.keys import MODEL, Key


@dataclass(frozen=True)
class AlignmentConfig(KindConfig):
    """The keys of a comparison of models in `[study]`.

    Raises:
        UsageError: no model, or one twice.
    """

    table: ClassVar[str] = "study"
    noun: ClassVar[str] = "a comparison of models"
    about: ClassVar[str] = "asks several models in each way of `[[study.conditions]]`, and compares them"
    varies: ClassVar[bool] = True
    instead: ClassVar[Mapping[str, str]] = {"--confirm": "models that are compared have no best condition in common"}

    models: Annotated[
        tuple[str, ...],
        Key("the models that are compared, by name, folder or hub id", "--models", "A,B,…", MODEL),
    ] = ()
    conditions: Annotated[
        tuple[Mapping[str, Value], ...], Key("tables, below: the ways in which each model is asked")
    ] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.models)) < len(self.models):
            raise UsageError(f"study.models (--models) = {list(self.models)} names a model twice; drop one")

    def effective(self) -> dict[str, Scalar]:
        """Return what is shown of a study."""
        return {"models": ", ".join(self.models)}

    def identity(self) -> JsonObject:
        """Return the ways in which each model is asked."""
        return {"conditions": [plain_values(one) for one in self.conditions]}

    def check(self, config: StudyConfig[KindConfig]) -> None:
        """Raise `UserError` for models that are named twice over, or ways of asking that are none."""
        if {"study.models", "study.model"} <= config.flags.keys():
            raise UsageError("--models names several models and --model one; drop one of the flags")
        if self.models and config.study.model is not None and "study.model" not in config.flags:
            raise config.refusal("study.model", "names one model and study.models several; drop one of the keys")
        if not self.models and "study.model" not in config.flags and not config.server:
            raise config.refusal("study.models", "names no model; give a list, or --models A,B,…")
        if not self.conditions:
            raise config.refusal("study.conditions", "names no way of asking; add [[study.conditions]]")
        for number, values in enumerate(self.conditions, 1):
            check_varied(f"study.conditions item {number}: ", values, config.space)


MODES: Mapping[str, type[KindConfig]] = {"alignment": AlignmentConfig}
"""Names of this kind in a study file, each with its own table there."""
