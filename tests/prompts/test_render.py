"""Claims about rendering: the prompt's bytes are those of URIAL and of Zhao et al."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ablations.core.errors import PromptError
from ablations.core.prompt import Demonstration, PromptParts, Template
from ablations.core.records import Completion, Query
from ablations.prompts.components import (
    build_parts,
    built_in_demonstrations,
    packaged_system_prompt,
    read_prompt_file,
    read_prompt_parts,
)
from ablations.prompts.render import render_demonstrations, render_prompt
from ablations.prompts.templates import TEMPLATES, URIAL
from ablations.prompts.urial_file import take_apart

FENCE = "```"
QUERY = Query("q1", "math", ("What is 2 + 2?\nShow it.", "And “doubled”?"))
FIRST_ANSWER = Completion(f"\n It is 4.\n{FENCE}\n", 10, 5, "stop", 0).answer


def fenced(role: str, text: str, fence: str = FENCE) -> str:
    """One turn after the formula of the protocol."""
    return "\n" + role + "\n" + fence + "\n" + text + "\n" + fence + "\n"


def bare(role: str, text: str) -> str:
    """One turn of version 6 after the formula of the protocol."""
    return "\n\n" + role + "\n" + text.strip("\n") + "\n"


def parts(name: str, system_prompt: str = "", shown: tuple[Demonstration, ...] = ()) -> PromptParts:
    return PromptParts(system_prompt, TEMPLATES[name], shown)


def test_urials_prompt_file_comes_first_and_the_query_stands_in_a_fence(shared_data: Path) -> None:
    path = shared_data / "icl_alignment" / "urial.txt"
    text = path.read_bytes().decode()
    expected = f"{text}\n# Query:\n```\n{QUERY.turns[0]}\n```\n\n# Answer:\n```\n"
    prompt = render_prompt(QUERY, read_prompt_file(path))
    assert prompt.text == expected
    assert (prompt.query_id, prompt.turn) == ("q1", 1)


def test_the_second_turn_repeats_the_first_query_and_the_cleaned_answer(shared_data: Path) -> None:
    path = shared_data / "icl_alignment" / "urial.txt"
    expected = path.read_bytes().decode()
    expected += (
        fenced("# Query:", QUERY.turns[0]) + fenced("# Answer:", "It is 4.") + fenced("# Query:", QUERY.turns[1])
    )
    prompt = render_prompt(QUERY, read_prompt_file(path), [FIRST_ANSWER])
    assert prompt.text == f"{expected}\n# Answer:\n{FENCE}\n"
    assert prompt.turn == 2


@pytest.mark.parametrize("folder", ["urial", "icl_alignment"])
def test_every_prompt_file_of_the_field_is_used_whole(shared_data: Path, folder: str) -> None:
    files = sorted((shared_data / folder).glob("*.txt"))
    assert len(files) >= 7
    tail = fenced("# Query:", QUERY.turns[0]) + f"\n# Answer:\n{FENCE}\n"
    wrong = [
        path
        for path in files
        if render_prompt(QUERY, read_prompt_file(path)).text.encode() != path.read_bytes() + tail.encode()
    ]
    assert wrong == []


def test_urials_own_file_is_its_system_prompt_and_demonstrations_rendered(shared_data: Path) -> None:
    text = (shared_data / "icl_alignment" / "urial.txt").read_bytes().decode()
    system_prompt, *messages = re.split(r"(?=\n# (?:Query|Answer):\n```\n)", text)
    bodies = [re.fullmatch(r"\n# \w+:\n```\n(.*)\n```\n?", message, re.DOTALL) for message in messages]
    assert len(bodies) == 6
    texts = [body[1] for body in bodies if body]
    shown = tuple(Demonstration(str(at), texts[at], texts[at + 1]) for at in range(0, 6, 2))
    rendered = render_prompt(QUERY, PromptParts(system_prompt, URIAL, shown)).text
    assert rendered.startswith(text)


def test_version_5_keeps_the_empty_lines_of_its_empty_fence() -> None:
    expected = "Rules." + fenced("# User:", "Hi?", "") + fenced("# Assistant:", "Hello.", "")
    expected += fenced("# User:", QUERY.turns[0], "") + "\n# Assistant:\n\n"
    assert render_prompt(QUERY, parts("urial-v5", "Rules.", (Demonstration("d", "Hi?", "Hello."),))).text == expected


def test_version_6_has_an_empty_line_before_each_role_and_none_inside() -> None:
    query = Query("q", "", ("\nFirst?\n\n", "Second?"))
    expected = "Rules." + bare("# User:", "Hi?\n") + bare("# Assistant:", "\nHello.")
    expected += bare("# User:", "\nFirst?\n\n") + bare("# Assistant:", "Yes.") + bare("# User:", "Second?")
    shown = (Demonstration("d", "Hi?\n", "\nHello."),)
    assert render_prompt(query, parts("urial-v6", "Rules.", shown), ["Yes."]).text == expected + "\n\n# Assistant:\n"


@pytest.mark.parametrize("turn", [1, 2])
def test_our_own_system_prompt_and_demonstrations_follow_the_same_formula(turn: int) -> None:
    expected = packaged_system_prompt("full")
    for shown in built_in_demonstrations()[:3]:
        expected += fenced("# Query:", shown.query) + fenced("# Answer:", shown.answer)
    expected += fenced("# Query:", QUERY.turns[0])
    if turn == 2:
        expected += fenced("# Answer:", FIRST_ANSWER) + fenced("# Query:", QUERY.turns[1])
    answers = [FIRST_ANSWER][: turn - 1]
    assert render_prompt(QUERY, build_parts(), answers).text == f"{expected}\n# Answer:\n{FENCE}\n"


def test_without_system_prompt_and_demonstrations_the_query_alone_is_left() -> None:
    prompt = render_prompt(QUERY, build_parts("none", "urial", 0))
    assert prompt.text == fenced("# Query:", QUERY.turns[0]) + f"\n# Answer:\n{FENCE}\n"


WRITTEN_OUT = {name: headings for name, headings in TEMPLATES.items() if not headings.chat}


@pytest.mark.parametrize("headings", WRITTEN_OUT.values(), ids=WRITTEN_OUT)
def test_a_prompt_ends_where_the_answer_begins(headings: Template) -> None:
    text = render_prompt(QUERY, PromptParts("", headings)).text
    assert text.rstrip(f"\n{headings.fence}").endswith(headings.answer)
    assert text.endswith("\n") != headings.inline


@pytest.mark.parametrize("answers", [["a", "b"], ["a", "b", "c"]])
def test_a_turn_that_the_query_does_not_have_is_refused(answers: list[str]) -> None:
    with pytest.raises(PromptError, match=f"'q1' has 2 turns; turn {len(answers) + 1} cannot be asked"):
        render_prompt(QUERY, build_parts(), answers)


def test_a_chat_prompt_is_what_the_template_makes_of_system_prompt_demonstrations_and_turns() -> None:
    seen: list[Any] = []

    def template(messages: Sequence[Mapping[str, str]]) -> str:
        seen.extend((message["role"], message["content"]) for message in messages)
        return "<text>"

    shown = (Demonstration("d", "Hi?", "Hello."), Demonstration("e", "Why?", None))
    parts = PromptParts("Be kind.\n", TEMPLATES["chat"], shown)
    prompt = render_prompt(QUERY, parts, ["First answer."], template)
    assert (prompt.text, prompt.templated, prompt.turn) == ("<text>", True, 2)
    assert seen == [
        ("system", "Be kind."),
        ("user", "Hi?"),
        ("assistant", "Hello."),
        ("user", "Why?"),
        ("user", QUERY.turns[0]),
        ("assistant", "First answer."),
        ("user", QUERY.turns[1]),
    ]


def test_a_chat_prompt_without_a_template_is_refused() -> None:
    with pytest.raises(PromptError, match="needs a model with a chat template"):
        render_prompt(QUERY, PromptParts("", TEMPLATES["chat"]))


def test_a_query_is_shown_its_own_demonstrations() -> None:
    own = (Demonstration("d", "Near?", "Yes."),)
    parts = PromptParts("", TEMPLATES["question"], (Demonstration("c", "Common?", "So."),), by_query=((QUERY.id, own),))
    assert render_prompt(QUERY, parts).text.startswith("Question: Near?")
    assert render_prompt(Query("other", "", ("Why?",)), parts).text.startswith("Question: Common?")


def test_system_prompt_and_demonstrations_are_written_as_a_prompt_begins() -> None:
    parts = build_parts()
    assert render_prompt(QUERY, parts).text.startswith(render_demonstrations(parts))
    assert take_apart(render_demonstrations(parts)).demonstrations[0].query == parts.shots[0].query


@pytest.mark.parametrize("name", ["urial", "urial.greedy.5.examples", "urial.no_answer"])
def test_a_published_prompt_taken_into_parts_is_written_as_it_was(shared_data: Path, name: str) -> None:
    path = shared_data / "icl_alignment" / f"{name}.txt"
    parts = read_prompt_parts(path)
    assert len(parts.shots) >= 3
    assert render_demonstrations(parts).rstrip("\n") == path.read_text(encoding="utf-8").rstrip("\n")
