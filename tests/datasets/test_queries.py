"""Claims about evaluation sets: what is built in, what can be read, and how a broken line is named."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ablations.core.errors import QueryError
from ablations.core.records import Check, Query
from ablations.datasets.queries import DEFAULT_QUERIES, choose_subset, load_queries, second_answers
from ablations.prompts.components import built_in_demonstrations

MT_BENCH_CATEGORIES = {"writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"}
BUILT_IN = load_queries(DEFAULT_QUERIES)
GOOD = '{"id": "a", "query": "Hi?"}'


def write(tmp_path: Path, text: str, name: str = "mine.jsonl") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def grams(text: str, n: int = 5) -> set[tuple[str, ...]]:
    words = "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}


def test_the_built_in_set_covers_mt_benchs_categories_evenly() -> None:
    counts = Counter(query.category for query in BUILT_IN)
    assert len(BUILT_IN) >= 40
    assert set(counts) == MT_BENCH_CATEGORIES
    assert len(set(counts.values())) == 1


@pytest.mark.parametrize("query", BUILT_IN, ids=lambda query: query.id)
def test_a_built_in_query_has_two_turns_a_reference_and_a_second_answer_for_each(query: Query) -> None:
    others = second_answers()[query.id]
    assert len(query.turns) == len(query.references) == len(others) == 2
    for reference, other in zip(query.references, others, strict=True):
        assert reference is not None
        assert reference.strip()
        assert other.strip()
        assert reference != other


def test_second_answers_belong_to_the_built_in_queries_and_no_others() -> None:
    assert set(second_answers()) == {query.id for query in BUILT_IN}


def test_no_demonstration_gives_a_built_in_query_away() -> None:
    leaks = []
    for shown in built_in_demonstrations():
        own = grams(shown.query)
        assert own, "a demonstration's query is too short to be compared"
        for query in BUILT_IN:
            for turn in query.turns:
                shared = len(own & grams(turn)) / max(min(len(own), len(grams(turn))), 1)
                if shown.query == turn or shared > 0.5:
                    leaks.append((shown.id, query.id, shared))
    assert leaks == []


def test_built_in_queries_differ_from_each_other() -> None:
    turns = [query.turns[0] for query in BUILT_IN]
    overlaps = [
        (one, other)
        for at, one in enumerate(turns)
        for other in turns[at + 1 :]
        if len(grams(one) & grams(other)) > 0.5 * min(len(grams(one)), len(grams(other)))
    ]
    assert overlaps == []


def test_mt_bench_has_80_two_turn_queries_and_references_for_30(shared_data: Path) -> None:
    folder = shared_data / "mt_bench"
    queries = load_queries(str(folder / "question.jsonl"), folder / "reference_answer.gpt-4.jsonl")
    assert (len(queries), queries[0].id, queries[-1].id) == (80, "81", "160")
    assert Counter(query.category for query in queries) == dict.fromkeys(MT_BENCH_CATEGORIES, 10)
    assert all(len(query.turns) == 2 for query in queries)
    lines = (folder / "reference_answer.gpt-4.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {str(row["question_id"]): tuple(row["choices"][0]["turns"]) for row in map(json.loads, lines)}
    joined = [query for query in queries if query.id in answers]
    assert Counter(query.category for query in joined) == {"math": 10, "reasoning": 10, "coding": 10}
    assert all(query.references == answers[query.id] for query in joined)


def test_reference_answers_of_another_set_are_refused(tmp_path: Path) -> None:
    answers = write(tmp_path, '{"question_id": 5, "choices": [{"turns": ["x"]}]}\n', "answers.jsonl")
    with pytest.raises(QueryError, match="the two files do not belong together"):
        load_queries(write(tmp_path, GOOD), Path(answers))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"question_id": 5}', "line 2 lacks question_id or choices"),
        ('{"question_id": 5, "choices": []}', "line 2 lacks"),
        ("{", "line 2 is not valid JSON"),
    ],
)
def test_a_broken_reference_answer_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    answers = write(tmp_path, f'{{"question_id": "a", "choices": [{{"turns": ["x"]}}]}}\n{text}\n', "answers.jsonl")
    with pytest.raises(QueryError, match=message):
        load_queries(write(tmp_path, GOOD), Path(answers))


def test_missing_reference_answers_are_named_by_their_flag(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"--reference-answers .*absent\.jsonl is not a file"):
        load_queries(DEFAULT_QUERIES, tmp_path / "absent.jsonl")


def test_an_alpaca_eval_list_has_outputs_as_references_and_item_numbers_as_ids(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Name a fruit.", "output": "Apple.", "dataset": "x", "generator": "y"},
        {"instruction": "Name\na tree."},
    ]
    queries = load_queries(write(tmp_path, json.dumps(rows, indent=2), "alpaca_eval.json"))
    assert queries == (
        Query("1", "", ("Name a fruit.",), ("Apple.",)),
        Query("2", "", ("Name\na tree.",), (None,)),
    )


@pytest.mark.parametrize(
    ("row", "query"),
    [
        ({"query": "Hi?"}, Query("1", "", ("Hi?",))),
        ({"prompt": "Hi?", "category": "math", "id": 7}, Query("7", "math", ("Hi?",))),
        ({"instruction": "Hi?", "reference": "Yo."}, Query("1", "", ("Hi?",), ("Yo.",))),
        ({"question": "Hi?", "question_id": "x"}, Query("x", "", ("Hi?",))),
        ({"turns": ["a", "b"], "reference": ["A", None]}, Query("1", "", ("a", "b"), ("A", None))),
        ({"turns": ["a", "b"], "references": ["A"]}, Query("1", "", ("a", "b"), ("A", None))),
    ],
)
def test_a_line_of_jsonl_becomes_a_query(tmp_path: Path, row: dict[str, Any], query: Query) -> None:
    assert load_queries(write(tmp_path, json.dumps(row) + "\n\n")) == (query,)


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b"])
def test_a_line_separator_inside_a_text_is_no_new_line(tmp_path: Path, separator: str) -> None:
    row = json.dumps({"query": f"One{separator}two?"}, ensure_ascii=False)
    assert load_queries(write(tmp_path, f"{row}\r\n"))[0].turns == (f"One{separator}two?",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": ', "is not valid JSON: .* correct that line"),
        ('["query"]', "is not an object but list; give one JSON object a row"),
        ('{"text": "Hi?"}', "has neither turns nor instruction, query, prompt or question"),
        ('{"turns": "Hi?"}', "turns and references must be lists"),
        ('{"turns": []}', "has 0 turns"),
        ('{"turns": ["a", "b", "c"]}', "has 3 turns"),
        ('{"turns": ["a", 5]}', "empty turn"),
        ('{"query": "  "}', "empty turn"),
        ('{"query": null}', "has neither turns nor"),
        ('{"query": "Hi?", "reference": 5}', "turns and references must be lists"),
        ('{"query": "Hi?", "reference": [5]}', "every reference must be a text or null"),
        ('{"query": "Hi?", "reference": ["a", "b"]}', "1 turns and 2 references"),
        ('{"query": "Hi?", "id": "a\\u0000"}', "holds a NUL, which no database takes"),
        ('{"query": "Hi?", "id": "\\ud800"}', "holds a lone surrogate"),
    ],
)
def test_a_broken_line_is_named_by_its_number(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(QueryError, match=rf"mine\.jsonl line 3:? .*{message}"):
        load_queries(write(tmp_path, f"{GOOD}\n\n{line}\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"instruction": "a"}, "b"]', "item 2 is not an object but str"),
        ('[{"instruction": "a"},\n {"output": "b"}]', "item 2 has neither"),
        ('[\n{"instruction": "a"},\n{]', "line 3 is not valid JSON"),
        ("[]", "has no row; give a file with at least one query"),
        ("\n\n", "has no row"),
    ],
)
def test_a_broken_or_empty_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        load_queries(write(tmp_path, text))


@pytest.mark.parametrize("second", [GOOD, '{"question_id": "a", "prompt": "Other?"}'])
def test_an_id_that_occurs_twice_is_refused(tmp_path: Path, second: str) -> None:
    with pytest.raises(QueryError, match="the id 'a' occurs twice; ids must be unique"):
        load_queries(write(tmp_path, f"{GOOD}\n{second}\n"))


def test_an_unknown_set_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(QueryError, match="'instructons' is neither a built-in set nor a file; did you mean instruc"):
        load_queries("instructons")


def test_a_file_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"query": "Grüße?"}'.encode("latin-1"))
    with pytest.raises(QueryError, match=r"latin\.jsonl cannot be read.*give a UTF-8 file"):
        load_queries(str(path))


@pytest.mark.parametrize("limit", [1, 5, 8, 9, 24, 47])
def test_a_subset_is_spread_over_the_categories_in_the_order_of_the_set(limit: int) -> None:
    subset = choose_subset(BUILT_IN, limit, seed=1)
    counts = Counter(query.category for query in subset)
    assert len(subset) == limit
    assert max(counts.values()) - (min(counts.values()) if len(counts) == 8 else 0) <= 1
    assert list(subset) == [query for query in BUILT_IN if query in subset]


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_a_smaller_subset_is_contained_in_every_larger_one_of_its_seed(seed: int) -> None:
    subsets = [set(choose_subset(BUILT_IN, limit, seed)) for limit in range(1, len(BUILT_IN) + 1)]
    assert all(small < large for small, large in pairwise(subsets))


def test_a_seed_decides_the_subset() -> None:
    one, again, other = (choose_subset(BUILT_IN, 8, seed) for seed in (3, 3, 4))
    assert one == again != other


@pytest.mark.parametrize("limit", [None, len(BUILT_IN), 10_000])
def test_no_limit_and_a_large_one_keep_every_query(limit: int | None) -> None:
    assert choose_subset(BUILT_IN, limit, seed=0) == BUILT_IN


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_leaves_nothing_is_refused(limit: int) -> None:
    with pytest.raises(QueryError, match=f"--limit {limit} leaves no query; give at least 1"):
        choose_subset(BUILT_IN, limit, seed=0)


CHECK = {"id": "answer:number", "kwargs": {"value": 0, "tolerance": None}}
CHECKED: dict[str, tuple[dict[str, Any], Query]] = {
    "own, of one turn": (
        {"id": "a", "query": "Q?", "checks": [CHECK]},
        Query("a", "", ("Q?",), (), ((Check("answer:number", {"value": 0}),),)),
    ),
    "own, of the second turn alone": (
        {"id": "a", "turns": ["Q?", "R?"], "checks": [None, [{"id": "finished"}]]},
        Query("a", "", ("Q?", "R?"), (), ((), (Check("finished"),))),
    ),
    "IFEval's, with a null for what a check does not take": (
        {
            "key": 1000,
            "prompt": "Q?",
            "instruction_id_list": ["keywords:frequency", "punctuation:no_comma"],
            "kwargs": [{"keyword": "a", "frequency": 0, "relation": None}, None],
        },
        Query(
            "1000",
            "",
            ("Q?",),
            (),
            ((Check("keywords:frequency", {"keyword": "a", "frequency": 0}), Check("punctuation:no_comma")),),
        ),
    ),
    "Multi-IF's, whose third turn is left out": (
        {
            "key": "7:1:de",
            "language": "German",
            **{f"turn_{turn}_prompt": json.dumps({"role": "user", "content": f"F{turn}?"}) for turn in (1, 2, 3)},
            **{f"turn_{turn}_instruction_id_list": json.dumps(["finished"] * turn) for turn in (1, 2, 3)},
            **{f"turn_{turn}_kwargs": json.dumps(["{}"] * turn) for turn in (1, 2, 3)},
        },
        Query("7:1:de", "German", ("F1?", "F2?"), (), ((Check("finished"),), (Check("finished"),) * 2)),
    ),
}


@pytest.mark.parametrize("form", CHECKED)
def test_checks_are_read_in_every_form(tmp_path: Path, form: str) -> None:
    row, query = CHECKED[form]
    assert load_queries(write(tmp_path, json.dumps(row))) == (query,)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Q?", "instruction_id_list": ["a:b"], "kwargs": []}, "lists of one length"),
        ({"prompt": "Q?", "instruction_id_list": ["a:b"]}, "lists of one length"),
        ({"query": "Q?", "checks": "finished"}, "checks must be a list"),
        ({"query": "Q?", "checks": [["finished"]]}, "a check is"),
        ({"query": "Q?", "checks": [{"id": "finished", "kwargs": [1]}]}, "a check is"),
        ({"query": "Q?", "checks": [{"id": "finished", "weight": 2}]}, "has weight beside id and kwargs"),
        ({"query": "Q?", "checks": [[], [{"id": "finished"}]]}, "1 turns and checks of 2"),
        ({"turns": ["Q?", "R?"], "checks": [[{"id": "finished"}]]}, "2 turns and checks of 1"),
        ({"turns": ["Q?", "R?"], "checks": [{"id": "finished"}]}, "2 turns and checks of 1"),
        ({"query": "Q?", "check": [{"id": "finished"}]}, "the field 'check' is not read; did you mean checks?"),
        ({"Prompt": "Q?"}, "the field 'Prompt' is not read; did you mean prompt?"),
        ({"turn_1_prompt": "{"}, "row of Multi-IF's"),
    ],
)
def test_broken_checks_are_named_by_their_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=r"mine\.jsonl line 1.*") as raised:
        load_queries(write(tmp_path, json.dumps(row)))
    assert message in str(raised.value)


def test_fields_that_nothing_reads_are_counted(tmp_path: Path) -> None:
    rows = [{"id": "a", "query": "Q?", "answer": "A", "source": "web"}, {"id": "b", "query": "R?", "answer": "B"}]
    unread: Counter[str] = Counter()
    load_queries(write(tmp_path, "\n".join(map(json.dumps, rows))), unread=unread)
    assert unread == {"answer": 2, "source": 1}


@pytest.mark.parametrize("source", ["short", "instructions"])
def test_built_in_sets_have_no_field_to_report(source: str) -> None:
    unread: Counter[str] = Counter()
    load_queries(source, unread=unread)
    assert not unread
