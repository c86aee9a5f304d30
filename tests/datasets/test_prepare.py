"""Claims about pools made ready: what leaks is dropped or said to stay, and lengths are those of the model's tokens."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations.core.errors import PoolError
from ablations.core.records import Query
from ablations.datasets import prepare as preparing
from ablations.datasets.prepare import CHARACTERS_PER_TOKEN, PoolSettings, Prepared, prepare_pool
from ablations.datasets.queries import load_queries
from ablations.models.embedding import Encoder, Vectors

SAME, NEARLY = "why is the sky blue", "Blue is the sky why, then?"
CLEAN = ("How do boats float?", "Name a fish.")
QUERIES = (
    Query("sky", "", ("Tell me a joke.", "Why is the sky blue?")),
    Query("then", "", ("why is the sky blue, then",)),
)


class WordEncoder(Encoder):
    """Bags of hashed words: texts of the same words in another order have a cosine of 1."""

    identity = "words"
    encoded = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.encoded += len(texts)
        vectors = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in "".join(letter if letter.isalnum() else " " for letter in text.lower()).split():
                row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 256] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "Encoder", WordEncoder)


async def words(text: str) -> int:
    return len(text.split())


async def uncounted(text: str) -> None:
    return None


def write_pool(folder: Path, *queries: str, answer: str = "yes") -> str:
    path = folder / "pool.jsonl"
    rows = [{"id": f"d{number}", "query": query, "answer": answer} for number, query in enumerate(queries, start=1)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def write_prompt(folder: Path, *queries: str) -> Path:
    path = folder / "prompt.txt"
    path.write_text(
        "".join(f"# Query:\n```\n{query}\n```\n\n# Answer:\n```\nyes\n```\n\n" for query in queries), encoding="utf-8"
    )
    return path


def prepare(
    name: str, queries: Sequence[Query] = QUERIES, count: Any = None, built_in: bool = False, **more: Any
) -> Prepared:
    settings = PoolSettings(name, **more)
    return asyncio.run(prepare_pool(settings, queries, built_in, seed=0, count_tokens=count, memory=None))


def left(prepared: Prepared) -> list[str]:
    return [one.query for one in prepared.chooser.everything]


def test_a_demonstration_that_leaks_is_dropped_and_listed(tmp_path: Path) -> None:
    prepared = prepare(write_pool(tmp_path, CLEAN[0], SAME, NEARLY, CLEAN[1]))
    assert left(prepared) == list(CLEAN)
    assert [one.demonstration for one in prepared.overlaps] == ["d2", "d3"]
    assert prepared.notes == (
        "2 demonstrations equal or nearly equal an evaluation query and are dropped",
        "demonstration d2 is query sky turn 2",
        "demonstration d3 is nearly (cosine 1.00) query then turn 1",
    )


def test_a_leak_that_is_allowed_stays_is_listed_and_makes_another_study(tmp_path: Path) -> None:
    name = write_pool(tmp_path, CLEAN[0], SAME)
    allowed, dropped = prepare(name, allow_overlap=True), prepare(name)
    assert left(allowed) == [CLEAN[0], SAME]
    assert allowed.notes == (
        "1 demonstrations equal or nearly equal an evaluation query; --allow-overlap",
        "demonstration d2 is query sky turn 2",
    )
    assert allowed.overlaps == dropped.overlaps
    assert allowed.identity != dropped.identity
    assert (allowed.identity["allow_overlap"], dropped.identity["allow_overlap"]) == (True, False)


def test_a_pool_without_leaks_has_nothing_to_say_and_the_whole_of_it_is_left(tmp_path: Path) -> None:
    prepared = prepare(write_pool(tmp_path, *CLEAN))
    assert (left(prepared), prepared.overlaps, prepared.notes) == (list(CLEAN), (), ())


def test_what_the_pool_leaves_out_is_said_first(tmp_path: Path) -> None:
    prepared = prepare(write_pool(tmp_path, *CLEAN, SAME, CLEAN[0]))
    assert prepared.notes[0] == "1 of 4 rows repeat another one"
    assert prepared.notes[1].startswith("1 demonstrations equal")


def test_the_demonstrations_of_a_greedy_search_leak_too(tmp_path: Path) -> None:
    prepared = prepare(write_pool(tmp_path, *CLEAN), greedy=write_prompt(tmp_path, "Count to ten.", SAME))
    assert [one.query for one in prepared.chooser.greedy] == ["Count to ten."]
    assert left(prepared) == list(CLEAN)
    assert prepared.notes[1:] == ("demonstration greedy-2 is query sky turn 2",)


def test_a_leak_of_a_greedy_search_drops_no_demonstration_of_the_pool(tmp_path: Path) -> None:
    path = tmp_path / "numbered.jsonl"
    path.write_text("\n".join(json.dumps({"query": query, "answer": "yes"}) for query in CLEAN), encoding="utf-8")
    prepared = prepare(str(path), greedy=write_prompt(tmp_path, "Count to ten.", SAME))
    assert left(prepared) == list(CLEAN)
    assert len(prepared.overlaps) == 1


def test_built_in_pools_and_queries_are_compared_by_text_alone() -> None:
    queries = load_queries("instructions")
    assert prepare("examples", queries, built_in=True).chooser.encoder.encoded == 0
    assert prepare("examples", queries, built_in=False).chooser.encoder.encoded > 64
    leaking = [Query("q", "", (prepare("examples", queries, built_in=True).chooser.everything[3].query,))]
    assert len(left(prepare("examples", leaking, built_in=True))) == 63


def test_a_file_is_embedded_whatever_the_queries_are(tmp_path: Path) -> None:
    assert left(prepare(write_pool(tmp_path, NEARLY, *CLEAN), built_in=True)) == list(CLEAN)


def test_a_greedy_prompt_beside_a_built_in_pool_is_embedded(tmp_path: Path) -> None:
    prepared = prepare("examples", built_in=True, greedy=write_prompt(tmp_path, NEARLY, "Count to ten."))
    assert [one.query for one in prepared.chooser.greedy] == ["Count to ten."]


def test_limits_count_the_tokens_of_query_and_answer(tmp_path: Path) -> None:
    name = write_pool(tmp_path, "one two three", "one", "one two", answer="four five")
    prepared = prepare(name, count=words, max_tokens_each=4)
    assert dict(prepared.chooser.lengths) == {"d1": 5, "d2": 3, "d3": 4}
    assert prepared.notes == ("1 demonstrations are longer than 4 tokens: left out",)
    assert [one.id for one in prepared.chooser.choose("first", 2).common] == ["d2", "d3"]
    assert left(prepared) == ["one two three", "one", "one two"]  # answers are still matched from the whole pool


def test_a_limit_on_all_of_a_prompt_passes_over_what_does_not_fit(tmp_path: Path) -> None:
    name = write_pool(tmp_path, "one", "one two three four", "one two", answer="five")
    prepared = prepare(name, count=words, max_tokens_total=5)
    assert [one.id for one in prepared.chooser.choose("first", 3).common] == ["d1", "d3"]
    assert prepared.notes == ()


def test_limits_and_what_was_counted_make_another_study(tmp_path: Path) -> None:
    name = write_pool(tmp_path, *CLEAN)
    identities = [
        prepare(name, count=count, **limits).identity
        for count, limits in (
            (words, {}),
            (words, {"max_tokens_each": 50}),
            (words, {"max_tokens_total": 50}),
            (uncounted, {"max_tokens_each": 50}),
        )
    ]
    assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == len(identities)


def test_without_limits_nothing_is_counted(tmp_path: Path) -> None:
    asked = []

    async def count(text: str) -> int:
        asked.append(text)
        return 1

    prepare(write_pool(tmp_path, *CLEAN), count=count)
    assert asked == []
    prepare(write_pool(tmp_path, *CLEAN), count=count, max_tokens_each=9)
    assert asked == [f"{query}\nyes" for query in CLEAN]


@pytest.mark.parametrize("count", [None, uncounted])
def test_where_a_server_does_not_count_tokens_are_estimated_and_that_is_said(tmp_path: Path, count: Any) -> None:
    name = write_pool(tmp_path, "x" * 10, "x" * 200, answer="y")
    prepared = prepare(name, count=count, max_tokens_each=20)
    assert CHARACTERS_PER_TOKEN == 4
    assert dict(prepared.chooser.lengths) == {"d1": 3, "d2": 51}  # 12 and 202 characters, rounded up
    assert prepared.notes == (
        "token counts are estimated from characters: the server does not count",
        "1 demonstrations are longer than 20 tokens: left out",
    )


@pytest.mark.parametrize(
    ("queries", "limits", "why"),
    [
        (
            (SAME, NEARLY),
            {},
            "2 demonstrations equal or nearly equal an evaluation query and are dropped; demonstration d1 is query sky",
        ),
        (
            CLEAN,
            {"max_tokens_each": 2},
            "2 demonstrations are longer than 2 tokens: left out; give another pool",
        ),
        ((SAME, CLEAN[0]), {"max_tokens_each": 2}, "1 demonstrations are longer than 2 tokens"),
    ],
)
def test_a_pool_of_which_nothing_is_left_is_refused_with_every_reason(
    tmp_path: Path, queries: Sequence[str], limits: dict[str, int], why: str
) -> None:
    with pytest.raises(PoolError, match=rf"nothing is left of the pool '.*pool\.jsonl': .*{why}"):
        prepare(write_pool(tmp_path, *queries), count=words, **limits)
