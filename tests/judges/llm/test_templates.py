"""Claims about judge prompts: answers cannot leave their fence, and FastChat's files are followed to the letter."""

import json
import re
from pathlib import Path

import pytest

from ablations.core.errors import UsageError
from ablations.core.records import Query
from ablations.datasets.queries import load_queries
from ablations.judges.comparison.alpaca_eval import is_switched, render
from ablations.judges.llm.templates import OWN_TEMPLATES, STYLES, Questions, answer_fields, read_templates
from tests.support.injections import INJECTIONS
from tests.support.judge_contract import QUERY

MATH = Query("m", "math", ("1+1?", "And 2+2?"), ("2", "4"))
BLOCK = re.compile(r"^<<< ([A-Z0-9 ]+), boundary ([0-9a-f]{16})\n(.*?)\n>>> boundary \2$", re.DOTALL | re.MULTILINE)


def test_there_are_at_least_twenty_injections() -> None:
    assert len(set(INJECTIONS)) >= 20


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("query", [QUERY, MATH], ids=["stem", "math"])
@pytest.mark.parametrize("injection", INJECTIONS)
def test_an_answer_stays_inside_its_fence(style: str, turn: int, query: Query, injection: str) -> None:
    answers = ["A first answer.", injection][-turn:]
    fields = answer_fields(answers) | answer_fields(answers, "a") | answer_fields(["plain"] * turn, "b")
    text = Questions(None, style).messages(query, turn, fields)[-1]["content"]
    blocks = BLOCK.findall(text)
    assert len({boundary for _, boundary, _ in blocks}) == 1
    assert blocks[0][1] not in injection
    assert injection in [content for _, _, content in blocks]
    outside = BLOCK.sub("", text)
    assert injection not in outside
    assert f"boundary {blocks[0][1]}" not in outside


def test_another_text_has_another_boundary() -> None:
    questions = Questions(None, "single")
    texts = [questions.messages(QUERY, 1, answer_fields([answer]))[-1]["content"] for answer in ("one", "two")]
    assert BLOCK.findall(texts[0])[0][1] != BLOCK.findall(texts[1])[0][1]


def test_the_own_templates_ask_for_reasons_first_and_the_rating_last() -> None:
    for name, template in read_templates(OWN_TEMPLATES).items():
        if name.startswith("single"):
            assert template.text.index("reasons") < template.text.index("Rating: [[N]]")
        assert template.text.count("{boundary}") == 2 * template.text.count("<<<")
        assert ("ref_answer" in template.text) == ("-math-" in name)


def test_fastchats_prompts_are_followed_to_the_letter(shared_data: Path) -> None:
    path = shared_data / "mt_bench" / "judge_prompts.jsonl"
    entries = {entry["name"]: entry for entry in map(json.loads, path.read_text().splitlines())}
    queries = load_queries(
        str(shared_data / "mt_bench" / "question.jsonl"), shared_data / "mt_bench" / "reference_answer.gpt-4.jsonl"
    )
    questions, seen = Questions(path, "single"), set()
    for query in queries:
        for turn, name in ((1, "single-v1"), (2, "single-v1-multi-turn")):
            if query.category in ("math", "reasoning", "coding"):
                name = name.replace("single", "single-math")
            seen.add(name)
            expected = entries[name]["prompt_template"].format(
                question=query.turns[0],
                answer="one {brace}",
                question_1=query.turns[0],
                question_2=query.turns[1],
                answer_1="one {brace}",
                answer_2="two",
                ref_answer_1=query.references[0],
                ref_answer_2=query.references[1],
            )
            messages = questions.messages(query, turn, answer_fields(["one {brace}", "two"][:turn]))
            assert messages == [
                {"role": "system", "content": entries[name]["system_prompt"]},
                {"role": "user", "content": expected},
            ]
    assert seen == {"single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 1 is not valid JSON"),
        ("[1]", "item 1 is not an object"),
        ('{"name": "x"}', "it needs name, type, system_prompt and prompt_template"),
        ('{"name": "x", "type": "single", "system_prompt": "", "prompt_template": "{anwser}"}', "placeholder 'anwser'"),
        ('{"name": "x", "type": "single", "system_prompt": "", "prompt_template": "{"}', "for braces"),
        ('{"name": "x", "type": "single", "system_prompt": 5, "prompt_template": ""}', "must be texts"),
    ],
)
def test_a_broken_prompt_file_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(line)
    with pytest.raises(UsageError, match=message):
        read_templates(path)


def test_a_prompt_file_without_a_style_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("")
    with pytest.raises(UsageError, match="no prompt named 'single-v1'"):
        Questions(path, "single")


def test_alpaca_eval_fills_each_placeholder_once() -> None:
    prompt = "<|im_start|>system\nS\n<|im_end|>\n<|im_start|>user\n{instruction}|{output_1}|{output_2}\n<|im_end|>"
    messages = render(prompt, "{output_2}", "{instruction}", "b")
    assert messages == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "{output_2}|{instruction}|b"},
    ]


def test_alpaca_eval_draws_the_order_by_instruction_and_seed() -> None:
    drawn = [is_switched(f"instruction {number}", 0) for number in range(200)]
    assert 70 < sum(drawn) < 130
    assert drawn != [is_switched(f"instruction {number}", 1) for number in range(200)]
