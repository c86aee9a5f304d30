"""Claims about what vLLM refuses before it has loaded a model; vLLM itself is not imported."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.core.errors import UsageError
from ablations.models.resolve import ResolvedModel
from ablations.models.vllm.engine import VllmBackend

ASKED: dict[str, Callable[[VllmBackend], object]] = {
    "its settings": VllmBackend.check_values,
    "its precision": lambda backend: backend.precision,
    "adapters": lambda backend: backend.takes_adapters,
}


@pytest.mark.parametrize("what", ASKED)
def test_an_architecture_that_vllm_does_not_know_is_one_message(
    what: str, tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: VllmBackend) -> None:
        raise ValueError("Model architectures ['NewForCausalLM'] are not supported for now.")

    monkeypatch.setattr(VllmBackend, "_arguments", refuse)
    backend = VllmBackend(tiny, {}, tmp_path / "vllm.log")
    with pytest.raises(UsageError, match=r"vLLM refuses .* Model architectures \['NewForCausalLM'\] are not .*--model"):
        ASKED[what](backend)
