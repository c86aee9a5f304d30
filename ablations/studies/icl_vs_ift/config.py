"""The table of a comparison of prompts with fine-tuning: sizes, draws, pools, and how weights are tuned.

Knows recipes and what decoding parameters may be; neither models nor examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from ablations.core.condition import DECODING_PARAMETERS, DecodingParams
from ablations.core.errors import ConditionError, SearchSpaceError, UsageError
from ablations.core.prompt import Value
from ablations.models.training.recipe import METHODS, Recipe, recipe_for
from ablations.studies.config.config import KindConfig, Scalar, StudyConfig
from ablations.studies.config.keys import Key, table_fields
from ablations.studies.config.space import right_name
from ablations.studies.config.tables import PoolTable

if TYPE_CHECKING:
    from ablations.datasets.prepare import PoolSettings

TUNED_WAYS = ("icl", "ift")
"""The ways that have tables of their own, by the names of `analysis.demonstrations.ways`, which imports polars."""
HELD_OUT = 16
"""Examples by which the learning rate is looked for."""
TUNING = "learning in context against fine-tuning (the study icl-vs-ift)"
_RECIPE = ("epochs", "learning_rate", "batch", "rank", "alpha", "target_modules")
_OF_ADAPTERS = ("rank", "alpha", "target_modules")
_TOGETHER = frozenset({"encoder", "allow_overlap"})
"""Keys of `[pool]` that are for all pools of `[tuning]`."""


@dataclass(frozen=True)
class TuningConfig(KindConfig):
    """`[tuning]`.

    Raises:
        UsageError, ConditionError: a number or name that cannot be.
    """

    table: ClassVar[str] = "tuning"
    noun: ClassVar[str] = "a comparison with fine-tuning"
    about: ClassVar[str] = "compares demonstrations with fine-tuning on them; takes `[tuning]` and no parameters"
    instead: ClassVar[Mapping[str, str]] = {"--confirm": "it picks no best one"}

    method: Annotated[
        str,
        Key(
            "`lora` (adapters beside frozen weights), or `full` (all weights)",
            "--tuning",
            "HOW",
            TUNING,
            choices=METHODS,
        ),
    ] = "lora"
    sizes: Annotated[
        tuple[int, ...],
        Key(
            "numbers of examples, for prompts and for training",
            "--sizes",
            "N,N,…",
            TUNING,
            more="Larger ones can be added to a finished study",
            least=1,
        ),
    ] = (3, 8, 24)
    draws: Annotated[
        int,
        Key(
            "seeded draws of each size",
            "--draws",
            "N",
            TUNING,
            more="A larger size of a draw begins with the smaller one's examples",
            least=1,
        ),
    ] = 1
    pools: Annotated[
        tuple[str, ...],
        Key(
            "pools of examples, each a factor of its own, as `pool.name`",
            "--pools",
            "A,B,…",
            TUNING,
            more="Whole conversations are used",
            also="--pool",
        ),
    ] = ("examples",)
    aligned: Annotated[
        str | None,
        Key("the aligned model to compare with, by its chat template, or `none`", "--aligned", "MODEL", TUNING),
    ] = None
    decoding_from: Annotated[
        tuple[str, ...],
        Key(
            "decode as the best condition of another study: its name, or runs:/ID; for both ways, or for one",
            "--decoding-from",
            "[icl=|ift=]STUDY",
            TUNING,
            repeated=True,
        ),
    ] = ()
    max_tokens: Annotated[
        int,
        Key(
            "the longest answer that is learned, with all that stands before it, in tokens",
            more="Examples with a longer one are left out of both ways and named",
            least=1,
        ),
    ] = 1024
    epochs: Annotated[
        int | None,
        Key("how often every example is learned", least=1, default="as many as make 12 steps, 2 to 6"),
    ] = None
    learning_rate: Annotated[
        float | None,
        Key(
            "at its highest, after a tenth of the steps; a half cosine leads down to 0",
            above=0,
            most=1,
            default="3e-4 (`lora`), 2e-5 (`full`)",
        ),
    ] = None
    batch: Annotated[
        int | None,
        Key(
            "answers in a step",
            more="How many of them a GPU computes at once is planned from the memory, a CPU takes one after the other",
            least=1,
            default="4; 16 from 400 answers on",
        ),
    ] = None
    rank: Annotated[int | None, Key("of adapters", least=1, most=512, default="16")] = None
    alpha: Annotated[int | None, Key("of adapters, whose output is scaled by alpha / rank", least=1, default="32")] = (
        None
    )
    target_modules: Annotated[
        tuple[str, ...],
        Key("names of the layers that get adapters", default="every linear layer but the head"),
    ] = ()
    tune_learning_rate: Annotated[
        bool,
        Key(
            "search the learning rate on held-out examples",
            "--tune-learning-rate",
            group=TUNING,
            more="For each pool and size: six rates, chosen by Optuna's TPE within a factor of ten, on its first draw, "
            "by the loss on examples that no draw learns or shows",
        ),
    ] = False
    held_out: Annotated[int | None, Key("how many of these there are", least=1, default=str(HELD_OUT))] = None
    icl: Annotated[
        Mapping[str, Value] | None,
        Key("a table of decoding parameters where prompts decode otherwise than the baseline"),
    ] = None
    ift: Annotated[
        Mapping[str, Value] | None,
        Key("a table of decoding parameters where tuned weights decode otherwise than the baseline"),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aligned == "none":
            object.__setattr__(self, "aligned", None)
        if not self.sizes or len(set(self.sizes)) < len(self.sizes):
            why = "name a size twice; drop one" if self.sizes else "are no numbers of examples; give some from 1 on"
            raise UsageError(f"tuning.sizes (--sizes) = {list(self.sizes)} {why}")
        object.__setattr__(self, "sizes", tuple(sorted(self.sizes)))
        if not self.pools or len(set(self.pools)) < len(self.pools):
            raise UsageError(
                f"tuning.pools (--pools) = {','.join(self.pools)!r}: name each pool once, such as good,medium"
            )
        for way, values in self.decoding.items():
            _check_decoding(way, values)
        self.recipe_for(1)

    @property
    def decoding(self) -> dict[str, Mapping[str, Value]]:
        """Decoding parameters of each way that sets some."""
        return {way: values for way, values in zip(TUNED_WAYS, (self.icl, self.ift), strict=True) if values}

    @property
    def apart(self) -> int:
        """How many examples no draw learns or shows: none where no learning rate is looked for."""
        return (self.held_out or HELD_OUT) if self.tune_learning_rate else 0

    @property
    def unused(self) -> list[str]:
        """Keys that are set and have no effect, in sentences."""
        keys = [key for key in _OF_ADAPTERS if getattr(self, key) and self.method != "lora"]
        notes = [f"tuning.{key} is of adapters, and of no use here" for key in keys]
        if self.held_out is not None and not self.tune_learning_rate:
            notes.append("tuning.held_out is of no use without --tune-learning-rate")
        return notes

    def recipe_for(self, answers: int, seed: int = 0) -> Recipe:
        """Return the recipe for so many answers."""
        used = [key for key in _RECIPE if self.method == "lora" or key not in _OF_ADAPTERS]
        return recipe_for(answers, self.method, seed=seed, **{key: getattr(self, key) for key in used})

    def effective(self) -> dict[str, Scalar]:
        """Return how weights are tuned; sizes and draws may grow, which parameters of a page cannot."""
        return {"tuning": self.method}

    def pool(self, settings: "PoolSettings") -> "PoolSettings":
        """Return the first pool, with whole conversations."""
        return replace(settings, name=self.pools[0], whole=True)

    def check(self, config: StudyConfig[KindConfig]) -> None:
        """Raise `UserError` for a pool, a prompt file or a server, which both ways could not share."""
        if config.study.prompt_file is not None:
            raise config.refusal(
                "study.prompt_file", "would stand in one way's prompt alone; drop it, and set system_prompt instead"
            )
        given, default = config.pool, PoolTable()
        unused = [n for n in table_fields(PoolTable) if n not in _TOGETHER and getattr(given, n) != getattr(default, n)]
        if unused:
            raise SearchSpaceError(
                f"{config.path}: [pool] {', '.join(unused)}: of no use here; pools, sizes and max_tokens are in "
                "[tuning]"
            )
        if config.server:
            raise UsageError("the study icl-vs-ift tunes the model, which a server does not let it do; drop --base-url")


def _check_decoding(way: str, values: Mapping[str, Value]) -> None:
    for name in values:
        if name not in DECODING_PARAMETERS:
            known = right_name(name, DECODING_PARAMETERS)
            raise ConditionError(f"tuning.{way} takes decoding parameters alone, not {name!r}; {known}")
    try:
        DecodingParams(**values)  # type: ignore[arg-type]
    except ConditionError as error:
        raise ConditionError(f"tuning.{way}: {error}") from error


MODES: Mapping[str, type[KindConfig]] = {"icl-vs-ift": TuningConfig}
"""Names of this kind in a study file, each with its own table there."""
