"""Claims about lengths: what does not fit is refused with what would, and the largest number that fits is found."""

import asyncio

import pytest

from ablations.conditions import Condition, DecodingParams
from ablations.errors import PromptError
from ablations.lengths import check_prompt_lengths
from ablations.prompts import build_parts
from tests.fakes import FakeBackend, make_queries

PARTS = build_parts(demonstrations=1)
SAMPLED = Condition(DecodingParams(temperature=0.7), PARTS)
GREEDY = Condition(DecodingParams(temperature=0.0), PARTS)


def test_a_prompt_that_may_not_fit_is_refused_with_what_fits() -> None:
    backend = FakeBackend(context_length=400)
    with pytest.raises(PromptError, match=r"query 'q0' turn 2: the prompt takes \d+ tokens .* context holds 400"):
        asyncio.run(check_prompt_lengths(backend, [Condition(DecodingParams(max_tokens=60), PARTS)], make_queries()))


def test_prompts_that_fit_pass() -> None:
    asyncio.run(check_prompt_lengths(FakeBackend(context_length=2000), [SAMPLED, GREEDY], make_queries()))
