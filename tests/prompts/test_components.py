"""Claims about prompt components: what is built in, and what a prompt file becomes."""

from pathlib import Path
from typing import Any

import pytest

from ablations.core.errors import ConditionError, PromptError
from ablations.prompts.components import (
    DEFAULT_SHOTS,
    SYSTEM_PROMPTS,
    build_parts,
    built_in_demonstrations,
    packaged_system_prompt,
    read_prompt_file,
)
from ablations.prompts.templates import TEMPLATES, find_template


def test_there_are_at_least_eight_demonstrations_with_unique_ids() -> None:
    pool = built_in_demonstrations()
    assert len({shown.id for shown in pool}) == len(pool) >= 8
    assert len({shown.query for shown in pool}) == len(pool)


@pytest.mark.parametrize("shown", built_in_demonstrations(), ids=lambda shown: shown.id)
def test_a_demonstration_would_not_break_the_format_it_is_shown_in(shown: Any) -> None:
    for text in (shown.query, shown.answer):
        assert text == text.strip() != ""
        assert not any(mark in text for mark in ("```", "# Query", "# Answer", "# User", "# Assistant"))


def test_three_demonstrations_are_shown_by_default_in_their_order() -> None:
    assert DEFAULT_SHOTS == 3
    assert build_parts().shots == built_in_demonstrations()[:3]


def test_a_smaller_number_of_demonstrations_is_the_beginning_of_a_larger_one() -> None:
    pool = built_in_demonstrations()
    assert [build_parts(shots=count).shots for count in range(len(pool) + 1)] == [
        pool[:count] for count in range(len(pool) + 1)
    ]


def test_less_than_no_demonstration_is_refused() -> None:
    with pytest.raises(ConditionError, match="shots = -1 is not a whole number from 0 on"):
        build_parts(shots=-1)


def test_more_demonstrations_than_there_are_is_refused_with_the_limit() -> None:
    count = len(built_in_demonstrations()) + 1
    with pytest.raises(ConditionError, match=f"shots = {count} is out of range; the project has 0 to"):
        build_parts(shots=count)


@pytest.mark.parametrize("count", [True, 1.0, "3", None])
def test_a_count_that_is_no_whole_number_is_refused(count: Any) -> None:
    with pytest.raises(ConditionError, match=r"shots = .* is not a whole number"):
        build_parts(shots=count)


def test_system_prompts_go_from_none_over_short_to_full() -> None:
    lengths = {name: len(packaged_system_prompt(name)) for name in SYSTEM_PROMPTS}
    assert lengths["none"] == 0 < lengths["short"] < lengths["full"]


@pytest.mark.parametrize("name", ["short", "full"])
def test_the_system_prompt_explains_the_headings_and_fences_that_follow(name: str) -> None:
    text = packaged_system_prompt(name)
    assert all(mark in text for mark in ('"# Query:"', '"# Answer:"', "```"))
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"system_prompt": "ful"}, "system_prompt = 'ful' is not known; did you mean full?"),
        ({"template": "urial-v9"}, "template = 'urial-v9' is not a known template; did you mean urial-v"),
    ],
)
def test_an_unknown_component_is_named_with_the_nearest_known_one(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        build_parts(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_format_is_found_by_its_own_name(name: str) -> None:
    assert find_template(name).name == name


def test_parts_are_named_in_values_and_told_apart_by_content() -> None:
    assert build_parts("short", "urial-v6", 2).values() == {
        "system_prompt": "short",
        "template": "urial-v6",
        "shots": 2,
        "source": "first",
        "draw": 0,
        "style": "warm",
        "order": "given",
        "matching": "correct",
    }
    assert build_parts("short").content() != build_parts("full").content()


def test_a_prompt_file_is_taken_byte_for_byte_without_demonstrations(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\r\n Règles \u2028\n\n".encode())
    parts = read_prompt_file(path, "urial-v5")
    assert parts.system_prompt.encode() == path.read_bytes()
    named = {"system_prompt": "mine.txt", "template": "urial-v5", "shots": 0, "source": "first", "draw": 0}
    assert parts.values() == named | {"style": "custom", "order": "given", "matching": "correct"}


def test_a_prompt_file_that_is_missing_or_not_utf8_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe")
    for path in (binary, tmp_path / "absent.txt"):
        with pytest.raises(PromptError, match=rf"{path.name} cannot be read.*give a UTF-8 text file"):
            read_prompt_file(path)
