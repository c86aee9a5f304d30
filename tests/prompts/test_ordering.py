"""Claims about the components of a prompt: styles, orders, matchings and headings."""

import pytest

from ablations.core.condition import Condition, DecodingParams
from ablations.core.errors import ConditionError
from ablations.core.prompt import Demonstration
from ablations.core.records import Query
from ablations.prompts.components import (
    STYLES,
    SYSTEM_PROMPTS,
    build_parts,
    built_in_demonstrations,
    packaged_system_prompt,
)
from ablations.prompts.ordering import MATCHINGS, ORDERS, match_answers, put_in_order
from ablations.prompts.packaged import read_lines
from ablations.prompts.render import render_prompt
from ablations.prompts.templates import TEMPLATES

SHOWN = built_in_demonstrations()[:4]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_answers_the_same_queries(style: str) -> None:
    assert [one.query for one in built_in_demonstrations(style)] == [one.query for one in built_in_demonstrations()]
    for one in built_in_demonstrations(style):
        assert one.answer
        assert one.answer == one.answer.strip()
        assert "```" not in one.answer


def test_styles_differ_in_every_answer_and_terse_is_the_shortest() -> None:
    for number in range(len(built_in_demonstrations())):
        answers = {style: built_in_demonstrations(style)[number].answer or "" for style in STYLES}
        assert len(set(answers.values())) == len(STYLES)
        assert min(answers, key=lambda style: len(answers[style])) == "terse"
        assert max(answers, key=lambda style: len(answers[style])) == "warm"


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_keeps_every_demonstration_with_its_answer(order: str) -> None:
    assert sorted(put_in_order(SHOWN, order), key=lambda one: one.id) == sorted(SHOWN, key=lambda one: one.id)
    assert put_in_order(SHOWN, order) == put_in_order(SHOWN, order)


def test_orders_are_what_they_are_called() -> None:
    assert put_in_order(SHOWN, "reversed") == SHOWN[::-1]
    lengths = [len(one.query) + len(one.answer or "") for one in put_in_order(SHOWN, "by-length")]
    assert lengths == sorted(lengths)
    assert put_in_order(SHOWN, "shuffled") not in (SHOWN, SHOWN[::-1])


def test_matchings_are_what_they_are_called() -> None:
    pool = built_in_demonstrations()
    own = {one.query: one.answer for one in pool}
    for matching in MATCHINGS:
        matched = match_answers(SHOWN, matching, pool)
        assert [one.query for one in matched] == [one.query for one in SHOWN]
        assert matched == match_answers(SHOWN, matching, pool)
    assert [one.answer for one in match_answers(SHOWN, "shifted", pool)] == [
        own[one.query] for one in SHOWN[1:] + SHOWN[:1]
    ]
    for one in match_answers(SHOWN, "pool", pool):
        assert one.answer in own.values()
        assert one.answer != own[one.query]
    outside = {row["answer"] for row in read_lines("outside_answers.jsonl")}
    assert not outside & {one.answer for style in STYLES for one in built_in_demonstrations(style)}
    assert {one.answer for one in match_answers(SHOWN, "outside", pool)} <= outside
    assert all(one.answer is None for one in match_answers(SHOWN, "none", pool))


def test_a_query_without_answer_shows_no_answer_block() -> None:
    text = render_prompt(Query("q", "", ("Why?",)), build_parts("none", "urial", 2, matching="none")).text
    assert text.count("# Query:") == 3
    assert text.count("# Answer:") == 1


def test_components_without_effect_make_no_new_condition() -> None:
    def condition_id(**components: object) -> str:
        return Condition(DecodingParams(), build_parts(**components)).condition_id  # type: ignore[arg-type]

    assert condition_id(shots=0) == condition_id(shots=0, style="terse", matching="none")
    assert condition_id(shots=1) == condition_id(shots=1, matching="shifted", order="reversed")
    assert condition_id() != condition_id(style="terse")


@pytest.mark.parametrize("headings", TEMPLATES)
@pytest.mark.parametrize("system_prompt", [name for name in SYSTEM_PROMPTS if name != "none"])
def test_system_prompts_name_the_headings_that_follow_and_fences_if_any(system_prompt: str, headings: str) -> None:
    text, shown = packaged_system_prompt(system_prompt, headings), TEMPLATES[headings]
    assert f'"{shown.query}"' in text
    assert f'"{shown.answer}"' in text
    assert ("```" in text) == bool(shown.fence)
    assert "{" not in text


def test_hans_template_is_his() -> None:
    """Queries and answers on the line of their role, an empty line between messages, an open answer at the end."""
    shown = (Demonstration("1", "One?", "1."), Demonstration("2", " Two? ", "2.\n"))
    parts = build_parts("none", "question", 0)
    parts = type(parts)(parts.system_prompt, parts.template, shown)
    expected = "\n\n".join(
        [
            "Question: One?",
            "Here’s an example answer: 1.",
            "Question: Two?",
            "Here’s an example answer: 2.",
            "Question: Three?",
        ]
    )
    text = render_prompt(Query("q", "", ("Three?",)), parts).text
    assert text == f"{expected}\n\nHere’s an example answer:"
    assert parts.template.stop == ("\nQuestion:",)


@pytest.mark.parametrize(("name", "value"), [("style", "warn"), ("order", "revesed"), ("matching", "shited")])
def test_an_unknown_component_is_named_with_the_nearest(name: str, value: str) -> None:
    with pytest.raises(ConditionError, match=f"{name} = '{value}' is not known; did you mean"):
        build_parts(**{name: value})  # type: ignore[arg-type]
