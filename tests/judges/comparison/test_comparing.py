"""Claims about judges that compare and judges that read probabilities, on scripted replies of a real server."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ablations.core.errors import QueryError, UsageError
from ablations.core.records import Judgment, Query, Usage
from ablations.judges.comparison.reference_outputs import read_outputs
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import Reply, Token
from ablations.judges.llm.expected_rating import rating_probabilities
from ablations.judges.llm.parsing import NO_RATING, UnscoredError
from ablations.judges.registry import make_judge
from tests.support.bad_server import MODEL, BadServer, Handler, bad_server, reply
from tests.support.calls import QUICK, together
from tests.support.judge_contract import QUERY, completion

SINGLE = Query("s", "", ("Say hello.",))


def prefers(mark: str, form: tuple[str, str, str] = ("[[A]]", "[[B]]", "[[C]]")) -> Any:
    """A judge that prefers the answer with `mark` in it, wherever it stands."""

    def answer(handler: Handler, body: dict[str, Any]) -> None:
        text = body["messages"][-1]["content"]
        first, second = text.index("ANSWER OF A"), text.index("ANSWER OF B")
        at = text.find(mark)
        verdict = form[2] if at < 0 else form[0] if first < at < second else form[1]
        handler.send(200, reply(verdict))

    return answer


def always(verdict: str) -> Any:
    return lambda handler, _: handler.send(200, reply(verdict))


def compare(default: Any, answer: str, tmp_path: Path, **changes: Any) -> tuple[Judgment, BadServer]:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{"instruction": "Say hello.", "output": "the other one"}]))
    with bad_server([], default=default) as server:
        settings = JudgeSettings(model=MODEL, base_url=server.url, limits=QUICK, compare_with=path, **changes)
        judge = make_judge("pairwise", settings)
        judge.check([SINGLE])
        (judgment,) = asyncio.run(together(judge, [judge.judge(SINGLE, [completion(answer)])]))
    return judgment, server


@pytest.mark.parametrize(
    ("default", "score", "told"),
    [
        (prefers("MINE"), 1.0, "win"),
        (prefers("the other one"), 0.0, "loss"),
        (always("[[C]]"), 0.5, "draw"),
        (always("[[A]]"), 0.5, "first_twice"),
        (always("[[B]]"), 0.5, "second_twice"),
    ],
)
def test_a_comparison_is_made_in_both_orders(default: Any, score: float, told: str, tmp_path: Path) -> None:
    judgment, server = compare(default, "MINE", tmp_path)
    assert judgment.score.value == score
    assert judgment.details[told] == 1.0
    assert judgment.usage.calls == len(server.requests) == 2
    texts = [request["messages"][-1]["content"] for request in server.requests]
    assert sorted(text.index("MINE") < text.index("the other one") for text in texts) == [False, True]


def test_a_comparison_with_one_order_unscored_is_unscored(tmp_path: Path) -> None:
    def answer(handler: Handler, body: dict[str, Any]) -> None:
        text = body["messages"][-1]["content"]
        handler.send(200, reply("[[A]]" if text.index("MINE") < text.index("the other one") else "hm"))

    judgment, _ = compare(answer, "MINE", tmp_path)
    assert judgment.score.reason == NO_RATING
    assert len(judgment.replies) == 4


def test_hans_two_scores_decide_by_the_higher_one(tmp_path: Path) -> None:
    judgment, server = compare(prefers("MINE", ("8 5", "5 8", "5 5")), "MINE", tmp_path, two_scores=True)
    assert judgment.score.value == 1.0
    assert "On the first line" in server.requests[0]["messages"][-1]["content"]


def test_reference_outputs_are_read_from_every_form(tmp_path: Path) -> None:
    fastchat = tmp_path / "model_answer.jsonl"
    fastchat.write_text(json.dumps({"question_id": "q", "choices": [{"turns": ["one", "two"]}]}) + "\n")
    assert read_outputs(fastchat, [QUERY]) == {"q": ("one", "two")}
    results = tmp_path / "results.parquet"
    rows = [
        {
            "trial": trial,
            "role": role,
            "query_id": "q",
            "turn": turn,
            "query": QUERY.turns[turn - 1],
            "answer": f"{trial}{turn}",
        }
        for trial, role in ((0, "baseline"), (3, "fill"))
        for turn, asked in ((2, QUERY.turns[1]), (1, QUERY.turns[0]))
    ]
    pl.DataFrame(rows).write_parquet(results)
    assert read_outputs(results, [QUERY]) == {"q": ("01", "02")}
    assert read_outputs(Path(f"{results}#3"), [QUERY]) == {"q": ("31", "32")}
    for path, message in (
        (Path(f"{results}#7"), "no trial 7"),
        (tmp_path / "none.json", "cannot be read"),
        (fastchat, "no answer to every turn of 1 of 1 queries, such as 's'"),
    ):
        with pytest.raises(UsageError, match=message):
            read_outputs(path, [SINGLE])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"instruction": "Say hello.", "output": None}], "is None and no text"),
        ([{"instruction": "Say hello.", "output": "a"}, {"instruction": "Say hello.", "output": "b"}], "two different"),
        ([{"prompt": "Say hello.", "response_list": []}], "index out of range"),
    ],
)
def test_answers_to_compare_with_are_never_made_up(tmp_path: Path, rows: list[object], message: str) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(UsageError, match=message):
        read_outputs(path, [SINGLE])


def test_hans_outputs_are_matched_by_their_prompt(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    for row in ({"prompt": "Say hello.", "response": "Hi."}, {"prompt": "Say hello.", "response_list": ["Hi.", "Ho."]}):
        path.write_text(json.dumps(row))
        assert read_outputs(path, [SINGLE]) == {"s": ("Hi.",)}


def test_a_run_that_asked_something_else_under_the_same_id_is_refused(tmp_path: Path) -> None:
    row = {"trial": 0, "role": "baseline", "query_id": "s", "turn": 1, "query": "Say goodbye.", "answer": "Bye."}
    pl.DataFrame([row]).write_parquet(tmp_path / "results.parquet")
    with pytest.raises(UsageError, match="asks something else in turn 1"):
        read_outputs(tmp_path / "results.parquet", [SINGLE])


def test_a_token_that_is_part_of_a_character_moves_no_place() -> None:
    text = "😀 of 10: [[3]]"
    raw = ["😀".encode()[:2], "😀".encode()[2:], b" of ", b"10", b": [[", b"3", b"]]"]
    made = tuple(
        Token(part.decode(errors="replace"), {"3": math.log(0.9), "5": math.log(0.1)} if part == b"3" else {}, part)
        for part in raw
    )
    assert rating_probabilities(Reply(text, "stop", Usage(), made), 1, 10) == pytest.approx({3: 0.9, 5: 0.1})
    without_bytes = tuple(Token(token.text, token.alternatives) for token in made)
    with pytest.raises(UnscoredError, match="no log-probabilities"):
        rating_probabilities(Reply(text, "stop", Usage(), without_bytes), 1, 10)


def test_alpaca_eval_refuses_two_turns_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outputs.json"
    path.write_text("[]")
    settings = JudgeSettings(model=MODEL, base_url="http://127.0.0.1:9/v1", compare_with=path)
    prompt = "<|im_start|>user\n{instruction}{output_1}{output_2}\n<|im_end|>"
    monkeypatch.setattr("ablations.judges.comparison.alpaca_eval.package_prompt", lambda: prompt)
    with pytest.raises(QueryError, match="two turns"):
        make_judge("alpaca-eval", settings).check([QUERY])


def alpaca(instruction: str, tops: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judgment:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{"instruction": instruction, "output": "base"}]))
    prompt = "<|im_start|>user\n{instruction}|{output_1}|{output_2}\n<|im_end|>"
    monkeypatch.setattr("ablations.judges.comparison.alpaca_eval.package_prompt", lambda: prompt)
    content = [{"token": "m", "logprob": -0.1, "bytes": None, "top_logprobs": []}]
    content[0]["top_logprobs"] = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in tops.items()]
    body = reply("m", "length")
    body["choices"][0]["logprobs"] = {"content": content}
    query = Query("a", "", (instruction,))
    with bad_server([], default=lambda handler, _: handler.send(200, body)) as server:
        settings = JudgeSettings(model=MODEL, base_url=server.url, limits=QUICK, compare_with=path)
        judge = make_judge("alpaca-eval", settings)
        judge.check([query])
        (judgment,) = asyncio.run(together(judge, [judge.judge(query, [completion("mine")])]))
    shown = server.requests[0]["messages"][-1]["content"]
    assert shown == (f"{instruction}|mine|base" if judgment.details.get("switched") else f"{instruction}|base|mine")
    return judgment


def test_alpaca_evals_preference_is_the_share_of_the_answers_identifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched = set()
    for number in range(8):
        judgment = alpaca(f"i{number}", {"m": 0.6, "M": 0.2, "x": 0.2}, tmp_path, monkeypatch)
        switched.add(judgment.details["switched"])
        # m is the first output: the answer where the two were switched, the baseline elsewhere.
        expected = 0.75 if judgment.details["switched"] else 0.25
        assert judgment.score.value == pytest.approx(expected)
        assert judgment.details["preference"] == pytest.approx(1 + expected)
    assert switched == {0.0, 1.0}


def tokens(*spelt: str, **alternatives: dict[str, float]) -> Reply:
    made = tuple(
        Token(text, {t: math.log(p) for t, p in alternatives.get(f"at{index}", {text: 1.0}).items()})
        for index, text in enumerate(spelt)
    )
    return Reply("".join(spelt), "stop", Usage(), made)


def test_the_rating_is_expected_over_the_probabilities_in_its_place() -> None:
    reply = tokens("Rating", ": ", "[[", "7", "]]", at3={"7": 0.5, "8": 0.3, "x": 0.2})
    assert rating_probabilities(reply, 1, 10) == pytest.approx({7: 0.5, 8: 0.3})


def test_a_ten_of_two_tokens_is_told_from_a_one() -> None:
    reply = tokens("[[", "1", "0", "]]", at1={"1": 0.8, "9": 0.2}, at2={"0": 0.75, "]]": 0.25})
    assert rating_probabilities(reply, 1, 10) == pytest.approx({9: 0.2, 10: 0.6, 1: 0.2})


def test_a_ten_of_one_token_and_brackets_in_the_token_are_read() -> None:
    reply = tokens("[[10", "]]", at0={"[[10": 0.6, "[[9": 0.3, "[[": 0.1})
    assert rating_probabilities(reply, 1, 10) == pytest.approx({10: 0.6, 9: 0.3})
    reply = tokens("[[", "8]]", at1={"8]]": 0.7, "7]]": 0.2, "8": 0.1})
    assert rating_probabilities(reply, 1, 10) == pytest.approx({8: 0.8, 7: 0.2})


def test_ratings_out_of_range_have_no_weight() -> None:
    reply = tokens("[[", "5", "]]", at1={"5": 0.6, "0": 0.2, "12": 0.2})
    assert rating_probabilities(reply, 1, 10) == pytest.approx({5: 0.6})


def test_without_log_probabilities_there_is_no_expectation() -> None:
    with pytest.raises(UnscoredError, match="no log-probabilities"):
        rating_probabilities(Reply("[[5]]", "stop", Usage()), 1, 10)
