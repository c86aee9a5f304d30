"""Claims about top-p and penalties on the CPU: each row and each token is what vLLM's own functions make of it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality
from vllm.v1.sample.ops import topk_topp_sampler
from vllm.v1.sample.ops.penalties import apply_all_penalties

from ablations.models.vllm import sampler as cpu_sampler
from ablations.models.vllm.sampler import Penalties, TopP, hand_over, mask_top_p
from ablations.models.vllm.settings import takes_cpu_sampler

VOCABULARY = 20_000
ROWS = {
    "one token": [0.0] * (VOCABULARY - 1) + [40.0],
    "one token left by min-p": [-torch.inf] * (VOCABULARY - 1) + [1.0],
    "equal logits all over": [1.0] * VOCABULARY,
    "equal logits on both sides of the cut": [0.0] * (VOCABULARY - 4) + [20.0] * 4,
    "equal logits before the cut": [0.0] * (VOCABULARY - 3) + [21.0, 21.0, 20.0],
    "three quarters in one token": [-torch.inf] * (VOCABULARY - 2) + [float(torch.tensor(3.0).log()), 0.0],
}


def random_rows(spread: float, number: int = 8) -> torch.Tensor:
    return torch.randn(number, VOCABULARY, generator=torch.Generator().manual_seed(int(spread * 10))) * spread


def narrowed(logits: torch.Tensor, top_p: Sequence[float]) -> torch.Tensor:
    """Return what vLLM makes of the rows."""
    return topk_topp_sampler.apply_top_k_top_p(logits.clone(), None, torch.tensor(top_p))


def masked(row: torch.Tensor, top_p: float) -> torch.Tensor:
    own = row.clone()
    mask_top_p(own, top_p)
    return own


@pytest.fixture(name="asked")
def _asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects a number for each row that is left to vLLM's own function."""
    rows: list[int] = []

    def counted(logits: torch.Tensor, *others: Any) -> torch.Tensor:
        rows.append(len(logits))
        return topk_topp_sampler.apply_top_k_top_p(logits, *others)

    monkeypatch.setattr(cpu_sampler, "apply_top_k_top_p", counted)
    return rows


@pytest.mark.parametrize("top_p", [1e-6, 0.1, 0.5, 0.7, 0.75, 0.9, 0.99, 0.999999])
@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
def test_top_p_masks_what_vllm_masks(top_p: float, spread: float) -> None:
    for row in random_rows(spread):
        assert torch.equal(masked(row, top_p), narrowed(row[None], [top_p])[0])


@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_top_p_masks_what_vllm_masks_in_a_vocabulary_of_262_144_tokens(spread: float) -> None:
    row = torch.randn(262_144, generator=torch.Generator().manual_seed(7)) * spread
    assert torch.equal(masked(row, 0.9), narrowed(row[None], [0.9])[0])


