"""Claims about the engines of a comparison: each has settings that fit its own model, and room for adapters."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from ablations.models import placement as under_test
from ablations.models.placement import LocalPlacement, other_engine, silent
from ablations.models.resolve import ResolvedModel
from ablations.models.vllm.engine import VllmBackend
from ablations.models.vllm.settings import Adapter, adapter_settings

Settings = Mapping[str, object]


class Made:
    """Stands for an engine: what it was made from."""

    name, honours, max_stops = "vllm", frozenset[str](), None
    precision: Settings = {"dtype": "bfloat16"}  # noqa: RUF012

    def __init__(self, model: str, settings: Settings, takes_adapters: bool = True) -> None:
        self.model, self.settings, self.takes_adapters = model, settings, takes_adapters


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Made]:
    found: list[Made] = []

    def make(model: str, settings: Settings, *_: object) -> Made:
        found.append(Made(model, dict(settings)))
        return found[-1]

    monkeypatch.setattr(under_test, "engine_backend", make)
    return found


def placement(room: Settings | None, takes_adapters: bool = True) -> LocalPlacement:
    base = cast(VllmBackend, Made("base", {}, takes_adapters))
    logs = Path("vllm.log"), Path("tuned"), Path("tuning.log")
    return LocalPlacement(base, room, {"max_model_len": 8192, "seed": 1}, *logs, silent)


def test_another_model_has_neither_the_revision_nor_a_longer_context_than_its_own(
    tiny: ResolvedModel, made: list[Made]
) -> None:
    other_engine(tiny.location, {"revision": "abc", "max_model_len": 8192, "seed": 1}, Path("vllm.log"), silent)
    other_engine(tiny.location, {"max_model_len": 100}, Path("vllm.log"), silent)
    assert [one.settings for one in made] == [{"max_model_len": 256, "seed": 1}, {"max_model_len": 100}]


def test_the_engine_of_adapters_is_another_one_than_that_of_the_base_model(made: list[Made]) -> None:
    room = adapter_settings([8, 16], 4)
    local = placement(room)
    assert local.adapting is not None
    assert made[0].settings == {"max_model_len": 8192, "seed": 1, **room}
    assert cast(Made, local.base).settings == {}
    first, second = (local.adapted(Adapter(str(n), n, Path(), f"lora:{n}")) for n in (1, 2))
    assert first is not second
    assert len(made) == 1


@pytest.mark.parametrize(("room", "takes"), [(None, True), ({"enable_lora": True}, False)])
def test_no_engine_is_made_for_adapters_that_nobody_asks_for_or_vllm_does_not_take(
    room: Settings | None, takes: bool, made: list[Made]
) -> None:
    assert placement(room, takes).adapting is None
    assert made == []


def test_weights_tuned_as_a_whole_are_computed_in_as_many_bits_as_the_base_model(
    tiny: ResolvedModel, made: list[Made]
) -> None:
    local = placement(None)
    local.whole(Path(tiny.location))
    assert made[-1].settings == {"dtype": "bfloat16", "max_model_len": 256, "seed": 1}
    assert local.other(tiny.location) is local.other(tiny.location)
    assert "dtype" not in made[-1].settings
