"""Claims about the engines of a comparison: each has settings that fit its own model, and room for adapters."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablations.models.resolve import ResolvedModel
from ablations.models.vllm.adapters import Adapter, adapter_settings
from ablations.studies.icl_vs_ift import assembly as tuning_assembly
from ablations.studies.icl_vs_ift.assembly import LocalEngines, other_engine

QUIET = Console(file=io.StringIO())


class Made:
    """Stands for an engine: what it was made from."""

    name, honours, max_stops = "vllm", frozenset[str](), None
    precision = {"dtype": "bfloat16"}  # noqa: RUF012

    def __init__(self, model: str, settings: dict[str, Any], takes_adapters: bool = True) -> None:
        self.model, self.settings, self.takes_adapters = model, settings, takes_adapters


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Made]:
    found: list[Made] = []

    def make(model: str, settings: dict[str, Any], *rest: Any) -> Made:
        found.append(Made(model, dict(settings)))
        return found[-1]

    monkeypatch.setattr(tuning_assembly, "engine_backend", make)
    return found


def engines(room: dict[str, Any] | None, takes_adapters: bool = True) -> LocalEngines:
    base: Any = Made("base", {}, takes_adapters)
    return LocalEngines(base, room, {"max_model_len": 8192, "seed": 1}, Path("vllm.log"), QUIET)


def test_another_model_has_neither_the_revision_nor_a_longer_context_than_its_own(
    tiny: ResolvedModel, made: list[Made]
) -> None:
    other_engine(tiny.location, {"revision": "abc", "max_model_len": 8192, "seed": 1}, Path("vllm.log"), QUIET)
    other_engine(tiny.location, {"max_model_len": 100}, Path("vllm.log"), QUIET)
    assert [one.settings for one in made] == [{"max_model_len": 256, "seed": 1}, {"max_model_len": 100}]


def test_the_engine_of_adapters_is_another_one_than_that_of_the_base_model(made: list[Made]) -> None:
    room = adapter_settings([8, 16], 4)
    local = engines(room)
    assert local.adapting is not None
    assert made[0].settings == {"max_model_len": 8192, "seed": 1, **room}
    assert local.base.settings == {}  # type: ignore[attr-defined]
    first, second = (local.adapted(Adapter(str(n), n, Path(), f"lora:{n}")) for n in (1, 2))
    assert first is not second
    assert len(made) == 1


@pytest.mark.parametrize(("room", "takes"), [(None, True), ({"enable_lora": True}, False)])
def test_no_engine_is_made_for_adapters_that_nobody_asks_for_or_vllm_does_not_take(
    room: dict[str, Any] | None, takes: bool, made: list[Made]
) -> None:
    assert engines(room, takes).adapting is None
    assert made == []


def test_weights_tuned_as_a_whole_are_computed_in_as_many_bits_as_the_base_model(
    tiny: ResolvedModel, made: list[Made]
) -> None:
    local = engines(None)
    local.whole(Path(tiny.location))
    assert made[-1].settings == {"dtype": "bfloat16", "max_model_len": 256, "seed": 1}
    assert local.other(tiny.location) is local.other(tiny.location)
    assert "dtype" not in made[-1].settings