@pytest.mark.parametrize("top_p", [0.3, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("name", ROWS)
def test_top_p_masks_what_vllm_masks_in_rows_of_a_special_kind(name: str, top_p: float) -> None:
    row = torch.tensor(ROWS[name])
    assert torch.equal(masked(row, top_p), narrowed(row[None], [top_p])[0])


def test_a_row_that_the_likely_tokens_settle_is_not_left_to_vllm(asked: list[int]) -> None:
    for row in [*random_rows(8.0), torch.tensor(ROWS["one token"]), torch.tensor(ROWS["equal logits before the cut"])]:
        mask_top_p(row, 0.9)
    assert asked == []


@pytest.mark.parametrize(
    ("row", "top_p"),
    [
        (torch.tensor(ROWS["equal logits on both sides of the cut"]), 0.7),
        (torch.tensor(ROWS["three quarters in one token"]), 0.75),
        (random_rows(1.0)[0], 0.999999),
    ],
    ids=["equal logits at the cut", "mass equal to top-p", "likely tokens hold too little"],
)
def test_a_row_in_doubt_is_left_to_vllm(asked: list[int], row: torch.Tensor, top_p: float) -> None:
    mask_top_p(row, top_p)
    assert asked == [1]


def processor(kind: type[LogitsProcessor], requests: dict[int, tuple[SamplingParams, list[int], list[int]]]) -> Any:
    """Return a processor that knows these requests, by row: parameters, tokens of the prompt and of the output."""
    made = kind(SimpleNamespace(), torch.device("cpu"), False)  # type: ignore[arg-type]
    for params, _, _ in requests.values():
        hand_over(params)
    made.update_state(
        BatchUpdate(batch_size=len(requests), removed=[], moved=[], added=[(r, *one) for r, one in requests.items()])
    )
    return made


def test_rows_without_top_p_stay_as_they_are() -> None:
    logits = random_rows(4.0, 3)
    before = logits.clone()
    top_p = processor(TopP, {0: (SamplingParams(top_p=1.0), [1], []), 2: (SamplingParams(top_p=0.8), [1], [])})
    assert torch.equal(top_p.apply(logits), narrowed(before, [1.0, 1.0, 0.8]))
    top_p.update_state(BatchUpdate(batch_size=1, removed=[2], added=[], moved=[]))
    assert torch.equal(top_p.apply(before.clone()), before)


PENALTIES = [  # presence, frequency, repetition
    (0.0, 0.0, 1.15),
    (0.0, 0.0, 1.0),
    (0.7, 0.0, 1.0),
    (0.0, 0.3, 1.0),
    (-0.4, 0.2, 0.8),
    (1.1, -0.6, 1.3),
]
PROMPTS = [[5, 6, 7, 7, 6], [0], [3, VOCABULARY - 1], [9, 9, 9, 9], [1, 2, 3], list(range(100, 600))]
OUTPUTS = [[], [4, 4, 4], [3, 8, 3], [11], [2, -1], [*range(300, 320), *range(310, 330)]]


def penalised(logits: torch.Tensor, outputs: list[list[int]]) -> torch.Tensor:
    """Return what vLLM makes of the rows."""
    presence, frequency, repetition = torch.tensor(PENALTIES).unbind(1)
    prompts = torch.full((len(PROMPTS), max(map(len, PROMPTS))), VOCABULARY)
    for row, prompt in enumerate(PROMPTS):
        prompts[row, : len(prompt)] = torch.tensor(prompt)
    return apply_all_penalties(logits.clone(), prompts, presence, frequency, repetition, outputs)


def test_penalised_logits_are_vllms_to_the_last_bit_while_outputs_grow() -> None:
    outputs = [list(output) for output in OUTPUTS]
    requests = {
        row: (
            SamplingParams(presence_penalty=presence, frequency_penalty=frequency, repetition_penalty=repetition),
            PROMPTS[row],
            outputs[row],
        )
        for row, (presence, frequency, repetition) in enumerate(PENALTIES)
    }
    penalties = processor(Penalties, requests)
    for step in range(4):
        logits = random_rows(3.0 + step, len(PENALTIES))
        logits[:, 100:200] = -torch.inf
        assert torch.equal(penalties.apply(logits.clone()), penalised(logits, outputs))
        for row, output in enumerate(outputs):
            output[-1:] = [*(token for token in output[-1:] if token >= 0), (7 * row + step) % 12]


def test_requests_are_followed_where_the_batch_moves_them() -> None:
    logits = random_rows(3.0, 2)
    moved = processor(Penalties, {0: (SamplingParams(repetition_penalty=1.5), [1, 2], [])})
    moved.update_state(BatchUpdate(1, removed=[], added=[], moved=[(0, 1, MoveDirectionality.UNIDIRECTIONAL)]))
    after = moved.apply(logits.clone())
    assert torch.equal(after[0], logits[0])
    assert (after[1] != logits[1]).nonzero().flatten().tolist() == [1, 2]


def test_vllms_fields_are_neutral_and_the_processors_get_every_value() -> None:
    params = SamplingParams(
        temperature=0.9, top_p=0.8, repetition_penalty=1.2, presence_penalty=0.5, frequency_penalty=-0.25
    )
    hand_over(params)
    assert (params.top_p, params.repetition_penalty, params.presence_penalty, params.frequency_penalty) == (1, 1, 0, 0)
    assert params.extra_args == {"top_p": 0.8, "penalties": [0.5, -0.25, 1.2]}
    neutral = SamplingParams(temperature=0.9, min_p=0.1, top_k=0)
    hand_over(neutral)
    assert neutral.extra_args is None


def test_top_p_beside_top_k_is_vllms() -> None:
    params = SamplingParams(temperature=0.9, top_p=0.8, top_k=50)
    hand_over(params)
    assert params.top_p == 0.8
    assert params.extra_args is None


def test_a_users_own_processors_take_the_place_of_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablations.models.vllm.settings.on_cpu", lambda: True)
    assert takes_cpu_sampler({"max_model_len": 512})
    assert not takes_cpu_sampler({"logits_processors": ["a.module:Own"]})
    assert not takes_cpu_sampler({"speculative_config": {"method": "ngram"}})
    monkeypatch.setattr("ablations.models.vllm.settings.on_cpu", lambda: False)
    assert not takes_cpu_sampler({})
