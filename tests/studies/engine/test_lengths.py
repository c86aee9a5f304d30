"""Claims about lengths: what does not fit is refused with what would, and the largest number that fits is found."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from ablations.core.condition import Condition, DecodingParams
from ablations.core.errors import PromptError
from ablations.prompts.components import build_parts
from ablations.studies.planning.lengths import check_prompt_lengths, largest_fitting, longest_need
from tests.support.fakes import FakeBackend, make_queries

PARTS = build_parts(shots=1)
SAMPLED = Condition(DecodingParams(temperature=0.7), PARTS)
GREEDY = Condition(DecodingParams(temperature=0.0), PARTS)


def test_a_prompt_that_may_not_fit_is_refused_with_what_fits() -> None:
    backend = FakeBackend(context_length=400)
    with pytest.raises(PromptError, match=r"query 'q0' turn 2: the prompt takes \d+ tokens .* context holds 400"):
        asyncio.run(check_prompt_lengths(backend, [Condition(DecodingParams(max_tokens=60), PARTS)], make_queries()))


def test_prompts_that_fit_pass() -> None:
    asyncio.run(check_prompt_lengths(FakeBackend(context_length=2000), [SAMPLED, GREEDY], make_queries()))


def with_demonstrations(number: int) -> Iterator[Condition]:
    for style in ("terse", "warm"):  # the longer one decides
        yield Condition(DecodingParams(max_tokens=20), build_parts(shots=number, style=style))


def needed(number: int) -> int:
    """Return the tokens that the longest prompt with so many demonstrations needs."""
    found = [asyncio.run(longest_need(FakeBackend(), one, make_queries())) for one in with_demonstrations(number)]
    return max(need.tokens for need in found if need is not None)


def fitting(context: int | None, numbers: Sequence[int], most: int = 10) -> tuple[int, int] | None:
    backend = FakeBackend(context_length=context)
    return asyncio.run(largest_fitting(backend, with_demonstrations, make_queries(), numbers, most))


def test_where_all_numbers_fit_there_is_nothing_to_say() -> None:
    assert fitting(needed(10), [0, 3, 10]) is None
    assert fitting(needed(10) - 1, [0, 3, 10]) == (9, needed(10))


@pytest.mark.parametrize("largest", range(9))
def test_the_largest_number_that_fits_is_found_between_the_listed_ones(largest: int) -> None:
    assert needed(largest) < needed(largest + 1)
    for context in (needed(largest), needed(largest + 1) - 1):
        assert fitting(context, [0, 9]) == (largest, needed(9))


def test_the_first_listed_number_that_does_not_fit_says_what_it_needs() -> None:
    assert fitting(needed(4), [0, 2, 6, 8, 10]) == (4, needed(6))


def test_where_not_even_the_lowest_number_fits_the_answer_is_minus_one() -> None:
    assert fitting(needed(0) - 1, [0, 5, 10]) == (-1, needed(0))


def test_no_more_than_there_are_is_said_to_fit() -> None:
    assert fitting(needed(8), [0, 10], most=3) == (3, needed(10))


def test_where_the_context_is_unknown_or_tokens_are_not_counted_all_fit() -> None:
    class NoCount(FakeBackend):
        async def count_tokens(self, text: str, templated: bool = False) -> None:  # type: ignore[override]
            return None

    assert fitting(None, [0, 10]) is None
    assert (
        asyncio.run(largest_fitting(NoCount(context_length=1), with_demonstrations, make_queries(), [0, 10], 10))
        is None
    )
