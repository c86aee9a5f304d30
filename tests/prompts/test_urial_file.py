"""Claims about taking prompt files apart: nothing of a file is lost, and what is no prompt file is refused by line."""

import random
from pathlib import Path

import pytest

from ablations.core.errors import PromptError
from ablations.core.prompt import Demonstration, PromptParts
from ablations.core.records import Query
from ablations.prompts.components import packaged_system_prompt
from ablations.prompts.render import render_prompt
from ablations.prompts.templates import TEMPLATES
from ablations.prompts.urial_file import read_urial, take_apart

DEMONSTRATIONS = {
    "basic_icl": 3,
    "inst_1k_v4": 3,
    "inst_1shot": 1,
    "inst_2k_v4": 8,
    "inst_help_v5-1k": 3,
    "inst_help_v6-1k": 3,
    "inst_only": 0,
    "openhermes-10.examples": 10,
    "urial": 3,
    "urial.circular_shift": 3,
    "urial.greedy.5.examples": 5,
    "urial.greedy.10.examples": 10,
    "urial.id.random_answer": 3,
    "urial.no_answer": 3,
    "urial.random.5.examples": 5,
    "urial.random.50.examples": 50,
    "urial.unsupervised.10.examples": 13,
}
WITHOUT_ANSWER = {"urial.no_answer": 3, "urial.unsupervised.10.examples": 10}


def test_every_published_file_is_taken_apart_and_written_back_byte_for_byte(shared_data: Path) -> None:
    paths = sorted(path for folder in ("urial", "icl_alignment") for path in (shared_data / folder).glob("*.txt"))
    assert {path.stem for path in paths} == set(DEMONSTRATIONS)
    for path in paths:
        file = read_urial(path)
        assert file.written.encode() == path.read_bytes()
        assert len(file.demonstrations) == DEMONSTRATIONS[path.stem]
        unanswered = sum(demonstration.answer is None for demonstration in file.demonstrations)
        assert unanswered == WITHOUT_ANSWER.get(path.stem, 0)
        assert not any("# Query" in message.text for message in file.messages)


def test_nested_answers_belong_to_the_last_query_without_one(shared_data: Path) -> None:
    by_query = {d.query: d.answer or "" for d in read_urial(shared_data / "urial" / "inst_2k_v4.txt").demonstrations}
    detective, bully = (next(q for q in by_query if word in q) for word in ("detective", "bullied"))
    assert "ethical detective" in by_query[detective]
    assert "seeking revenge" in by_query[bully]


def random_text(generator: random.Random) -> str:
    pieces = [
        "word",
        "  two spaces ",
        "1. **Bold** step",
        "```python\nprint(1)\n```",
        "",
        "# Title",
        "Query: no role",
        "ü – ’",
    ]
    return "\n".join(generator.choices(pieces, k=generator.randint(0, 5))).strip("\n")


@pytest.mark.parametrize("headings", ["urial", "urial-v6"])
@pytest.mark.parametrize("seed", range(20))
def test_what_the_project_writes_is_read_back(headings: str, seed: int) -> None:
    generator = random.Random(seed)
    demonstrations = tuple(
        Demonstration(str(number), random_text(generator) or "x", random_text(generator) or "y")
        for number in range(1, generator.randint(2, 9))
    )
    if headings == "urial-v6":  # stray backticks are ordinary text without a fence
        demonstrations = tuple(Demonstration(d.id, d.query.strip(), (d.answer or "").strip()) for d in demonstrations)
    parts = PromptParts(packaged_system_prompt("full"), TEMPLATES[headings], demonstrations)
    text = render_prompt(Query("q", "", ("END",)), parts).text
    text = text[: text.rindex(TEMPLATES[headings].query)]
    for cut in (text, text.rstrip("\n"), text.replace("\n", "\r\n")):
        assert take_apart(cut).written == cut
    assert take_apart(text).demonstrations == demonstrations


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("# Query:\n```\nHi\n```\n\n# Answer:\n```\n```\n", [("Hi", "")]),
        ("# Query:\n```\nHi\n```\n\n# Answer:\n```\n\n```", [("Hi", "")]),
        ("Rules\n# Query: \n``` \n Hi \n```  \n# Answer:\t\n```\nok\n```", [(" Hi ", "ok")]),
        ("# Query:\n```Hi```\n \n# Answer:\n```\na\n```", [("Hi", "a")]),
        ("# Query:\nHi\n\n# Answer:\nHello\n\n\n# Query:\nBye", [("Hi", "Hello"), ("Bye", None)]),
        ("# User:\n\nHi\n\n# Assistant:\n\n```\ncode\n```\n", [("Hi", "```\ncode\n```")]),
        ("User:\nHi\n\nAssistant:\nHello", [("Hi", "Hello")]),
        ("Question:\nHi\n\nHere’s an example answer:\nHello", [("Hi", "Hello")]),
        ("# Query:\n```\nHi\n```\nA note between.\n# Answer:\n```\na\n```\n", [("Hi", "a")]),
        ("# Query:", [("", None)]),
        ('Only instructions that name "# Query:" in a sentence.\n', []),
        ("", []),
    ],
)
def test_odd_files_keep_every_byte(text: str, pairs: list[tuple[str, str | None]]) -> None:
    file = take_apart(text)
    assert file.written == text
    assert [(d.query, d.answer) for d in file.demonstrations] == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Rules.\n\n# Answer:\n```\na\n```\n\n# Query:\n```\nq\n```\n", "line 3: an answer without a query"),
        (
            "# Query:\n```\nq\n```\n# Answer:\n```\na\n```\n# Answer:\n```\nb\n```\n",
            "line 9: an answer without a query",
        ),
        (
            "# Query:\n```\nq\n\n# Answer:\n```\na\n```\n",
            "line 2: the fence that opens here is not closed before line 5",
        ),
        ("# Query:\n```q\n", "line 2: the fence that opens here is not closed"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused_with_line_and_reason(text: str, message: str) -> None:
    with pytest.raises(PromptError, match=f"mine.txt {message}"):
        take_apart(text, "mine.txt")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(PromptError, match="give a UTF-8 text file"):
        read_urial(tmp_path / "bytes")
