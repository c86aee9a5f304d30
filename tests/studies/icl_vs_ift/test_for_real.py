"""Claims about tuned weights on the real engine: vLLM answers with them what transformers does, token for token."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from ablations.core.condition import DecodingParams
from ablations.core.prompt import PromptParts
from ablations.core.records import Prompt
from ablations.datasets.pools import load_pool
from ablations.datasets.queries import choose_subset, load_queries
from ablations.models.base import Backend
from ablations.models.resolve import ResolvedModel, resolve_model
from ablations.models.tokenizer import Tokens
from ablations.models.training.jobs import Job
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import make_samples
from ablations.models.training.train import train
from ablations.models.vllm.adapters import AdaptedBackend
from ablations.models.vllm.engine import VllmBackend
from ablations.models.vllm.settings import Adapter, adapter_settings
from ablations.prompts.render import render_prompt
from ablations.prompts.templates import find_template

pytestmark = pytest.mark.slow
PROMPTS, NEW_TOKENS = 4, 12
PARTS = PromptParts("", find_template("urial"))
SETTINGS = {"max_model_len": 1024}


@pytest.fixture(scope="module")
def model() -> ResolvedModel:
    return resolve_model("smollm2-135m-instruct", say=lambda _: None)


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return [render_prompt(query, PARTS) for query in choose_subset(load_queries("instructions"), PROMPTS, seed=0)]


def tuned(model: ResolvedModel, method: str, rate: float, folder: Path) -> Path:
    examples = load_pool("examples", whole=True).demonstrations[:3]
    samples = tuple(make_samples(examples, PARTS, Tokens(model)))
    train(Job(model, Recipe(method, 2, rate, 3), samples), folder, folder / "result", lambda _: None)
    return folder / "result"


def by_transformers(model: Any, tokens: Tokens, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Return the tokens that greedy decoding writes after each prompt, the end-of-text token left out."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([tokens.ids(prompt.text)])
        with torch.inference_mode():
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW_TOKENS,
                pad_token_id=tokens.tokenizer.eos_token_id, eos_token_id=tokens.tokenizer.eos_token_id,
            )  # fmt: skip
        found.append([one for one in made[0, ids.shape[1] :].tolist() if one != tokens.tokenizer.eos_token_id])
    return found


def by_vllm(engine: VllmBackend, backends: Sequence[Backend], prompts: Sequence[Prompt]) -> list[list[str]]:
    """Return what each backend of a loaded engine writes, all of them in one batch."""
    greedy = DecodingParams(max_tokens=NEW_TOKENS, stop=())

    async def ask() -> list[str]:
        await engine.start()
        try:
            asked = [backend.generate(prompt, greedy, 0) for backend in backends for prompt in prompts]
            return [one.text for one in await asyncio.gather(*asked)]
        finally:
            await engine.close()

    texts = asyncio.run(ask())
    return [texts[start : start + len(prompts)] for start in range(0, len(texts), len(prompts))]


def texts_of(tokens: Tokens, written: Sequence[Sequence[int]]) -> list[str]:
    return [tokens.tokenizer.decode(one, skip_special_tokens=True) for one in written]


def test_adapters_answer_side_by_side_through_the_running_engine_as_through_peft(
    model: ResolvedModel, prompts: list[Prompt], tmp_path: Path
) -> None:
    from peft import PeftModel

    tokens, written, adapters = Tokens(model), list[list[str]](), list[Adapter]()
    for number, rate in enumerate((2e-3, 5e-4), start=1):
        folder = tmp_path / str(number)
        folder.mkdir()
        adapters.append(Adapter(f"tuned-{number}", number, tuned(model, "lora", rate, folder), f"lora:{number}"))
        base = AutoModelForCausalLM.from_pretrained(model.location, dtype=torch.float32)
        peft = PeftModel.from_pretrained(base, adapters[-1].folder)
        written.append(texts_of(tokens, by_transformers(peft, tokens, prompts)))
    assert sum(one != other for one, other in zip(*written, strict=True)) > PROMPTS / 2
    engine = VllmBackend(model, SETTINGS | adapter_settings([16, 16], 2), tmp_path / "vllm.log")
    assert engine.takes_adapters
    assert by_vllm(engine, [AdaptedBackend(engine, adapter) for adapter in adapters], prompts) == written


def test_a_model_tuned_as_a_whole_answers_through_its_own_engine_as_through_transformers(
    model: ResolvedModel, prompts: list[Prompt], tmp_path: Path
) -> None:
    folder, tokens = tuned(model, "full", 1e-4, tmp_path), Tokens(model)
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(model.location, dtype=torch.float32)
    expected = texts_of(tokens, by_transformers(whole, tokens, prompts))
    assert expected != texts_of(tokens, by_transformers(base, tokens, prompts))
    engine = VllmBackend(resolve_model(str(folder)), SETTINGS, tmp_path / "vllm.log")
    assert engine.tokens.ids(prompts[0].text) == tokens.ids(prompts[0].text)
    assert by_vllm(engine, [engine], prompts) == [expected]
