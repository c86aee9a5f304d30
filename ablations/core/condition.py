"""Conditions: one full setting of the decoding parameters and the prompt components.

Knows neither queries nor engines; it holds values, checks them, and gives each setting a stable id.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ablations.core.errors import ConditionError, nearest
from ablations.core.prompt import PromptParts, Value

NO_STOP = "none"
STOP_NAMES = ("headings", "fence", NO_STOP)


def content_hash(content: object, length: int = 16) -> str:
    """Return `length` hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class DecodingParams:
    """How to sample from the model. Defaults are neutral: they change nothing about the distribution.

    Attributes:
        temperature: 0 (greedy) or 0.01 to 2. vLLM would raise values between 0 and 0.01 to 0.01.
        top_p: nucleus mass, above 0 up to 1.
        top_k: number of tokens kept, 0 for all (-1 is read as 0).
        min_p: share of the most likely token's probability, 0 to 1.
        repetition_penalty: above 0 up to 2; 1 is neutral.
        presence_penalty: -2 to 2, once for each token already generated.
        frequency_penalty: -2 to 2, for each time a token was generated.
        max_tokens: upper limit of new tokens per turn, at least 1.
        stop: a name of `STOP_NAMES`, or a tuple of stop strings.

    Raises:
        ConditionError: a value is out of its range; the message names field, value and range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    max_tokens: int = 128
    stop: str | tuple[str, ...] = "headings"

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        for name in ("top_k", "max_tokens"):
            object.__setattr__(self, name, _integer(name, getattr(self, name)))
        if self.top_k == -1:
            object.__setattr__(self, "top_k", 0)
        object.__setattr__(self, "stop", _stop(self.stop))
        _within("temperature", self.temperature, 0 <= self.temperature <= 2, "0 to 2")
        _within(
            "temperature",
            self.temperature,
            self.temperature == 0 or self.temperature >= 0.01,
            "0 for greedy decoding, or at least 0.01",
        )
        _within("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 up to 1")
        _within("top_k", self.top_k, self.top_k >= 0, "0 for all tokens, or at least 1")
        _within("min_p", self.min_p, 0 <= self.min_p <= 1, "0 to 1")
        _within(
            "repetition_penalty",
            self.repetition_penalty,
            0 < self.repetition_penalty <= 2,
            "above 0 up to 2, where 1 is neutral",
        )
        _within("presence_penalty", self.presence_penalty, -2 <= self.presence_penalty <= 2, "-2 to 2")
        _within("frequency_penalty", self.frequency_penalty, -2 <= self.frequency_penalty <= 2, "-2 to 2")
        _within("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken, so that truncation of the tail has no effect."""
        return self.temperature == 0

    def canonical(self, stop: tuple[str, ...]) -> "DecodingParams":
        """Return the setting as it takes effect, with `stop` as the resolved stop strings.

        Greedy decoding ignores `top_p`, `top_k` and `min_p`; the order of stop strings has no meaning.
        """
        neutral = {name: neutral_value(name) for name in TAIL_PARAMETERS} if self.greedy else {}
        return dataclasses.replace(self, stop=tuple(sorted(set(stop))), **neutral)  # type: ignore[arg-type]


DECODING_PARAMETERS = tuple(field.name for field in dataclasses.fields(DecodingParams))
INTEGER_PARAMETERS = frozenset({"top_k", "max_tokens", "shots", "draw"})
TEXT_PARAMETERS = frozenset({"stop", "system_prompt", "template", "source", "style", "order", "matching"})
TAIL_PARAMETERS = ("top_p", "top_k", "min_p")
"""They cut the tail off the distribution, which is without effect under greedy decoding."""


PROMPT_PARAMETERS = ("system_prompt", "template", "shots", "source", "draw", "style", "order", "matching")
PARAMETERS = DECODING_PARAMETERS + PROMPT_PARAMETERS


@dataclass(frozen=True)
class Condition:
    """One full setting: how to decode and how to prompt.

    `weights` identify what answers, where that is not the study's own model: weights tuned from it, or another model.

    Two conditions that send the same prompts and decode the same have the same `condition_id`:

    >>> from ablations.prompts.templates import URIAL
    >>> parts = PromptParts(system_prompt="", template=URIAL)
    >>> one = Condition(DecodingParams(temperature=0.0, top_p=0.5), parts)
    >>> other = Condition(DecodingParams(temperature=0.0, top_p=0.9), parts)
    >>> one.condition_id == other.condition_id
    True
    """

    decoding: DecodingParams
    prompt: PromptParts
    weights: str = ""

    def __post_init__(self) -> None:
        if self.decoding.stop == "fence" and not self.prompt.template.fence:
            raise ConditionError(
                f"stop = 'fence' with template {self.prompt.template.name!r}, which has no fence; "
                "use stop = 'headings' or a list of strings"
            )

    @cached_property
    def effective(self) -> DecodingParams:
        """The decoding parameters as they take effect, with the stop strings spelled out."""
        stop = self.decoding.stop
        if isinstance(stop, tuple):
            return self.decoding.canonical(stop)
        named = {"headings": self.prompt.template.stop, "fence": (self.prompt.template.fence,), NO_STOP: ()}
        return self.decoding.canonical(named[stop])

    @cached_property
    def condition_id(self) -> str:
        """Twelve hexadecimal digits that identify what is sent to the model."""
        content: dict[str, object] = {"decoding": dataclasses.asdict(self.effective), "prompt": self.prompt.content()}
        return content_hash(content | ({"weights": self.weights} if self.weights else {}), length=12)

    def values(self) -> dict[str, Value]:
        """Return every parameter by name, in the order of `PARAMETERS`, as it was asked for."""
        return {name: getattr(self.decoding, name) for name in DECODING_PARAMETERS} | self.prompt.values()


def plain_value(value: Value) -> float | int | str | list[str]:
    """Return a value as JSON holds it."""
    return list(value) if isinstance(value, tuple) else value


def plain_values(values: Mapping[str, Value]) -> dict[str, Value | list[str]]:
    """Return parameters by name, each as JSON holds it."""
    return {name: plain_value(value) for name, value in values.items()}


def neutral_value(name: str) -> Value:
    """Return the value of a decoding parameter that leaves the distribution alone."""
    default: Value = getattr(DecodingParams(), name)
    return default


def format_value(value: object) -> str:
    """Return a value as logs and file names show it, without trailing zeros.

    >>> format_value(0.30000000000000004), format_value(("a", "b"))
    ('0.3', '["a", "b"]')
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(list(value), ensure_ascii=False) if isinstance(value, tuple | list) else str(value)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConditionError(f"{name} = {value!r} is not a finite number; give a number")
    # Steps of 0.1 accumulate rounding error; ten digits are far below any effect on decoding.
    return round(float(value), 10) + 0.0  # never -0.0


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConditionError(f"{name} = {value!r} is not a whole number; give a whole number")
    return value


def _stop(value: object) -> str | tuple[str, ...]:
    if isinstance(value, str):
        if value not in STOP_NAMES:
            raise ConditionError(
                f"stop = {value!r} is not a known name; {nearest(value, STOP_NAMES)}, or give a list of strings"
            )
        return value
    if isinstance(value, list | tuple) and all(isinstance(text, str) and text for text in value):
        return tuple(value)
    raise ConditionError(f"stop = {value!r} must be one of {', '.join(STOP_NAMES)} or a list of non-empty strings")


def _within(name: str, value: float, allowed: bool, range_text: str) -> None:
    if not allowed:
        raise ConditionError(f"{name} = {value:g} is out of range; allowed: {range_text}")
