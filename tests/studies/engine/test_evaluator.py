"""The path of every request through store, backend and judge."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from ablations.core.condition import Condition, DecodingParams
from ablations.core.errors import BackendError, JudgeError
from ablations.core.records import Completion, JudgedTurn, Judgment, Query, Score
from ablations.judges.base import NO_REPLY
from ablations.prompts.components import build_parts
from ablations.storage.store import Store
from ablations.studies.engine.evaluator import Evaluator, request_seed
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.rows import row_counts

PARTS = build_parts(shots=1)
SAMPLED = Condition(DecodingParams(temperature=0.7), PARTS)
GREEDY = Condition(DecodingParams(temperature=0.0), PARTS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'store.db'}")


def evaluate(evaluator: Evaluator, condition: Condition = SAMPLED, replicate: int = 0) -> list[JudgedTurn]:
    return asyncio.run(evaluator.evaluate(condition, make_queries(), replicate, lambda turn, keys: None))


def test_every_turn_of_every_query_is_generated_and_judged_once(store: Store) -> None:
    backend, judge = FakeBackend(), FakeJudge()
    turns = evaluate(Evaluator(backend, judge, store, seed=0))
    assert [(turn.query.id, turn.turn) for turn in turns] == [(f"q{n}", t) for n in range(4) for t in (1, 2)]
    assert (len(backend.requests), judge.judged) == (8, 8)
    assert row_counts(store)["completions"] == row_counts(store)["judgments"] == 8


def test_the_second_turn_shows_the_models_own_cleaned_first_answer(store: Store) -> None:
    backend = FakeBackend()
    turns = evaluate(Evaluator(backend, FakeJudge(), store, seed=0))
    first = turns[0].completion
    second = next(text for text, _, _ in backend.requests if "question 0 turn 1" in text)
    assert f"# Answer:\n```\n{first.answer}\n```\n" in second
    assert f"{first.text}\n```" not in second


def test_nothing_stored_is_asked_again(store: Store) -> None:
    first = evaluate(Evaluator(FakeBackend(), FakeJudge(), store, seed=0))
    backend, judge = FakeBackend(), FakeJudge()
    evaluator = Evaluator(backend, judge, store, seed=0)
    assert evaluate(evaluator) == first
    assert (backend.requests, judge.judged, evaluator.progress.reused) == ([], 0, 8)


def test_whether_everything_is_stored_is_known_without_asking(store: Store) -> None:
    whole, queries = Evaluator(FakeBackend(), FakeJudge(), store, seed=0), make_queries()
    assert not whole.stored(SAMPLED, queries, 0)
    evaluate(whole)
    backend, judge = FakeBackend(), FakeJudge()
    again = Evaluator(backend, judge, store, seed=0)
    assert again.stored(SAMPLED, queries, 0)
    assert not again.stored(SAMPLED, queries, 1)
    assert not again.stored(SAMPLED, make_queries(5), 0)
    assert not Evaluator(backend, judge, store, seed=1).stored(SAMPLED, queries, 0)
    assert (backend.requests, judge.judged) == ([], 0)


def test_what_a_judge_would_be_asked_again_does_not_count_as_stored(store: Store) -> None:
    class Silent(FakeJudge):
        async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
            return Judgment(self.name, Score(None, NO_REPLY))

    evaluate(Evaluator(FakeBackend(), Silent(), store, seed=0))
    again = Evaluator(FakeBackend(), FakeJudge(), store, seed=0)
    assert not again.stored(SAMPLED, make_queries(), 0)
    again.asks_again = False
    assert again.stored(SAMPLED, make_queries(), 0)


def test_equal_requests_in_flight_are_sent_once(store: Store) -> None:
    backend = FakeBackend()
    evaluator = Evaluator(backend, FakeJudge(), store, seed=0)
    same = Condition(DecodingParams(temperature=0.0, top_p=0.5), PARTS)

    async def both() -> None:
        runs = (evaluator.evaluate(c, make_queries(), 0, lambda turn, keys: None) for c in (GREEDY, same))
        first, second = await asyncio.gather(*runs)
        assert first == second

    asyncio.run(both())
    assert len(backend.requests) == 8


def test_a_cancelled_trial_does_not_take_a_shared_request_with_it(store: Store) -> None:
    backend = FakeBackend()
    evaluator = Evaluator(backend, FakeJudge(), store, seed=0)

    async def cancel_one() -> list[JudgedTurn]:
        runs = [
            asyncio.ensure_future(evaluator.evaluate(GREEDY, make_queries(), 0, lambda turn, keys: None))
            for _ in range(2)
        ]
        await asyncio.sleep(0.0005)
        runs[0].cancel()
        return await runs[1]

    assert len(asyncio.run(cancel_one())) == 8


def test_replicates_differ_in_their_seeds_alone_even_when_greedy(store: Store) -> None:
    backend = FakeBackend()
    evaluator = Evaluator(backend, FakeJudge(), store, seed=0)
    evaluate(evaluator, GREEDY, replicate=0)
    evaluate(evaluator, GREEDY, replicate=1)
    assert {seed for _, _, seed in backend.requests} == {0, 1}
    assert len(backend.requests) == 16


def test_conditions_share_random_numbers_and_queries_do_not(store: Store) -> None:
    backend = FakeBackend()
    evaluator = Evaluator(backend, FakeJudge(), store, seed=0)
    evaluate(evaluator, SAMPLED)
    seeds = sorted(seed for _, _, seed in backend.requests)
    backend.requests.clear()
    evaluate(evaluator, Condition(DecodingParams(temperature=0.9), PARTS))
    assert sorted(seed for _, _, seed in backend.requests) == seeds
    assert len(set(seeds)) == 8


@pytest.mark.parametrize("changed", [(1, "q", 1, 0), (0, "r", 1, 0), (0, "q", 2, 0), (0, "q", 1, 1)])
def test_each_part_of_a_seed_changes_it(changed: tuple[int, str, int, int]) -> None:
    assert request_seed(*changed) != request_seed(0, "q", 1, 0)
    assert 0 <= request_seed(*changed) < 2**31


def test_a_failing_backend_raises_its_own_error_and_keeps_what_was_stored(store: Store) -> None:
    with pytest.raises(BackendError, match="out of order"):
        evaluate(Evaluator(FakeBackend(fail_after=5), FakeJudge(), store, seed=0))
    assert row_counts(store)["completions"] >= 4


def test_a_failing_judge_raises_its_own_error_and_keeps_the_completions(store: Store) -> None:
    with pytest.raises(JudgeError, match="out of order"):
        evaluate(Evaluator(FakeBackend(), FakeJudge(broken=True), store, seed=0))
    assert row_counts(store)["judgments"] == 0
    assert row_counts(store)["completions"] >= 1
