"""Both backends on real engines: vLLM in this process, and vLLM's own server through the openai client."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ablations.core.condition import DecodingParams
from ablations.core.errors import BackendError, UsageError
from ablations.core.prompt import PromptParts
from ablations.core.records import Completion, Prompt, Query
from ablations.datasets.queries import load_queries
from ablations.judges.reference.text_statistics import freshness
from ablations.models.base import Backend
from ablations.models.openai.client import OpenAIBackend, completion_request, probe_server
from ablations.models.resolve import leading_bos, resolve_model
from ablations.models.vllm.engine import VllmBackend, _sampling_params
from ablations.models.vllm.settings import check_settings
from ablations.prompts.components import build_parts
from ablations.prompts.render import render_prompt
from ablations.prompts.templates import CHAT
from tests.support.backend_contract import TEXTS, BackendContract, settings
from tests.support.servers import CONTEXT, MODEL, SERVED, Loop

pytestmark = pytest.mark.slow
ENGINE = {"max_model_len": CONTEXT}


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def engine(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmBackend]:
    log = tmp_path_factory.mktemp("engine") / "vllm.log"
    backend = VllmBackend(resolve_model(MODEL), ENGINE, log)
    loop.run(backend.start())
    yield backend
    loop.run(backend.close())


@pytest.fixture(scope="module")
def server_backend(loop: Loop, server: str) -> Iterator[OpenAIBackend]:
    async def connect() -> OpenAIBackend:
        model, served = await probe_server(server, None)
        return OpenAIBackend(model, server, served)

    backend: OpenAIBackend = loop.run(connect())
    yield backend
    loop.run(backend.close())


class TestVllmEngine(BackendContract):
    @pytest.fixture(name="backend")
    def _backend(self, engine: VllmBackend) -> Backend:
        return engine

    def sent(self, decoding: DecodingParams) -> object:
        return repr(_sampling_params(decoding, seed=1))

    def test_the_context_is_what_was_asked_for(self, engine: VllmBackend) -> None:
        assert engine.context_length == CONTEXT

    def test_a_chat_prompt_has_one_bos_and_its_answer_ends_with_the_turn(self, loop: Loop, engine: VllmBackend) -> None:
        query = Query("q", "", ("Say hello in one word.",))
        prompt = render_prompt(query, PromptParts("", CHAT), chat_template=engine.chat_template)
        assert prompt.templated
        assert prompt.text.endswith("<|im_start|>user\nSay hello in one word.<|im_end|>\n<|im_start|>assistant\n")
        assert leading_bos(engine.tokens.ids(prompt.text, templated=True), 1) == 1
        completion = loop.run(engine.generate(prompt, settings(max_tokens=100), 0))
        assert completion.finish_reason == "stop"
        assert "<|im_end|>" not in completion.text
        assert completion.prompt_tokens == loop.run(engine.count_tokens(prompt.text, templated=True))

    def test_shared_beginnings_are_found_in_the_prefix_cache(self, loop: Loop, engine: VllmBackend) -> None:
        beginning = "The prefix of this prompt is long enough to fill some blocks of the cache. " * 8
        before = engine.prefix_cache
        for end in ("One.", "Two."):
            loop.run(engine.generate(Prompt("p", 1, beginning + end), settings(max_tokens=1), 0))
        after = engine.prefix_cache
        read, cached = (getattr(after, name) - getattr(before, name) for name in ("prompt_tokens", "cached_tokens"))
        assert 0.3 < cached / read < 0.5  # of the second prompt all but its end
        assert after.hit_rate == after.cached_tokens / after.prompt_tokens

    def test_what_vllm_prints_goes_to_the_log(self, engine: VllmBackend) -> None:
        assert "KV cache" in engine._log_file.read_text()


class TestServerThroughOpenAI(BackendContract):
    @pytest.fixture(name="backend")
    def _backend(self, server_backend: OpenAIBackend) -> Backend:
        return server_backend

    def sent(self, decoding: DecodingParams) -> object:
        return completion_request(SERVED, "", decoding, seed=1, is_vllm=True)

    def test_what_the_server_loaded_is_part_of_its_identity(self, server_backend: OpenAIBackend) -> None:
        settings = server_backend.identity.settings
        assert settings["root"].endswith(Path(resolve_model(MODEL).location).name)
        assert settings["vllm"]

    def test_the_server_tells_that_it_is_vllm_and_its_context(self, server_backend: OpenAIBackend) -> None:
        assert "repetition_penalty" in server_backend.honours
        assert server_backend.context_length == CONTEXT
        assert server_backend.identity.model == SERVED


def complete(loop: Loop, backend: Backend, prompts: list[Prompt], **values: object) -> list[Completion]:
    async def together() -> list[Completion]:
        return await asyncio.gather(*(backend.generate(prompt, settings(**values), 3) for prompt in prompts))

    return list(loop.run(together()))


@pytest.mark.parametrize("values", [{}, {"repetition_penalty": 1.15}, {"stop": ("# Query", "# User")}])
def test_greedy_outputs_of_both_backends_are_equal(
    loop: Loop, engine: VllmBackend, server_backend: OpenAIBackend, values: dict[str, object]
) -> None:
    prompts = [Prompt(f"t{number}", 1, text) for number, text in enumerate(TEXTS)]
    prompts += [render_prompt(query, build_parts()) for query in load_queries("instructions")[:4]]
    first = complete(loop, engine, prompts, max_tokens=24, **values)
    second = complete(loop, server_backend, prompts, max_tokens=24, **values)
    assert [c.text for c in first] == [c.text for c in second]
    assert [c.prompt_tokens for c in first] == [c.prompt_tokens for c in second]


KINDS: list[dict[str, object]] = [
    {"repetition_penalty": 1.15},
    {"presence_penalty": 0.6, "frequency_penalty": 0.3},
    {"temperature": 0.8},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.15},
    {"temperature": 1.3, "top_p": 0.95, "presence_penalty": 0.5},
    {"temperature": 1.0, "top_p": 0.6, "min_p": 0.02},
    {"temperature": 0.9, "top_p": 0.8, "top_k": 40, "frequency_penalty": 0.2},
]


def test_top_p_and_penalties_of_the_toolkit_change_no_token_of_vllms(
    loop: Loop, engine: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not engine._cpu_sampler:
        pytest.skip("it is vLLM's CPU build that gets them")
    requests = [
        (Prompt(f"{number}-{query.id}", 1, render_prompt(query, build_parts()).text), settings(max_tokens=46, **kind))
        for number, kind in enumerate(KINDS)
        for query in load_queries("instructions")[:3]
    ]
    final_output = engine._final_output
    tokens: dict[str, list[int]] = {}

    async def kept(prompt: Prompt, *others: object) -> object:
        final = await final_output(prompt, *others)
        tokens[prompt.query_id] = list(final.outputs[0].token_ids)
        return final

    async def together() -> dict[str, list[int]]:
        tokens.clear()
        await asyncio.gather(*(engine.generate(prompt, kind, seed) for seed, (prompt, kind) in enumerate(requests)))
        return dict(tokens)

    monkeypatch.setattr(engine, "_final_output", kept)
    own = loop.run(together())
    monkeypatch.setattr(engine, "_cpu_sampler", False)
    assert loop.run(together()) == own
    assert sum(map(len, own.values())) > 1000
    assert "logits_processors" not in engine.identity.settings  # what is stored keeps its key


def test_an_unknown_model_of_a_server_is_refused_with_what_it_serves(loop: Loop, server: str) -> None:
    with pytest.raises(UsageError, match=f"serves: {SERVED}"):
        loop.run(probe_server(server, "gpt-17"))


def test_an_unreachable_server_is_refused(loop: Loop) -> None:
    with pytest.raises(UsageError, match="no completions server answers"):
        loop.run(probe_server("http://127.0.0.1:9/v1", None))


def test_unknown_engine_settings_are_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match="did you mean tensor_parallel_size"):
        check_settings({"tensor_paralel_size": 2})
    with pytest.raises(UsageError, match="set by the toolkit"):
        check_settings({"model": "x"})
    with pytest.raises(UsageError, match="HF_TOKEN"):
        check_settings({"hf_token": "hf_secret"})
    with pytest.raises(UsageError, match="max_model_len = '8k'"):
        check_settings({"max_model_len": "8k"})
    with pytest.raises(UsageError, match="trust_remote_code = 'no' is a switch; give true or false"):
        check_settings({"trust_remote_code": "no"})
    check_settings({"tensor_parallel_size": 2, "quantization": "fp8", "gpu_memory_utilization": 0.5})


def test_the_base_model_continues_fluently_from_exactly_one_bos(loop: Loop, tmp_path: Path) -> None:
    backend = VllmBackend(resolve_model("gemma-3-270m"), {"max_model_len": 512}, tmp_path / "gemma.log")
    loop.run(backend.start())
    try:
        ids = backend.tokens.ids("The capital of France is")
        assert leading_bos(ids, 2) == 1
        (completion,) = complete(loop, backend, [Prompt("france", 1, "The capital of France is")], max_tokens=32)
        assert completion.prompt_tokens == len(ids) == 6
        # Without the token the model loops ("The The The ..."), with it the text goes on.
        assert freshness(completion.text) > 0.6
        assert "capital" in completion.text
    finally:
        loop.run(backend.close())


def test_importing_the_command_line_does_not_import_an_engine() -> None:
    import subprocess

    code = (
        "import json, sys\nfrom ablations.cli.main import main\nfrom ablations.cli.parser import parse\n"
        "parse(['run', '--study', 'decoding'])\nprint(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"vllm", "torch", "mlflow", "transformers"} & set(json.loads(done.stdout))


def end_engine() -> None:
    """Kill the engine of this process, as the kernel does where memory runs out."""
    engines = [child for child in psutil.Process().children() if "EngineCore" in child.name()]
    assert engines
    for process in [*engines, *(worker for one in engines for worker in one.children(recursive=True))]:
        process.kill()


def test_an_engine_that_dies_is_started_again_once(
    loop: Loop, engine: VllmBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last test of this engine."""
    prompts = [Prompt(f"t{number}", 1, text) for number, text in enumerate(TEXTS)]
    before = complete(loop, engine, prompts, max_tokens=24)

    async def killed_meanwhile() -> list[Completion]:
        asking = [asyncio.ensure_future(engine.generate(one, settings(max_tokens=24), 3)) for one in prompts]
        await asyncio.sleep(0.2)
        end_engine()
        return list(await asyncio.gather(*asking))

    assert [one.text for one in loop.run(killed_meanwhile())] == [one.text for one in before]
    assert "vLLM's engine died and is started again" in capsys.readouterr().out
    end_engine()
    with pytest.raises(BackendError, match="died again after a restart"):
        complete(loop, engine, prompts, max_tokens=24)
