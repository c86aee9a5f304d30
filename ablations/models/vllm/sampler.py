"""Top-p and penalties on the CPU: what vLLM's sampler decides, computed on the few tokens that decide it.

Knows nothing of backends, prompts or studies; loaded by the engine's worker, into which vLLM imports it by name.

vLLM sorts the whole vocabulary for top-p and runs over all of it several times for penalties. Each request hands both
over, and two logits processors apply them: penalties with vLLM's own function on the columns that it would change, and
top-p on the likely tokens, or with vLLM's own function where these do not settle it. No token differs from vLLM's.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from vllm import SamplingParams
from vllm.model_executor.layers.utils import apply_penalties
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

if TYPE_CHECKING:
    from vllm.config import VllmConfig

TOP_P, PENALTIES = "top_p", "penalties"
"""Names in `SamplingParams.extra_args`; the penalties are presence, frequency and repetition, as vLLM orders them."""

MARGIN = 1e-5
"""How near to top-p a mass may come before vLLM is asked: four times the largest error found in its sums."""


def hand_over(params: SamplingParams) -> None:
    """Move top-p and penalties from vLLM's own fields, which then say nothing, to these processors; in place.

    Top-p stays with vLLM where top-k cuts first.
    """
    handed: dict[str, object] = {}
    if params.top_p < 1 and params.top_k <= 0:
        handed[TOP_P], params.top_p = params.top_p, 1.0
    penalties = [params.presence_penalty, params.frequency_penalty, params.repetition_penalty]
    if penalties != [0.0, 0.0, 1.0]:
        handed[PENALTIES] = penalties
        params.presence_penalty, params.frequency_penalty, params.repetition_penalty = 0.0, 0.0, 1.0
    params.extra_args = handed or None


class TopP(LogitsProcessor):
    """Masks what vLLM's top-p masks, after temperature and min-p."""

    def __init__(self, vllm_config: "VllmConfig", device: torch.device, is_pin_memory: bool) -> None:
        self._top_p: dict[int, float] = {}

    def is_argmax_invariant(self) -> bool:
        """Return True: the likeliest token always stays."""
        return True

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Take in which requests joined, left or moved in the batch."""
        process_dict_updates(self._top_p, batch_update, lambda params, _, __: (params.extra_args or {}).get(TOP_P))

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask the rows of requests with top-p, in place."""
        for row, top_p in self._top_p.items():
            mask_top_p(logits[row], top_p)
        return logits


def mask_top_p(logits: torch.Tensor, top_p: float) -> None:
    """Set to minus infinity, in place, what vLLM's top-p sets so.

    A token stays where the tokens before it, from the likeliest on, hold less than `top_p`. Where a mass comes too near
    to `top_p`, or equal logits stand on both sides of the cut, vLLM's own function decides, on the whole vocabulary.

    Args:
        logits: one row, of shape (vocabulary,), in float32.
        top_p: in (0, 1).
    """
    probabilities = logits.softmax(dim=-1)
    # Summed again: over a whole vocabulary the sum inside the softmax is wrong by up to 2e-5.
    mass = top_p * float(probabilities.sum())
    likely = (probabilities >= MARGIN).nonzero().squeeze(1)
    descending, order = logits[likely].sort(descending=True)
    held = probabilities[likely[order]].cumsum(0, dtype=torch.float64)
    kept = 1 + int((held < mass).sum())
    beside_the_cut = held[max(kept - 2, 0) : kept]
    if (
        kept > len(likely)
        or bool(((beside_the_cut - mass).abs() <= MARGIN).any())
        or bool((descending[kept:] == descending[kept - 1]).any())
    ):
        logits.copy_(apply_top_k_top_p(logits.unsqueeze(0), None, torch.tensor([top_p]))[0])
    else:
        logits.masked_fill_(logits < descending[kept - 1], -torch.inf)


class Penalised(NamedTuple):
    """A request with penalties; `output` is vLLM's own list, which grows."""

    prompt: torch.Tensor
    output: Sequence[int]
    penalties: Sequence[float]


class Penalties(LogitsProcessor):
    """Penalises the tokens of prompts and outputs as vLLM does, before temperature."""

    def __init__(self, vllm_config: "VllmConfig", device: torch.device, is_pin_memory: bool) -> None:
        self._requests: dict[int, Penalised] = {}

    def is_argmax_invariant(self) -> bool:
        """Return False: penalties change which token is the likeliest."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Take in which requests joined, left or moved in the batch."""
        process_dict_updates(self._requests, batch_update, _penalised)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Penalise the rows of requests with penalties, in place."""
        if self._requests:
            penalise(logits, self._requests)
        return logits


def _penalised(params: SamplingParams, prompt: list[int] | None, output: list[int]) -> Penalised | None:
    penalties = (params.extra_args or {}).get(PENALTIES)
    return None if penalties is None else Penalised(_ids(prompt or []), output, penalties)


def penalise(logits: torch.Tensor, requests: Mapping[int, Penalised]) -> None:
    """Apply vLLM's own function, in place, to the columns of those tokens that stand in any of the requests.

    Args:
        logits: of shape (requests in the batch, vocabulary), in float32.
        requests: by row; rows that are left out stay as they are.
    """
    prompts = [request.prompt for request in requests.values()]
    outputs = [_ids(request.output) for request in requests.values()]
    columns, places = torch.unique(torch.cat(prompts + outputs), return_inverse=True)
    ids = places.split([len(some) for some in prompts + outputs])
    prompt_ids, output_ids = (
        pad_sequence(some, batch_first=True, padding_value=len(columns))
        for some in (ids[: len(prompts)], ids[len(prompts) :])
    )
    penalties = torch.tensor([request.penalties for request in requests.values()], dtype=torch.float32)
    present = torch.tensor(list(requests)).unsqueeze(1), columns
    logits[present] = apply_penalties(logits[present], prompt_ids, output_ids, *penalties.unbind(1))


def _ids(tokens: Sequence[int]) -> torch.Tensor:
    """Return the tokens; -1 stands where vLLM does not know one yet."""
    return torch.tensor([token for token in tokens if token >= 0], dtype=torch.int64)
