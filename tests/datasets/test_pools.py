"""Claims about pools: every usual shape of a row is read, nothing is dropped unsaid, and a broken row is named."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablations.core.errors import PoolError
from ablations.core.prompt import Demonstration
from ablations.datasets.pools import BUILT_IN, load_pool
from ablations.prompts.urial_file import ROLE_LINES

GOOD = {"query": "Hi?", "answer": "Hello."}
SAID = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
SHARED = [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]
SYSTEM = {"role": "system", "content": "Be kind."}
FIRST_AND_ANSWER = Demonstration("1", "Hi?", "Hello.")
FIRST_ALONE = Demonstration("1", "Hi?", None)

SHAPES: dict[str, dict[str, Any]] = {
    "query and answer": GOOD,
    "instruction and output": {"instruction": "Hi?", "output": "Hello."},
    "alpaca without input": {"instruction": "Hi?", "input": "", "output": "Hello."},
    "prompt and response": {"prompt": "Hi?", "response": "Hello."},
    "prompt and completion": {"prompt": "Hi?", "completion": "Hello."},
    "question and answer": {"question": "Hi?", "answer": "Hello."},
    "messages": {"messages": SAID},
    "messages with a system message": {"messages": [SYSTEM, *SAID]},
    "sharegpt": {"conversations": SHARED},
    "sharegpt with a system message": {"conversations": [{"from": "system", "value": "Be kind."}, *SHARED]},
    "turns and answers": {"turns": ["Hi?"], "answers": ["Hello."]},
}


def write(folder: Path, rows: str | list[Any], name: str = "mine.jsonl") -> str:
    path = folder / name
    path.write_text(rows if isinstance(rows, str) else "\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("row", SHAPES.values(), ids=SHAPES)
def test_every_shape_of_a_row_is_the_same_demonstration_in_a_list_and_in_lines(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    lines = load_pool(write(tmp_path, [row]))
    listed = load_pool(write(tmp_path, json.dumps([row], indent=1), "mine.json"))
    assert lines.demonstrations == listed.demonstrations == (FIRST_AND_ANSWER,)
    dropped = (
        ("1 of 1 conversations have a system message; the message is left out",) if "system" in json.dumps(row) else ()
    )
    assert lines.left_out == listed.left_out == dropped
    assert lines.identity == listed.identity


def test_alpacas_input_follows_its_instruction(tmp_path: Path) -> None:
    row = {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"}
    (one,) = load_pool(write(tmp_path, [row])).demonstrations
    assert (one.query, one.answer) == ("Translate.\n\nGuten Tag", "Good day")


@pytest.mark.parametrize(
    "row",
    [
        {"query": "Hi?"},
        {"query": "Hi?", "answer": None},
        {"messages": [SYSTEM, *SAID[:1]]},
        {"turns": ["Hi?"], "answers": [None]},
    ],
)
def test_a_query_without_an_answer_stands_alone(tmp_path: Path, row: dict[str, Any]) -> None:
    assert load_pool(write(tmp_path, [row])).demonstrations == (FIRST_ALONE,)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*SAID, *SAID]},
        {"conversations": [*SHARED, {"from": "human", "value": "Sure?"}]},
        {"turns": ["Hi?", "Sure?"], "answers": ["Hello.", "Yes."]},
    ],
)
def test_of_a_conversation_that_goes_on_the_first_exchange_is_used_and_that_is_said(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    pool = load_pool(write(tmp_path, [row, {"query": "Why?"}]))
    assert pool.demonstrations == (FIRST_AND_ANSWER, Demonstration("2", "Why?", None))
    assert pool.left_out == ("1 of 2 conversations have further turns; the first exchange is used",)


@pytest.mark.parametrize("whole", [False, True])
def test_messages_of_the_system_are_left_out_and_that_is_said(tmp_path: Path, whole: bool) -> None:
    pool = load_pool(write(tmp_path, [{"messages": [SYSTEM, *SAID]}, GOOD]), whole)
    assert [(one.query, one.answer) for one in pool.demonstrations] == [("Hi?", "Hello.")]
    assert pool.left_out[0] == "1 of 2 conversations have a system message; the message is left out"


def test_of_a_conversation_with_tools_what_stands_before_them_is_used_or_it_is_left_out_as_a_whole(
    tmp_path: Path,
) -> None:
    tool = {"role": "tool", "content": "4 degrees"}
    path = write(tmp_path, [{"messages": [SAID[0], tool, SAID[1]]}, {"query": "Why?", "answer": "So."}])
    first, _ = load_pool(path).demonstrations
    assert (first.query, first.answer) == ("Hi?", None)
    whole = load_pool(path, whole=True)
    assert [one.query for one in whole.demonstrations] == ["Why?"]
    assert whole.left_out == ("1 conversations are left out: they are not of user and assistant taking turns",)


@pytest.mark.parametrize("speaker", ["function_call", "observation", "tool_response"])
def test_whatever_tools_are_called_a_conversation_with_them_is_left_out_as_a_whole(
    tmp_path: Path, speaker: str
) -> None:
    said = [SHARED[0], {"from": speaker, "value": "x"}, SHARED[1]]
    rows = [{"conversations": said}, {"messages": [SYSTEM]}, {"messages": []}, GOOD]
    whole = load_pool(write(tmp_path, rows), whole=True)
    assert [one.query for one in whole.demonstrations] == ["Hi?"]
    assert whole.left_out == ("3 conversations are left out: they are not of user and assistant taking turns",)
    with pytest.raises(PoolError, match=r"holds no demonstration \(3 conversations are left out: .*\); give one"):
        load_pool(write(tmp_path, rows[:3]), whole=True)


def test_repeats_are_dropped_and_that_is_said_while_another_answer_is_no_repeat(tmp_path: Path) -> None:
    pool = load_pool(write(tmp_path, [GOOD, GOOD, {**GOOD, "answer": "Hey."}, GOOD]))
    assert [(one.id, one.answer) for one in pool.demonstrations] == [("1", "Hello."), ("3", "Hey.")]
    assert pool.left_out == ("2 of 4 rows repeat another one",)


def test_ids_are_kept_where_they_differ_and_numbers_where_they_do_not(tmp_path: Path) -> None:
    rows = [{"id": name, "query": f"{number}?"} for number, name in enumerate(("b", "a", "c"))]
    assert [one.id for one in load_pool(write(tmp_path, rows)).demonstrations] == ["b", "a", "c"]
    rows[2]["id"] = "b"
    assert [one.id for one in load_pool(write(tmp_path, rows)).demonstrations] == ["1", "2", "3"]


def test_the_identity_is_what_is_said_and_not_how_rows_are_called(tmp_path: Path) -> None:
    one, renamed, other = (
        load_pool(write(tmp_path, [row])).identity
        for row in (GOOD, {"id": "x", "prompt": "Hi?", "response": "Hello."}, {**GOOD, "answer": "Hey."})
    )
    assert one == renamed != other


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "Hi?"}, "line 2 has none of query, instruction, prompt, question, messages, conversations"),
        (["Hi?"], "line 2 is not an object but list"),
        ({"query": " "}, "line 2: the query is empty or no text"),
        ({"query": 5}, "line 2: the query is empty or no text"),
        ({"query": "Hi?", "answer": 5}, "line 2: the answer is int; give a text, or null"),
        ({"query": "Hi?", "answer": ["Hello."]}, "line 2: the answer is list"),
        ({"turns": ["Hi?"], "answers": "Hello."}, "line 2: turns and answers must be lists"),
        ({"turns": ["Hi?"], "answers": []}, "line 2: turns and answers must be lists"),
        ({"turns": [5], "answers": ["Hello."]}, "line 2: turns is empty or no text"),
        ({"messages": "Hi?"}, "line 2: the conversation must be a list of objects with role and content"),
        ({"conversations": ["Hi?"]}, "line 2: the conversation must be a list of objects with from and value"),
        ({"messages": []}, "line 2: the conversation does not begin with a message of the user"),
        ({"messages": [SYSTEM]}, "line 2: the conversation does not begin with a message of the user"),
        ({"messages": SAID[1:]}, "line 2: the conversation does not begin with a message of the user"),
        (
            {"messages": [{"role": "assitant", "content": "x"}]},
            "line 2: the speaker 'assitant' is not known; did you mean assistant",
        ),
        ({"conversations": [{"role": "user", "content": "Hi?"}]}, "line 2: the speaker None is not known"),
        ({"messages": [{"role": "user", "content": None}]}, "line 2: content is empty or no text"),
        ({"messages": [SAID[0], {"role": "assistant", "content": ["x"]}]}, "line 2: the answer is list"),
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(PoolError, match=rf"mine\.jsonl {message}"):
        load_pool(write(tmp_path, [GOOD, row]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"query": "Hi?"}\n{"query": \n', r"mine\.json line 2 is not valid JSON"),
        ('[{"query": "Hi?"},\n{]', r"mine\.json line 2 is not valid JSON"),
        ('[{"query": "Hi?"},\n\n{"text": "x"}]', r"mine\.json item 2 has none of"),
        ("", r"mine\.json' holds no demonstration; give one with at least one row"),
        ("[]", r"mine\.json' holds no demonstration"),
    ],
)
def test_a_broken_or_empty_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PoolError, match=message):
        load_pool(write(tmp_path, text, "mine.json"))


def test_a_speaker_that_is_no_text_is_refused_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"line 1: the speaker \['user'\] is not known"):
        load_pool(write(tmp_path, [{"messages": [{"role": ["user"], "content": "Hi?"}]}]))


def test_a_lone_surrogate_is_refused_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"mine\.jsonl line 1.*surrogate"):
        load_pool(write(tmp_path, r'{"query": "Hi \ud800?"}'))


@pytest.mark.parametrize(("name", "known"), [("exampels", "examples"), ("demonstration", "demonstrations")])
def test_an_unknown_pool_is_named_with_the_nearest_known_one(name: str, known: str) -> None:
    with pytest.raises(
        PoolError, match=f"the pool '{name}' is neither a built-in pool nor a file; did you mean {known}"
    ):
        load_pool(name)


@pytest.mark.parametrize("name", ["./mine/absent.jsonl", "absent.txt", "/absent", "mine/absent.jsonl", "a/b/c"])
def test_a_file_that_does_not_exist_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(PoolError, match=f"the pool '{name}' is neither a built-in pool nor a file"):
        load_pool(name)


def test_every_published_prompt_file_is_a_pool_of_its_demonstrations(shared_data: Path) -> None:
    sizes = {}
    for path in sorted((shared_data / "icl_alignment").glob("*.txt")):
        shown = len(re.findall(r"^# Query:\s*$", path.read_text(encoding="utf-8"), re.MULTILINE))
        if shown:
            pool = load_pool(str(path))
            sizes[path.stem] = len(pool.demonstrations)
            assert (sizes[path.stem], pool.left_out) == (shown, ())
            assert len({one.id for one in pool.demonstrations}) == shown
    assert len(sizes) == 10
    assert sizes["urial.random.50.examples"] == 50
    assert sizes["urial"] == 3


def test_the_system_prompt_of_a_prompt_file_is_no_part_of_its_pool(tmp_path: Path) -> None:
    text = "Be kind.\n\n# Query:\n```\nHi?\n```\n\n# Answer:\n```\nHello.\n```\n\n# Query:\n```\nWhy?\n```\n"
    pool = load_pool(write(tmp_path, text, "prompt.txt"))
    assert pool.demonstrations == (FIRST_AND_ANSWER, Demonstration("2", "Why?", None))


def test_a_prompt_file_of_a_system_prompt_alone_is_no_pool(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"system_prompt\.txt' holds no demonstration"):
        load_pool(write(tmp_path, "Be kind.\n", "system_prompt.txt"))


@pytest.mark.parametrize(("name", "size", "absent"), [("demonstrations", 10, "```"), ("examples", 64, "`")])
def test_a_built_in_pool_is_whole_and_its_texts_hold_nothing_that_a_prompt_is_taken_apart_by(
    name: str, size: int, absent: str
) -> None:
    shown = load_pool(name).demonstrations
    assert len(shown) == len({one.id for one in shown}) == len({one.query for one in shown}) == size
    roles = tuple(role for pair in ROLE_LINES for role in pair)
    for one in shown:
        for text in (one.query, one.answer or ""):
            assert text
            assert text == text.strip()
            assert absent not in text
            assert not [line for line in text.splitlines() if line.startswith(roles)]


def test_only_the_ten_demonstrations_are_written_in_several_styles() -> None:
    assert [name for name in BUILT_IN if load_pool(name).styled] == ["demonstrations"]


def test_a_hub_id_without_network_ends_soon_and_says_what_else_to_give(tmp_path: Path) -> None:
    code = (
        "from ablations.datasets.pools import load_pool\n"
        "from ablations.core.errors import PoolError\n"
        "try:\n    load_pool('no-such-org/no-such-set:test')\n"
        "except PoolError as error:\n    print(error)\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **offline}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "the pool 'no-such-org/no-such-set:test': the data set cannot be loaded (" in done.stdout
    assert "the network" in done.stdout
    assert "or give a file of JSON rows" in done.stdout


class TestHubRows:
    """Rows of a real data set, where the hub would give one: a column that a row lacks is null."""

    asked: list[tuple[str, str]]

    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        import datasets

        self.asked = []

        def serve(rows: list[dict[str, Any]]) -> None:
            def load_dataset(name: str, split: str) -> Any:
                self.asked.append((name, split))
                return datasets.Dataset.from_list(rows)

            monkeypatch.setattr(datasets, "load_dataset", load_dataset)

        return serve

    @pytest.mark.parametrize("row", SHAPES.values(), ids=SHAPES)
    def test_they_go_through_the_same_reader(self, hub: Any, row: dict[str, Any]) -> None:
        hub([row])
        assert load_pool("org/name").demonstrations == (FIRST_AND_ANSWER,)

    def test_the_split_follows_a_colon_and_train_is_the_default(self, hub: Any) -> None:
        hub([GOOD])
        load_pool("org/name")
        load_pool("org/name:test[:5]")
        assert self.asked == [("org/name", "train"), ("org/name", "test[:5]")]

    def test_rows_are_numbered_and_nulls_are_as_absent(self, hub: Any) -> None:
        hub([{**GOOD, "id": None, "input": None}, {"query": "Why?"}])
        assert load_pool("org/name").demonstrations == (FIRST_AND_ANSWER, Demonstration("2", "Why?", None))

    def test_a_broken_row_is_named_by_its_number(self, hub: Any) -> None:
        hub([GOOD, {"query": ""}])
        with pytest.raises(PoolError, match="org/name row 2: the query is empty or no text"):
            load_pool("org/name")

    def test_an_error_without_a_message_is_a_pool_error_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        def unreachable(name: str, split: str) -> Any:
            raise TimeoutError

        monkeypatch.setattr(datasets, "load_dataset", unreachable)
        with pytest.raises(PoolError, match="the pool 'org/name': the data set cannot be loaded"):
            load_pool("org/name")

    def test_a_name_with_a_dot_is_a_name_of_the_hub(self, hub: Any) -> None:
        hub([GOOD])
        load_pool("allenai/tulu-2.5-data")
        assert self.asked == [("allenai/tulu-2.5-data", "train")]
