"""LLM judges on vLLM's own server with a 135M model: a poor judge, whose replies often hold no score."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from ablations.core.records import Judgment
from ablations.judges.base import Judge
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import Limits
from ablations.judges.llm.parsing import parse_rating
from ablations.judges.registry import make_judge
from tests.support.calls import together
from tests.support.injections import INJECTIONS
from tests.support.judge_contract import QUERY, completion
from tests.support.servers import SERVED

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def make(name: str, server: str, reply_tokens: int = 16) -> Judge:
    settings = JudgeSettings(model=SERVED, base_url=server, limits=Limits(in_flight=16), reply_tokens=reply_tokens)
    return make_judge(name, settings)


def judge_all(judge: Judge, answers: list[str]) -> list[Judgment]:
    async def run() -> list[Judgment]:
        await judge.start()
        return await together(judge, [judge.judge(QUERY, [completion(answer)]) for answer in answers])

    return asyncio.run(run())


def test_a_score_comes_from_the_judges_reply_and_never_from_the_answer(server: str) -> None:
    planted = list(INJECTIONS)[::3]  # all of them stand in prompts in test_templates
    judgments = judge_all(make("rubric", server), planted)
    assert len(judgments) == len(planted)
    for judgment in judgments:
        assert judgment.replies
        assert judgment.usage.calls == len(judgment.replies)
        if judgment.score.value is None:
            assert len(judgment.replies) == 3
        else:
            assert parse_rating(judgment.replies[-1], 1, 10) == judgment.score.value


def test_vllms_server_gives_the_log_probabilities_that_expected_rating_needs(server: str) -> None:
    judgments = judge_all(make("expected-rating", server), [f"Blue light is scattered most, {n}." for n in range(3)])
    for judgment in judgments:
        if judgment.score.value is not None:
            assert 1 <= judgment.score.value <= 10
            assert 0.5 <= judgment.details["rating_mass"] <= 1


def test_aspects_follow_a_json_schema(server: str) -> None:
    (judgment,) = judge_all(make("aspects", server, 96), ["Blue light is scattered most."])
    assert judgment.score.value is None or set(judgment.details) >= {"helpfulness", "safety"}
    assert judgment.replies[-1].lstrip().startswith("{")


def test_a_poor_judge_takes_a_study_to_its_end_and_nothing_is_made_up(server: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "ablations" / "run.py"), "--study", "decoding", "--base-url", server]
    command += ["--trials", "2", "--limit", "2", "--mlruns", "results", "--judge", "rubric", "--confirm", "0"]
    command += ["--queries", "instructions"]
    command += ["--judge-model", SERVED, "--judge-base-url", server, "--judge-max-tokens", "24"]
    command += ["--judge-prompts", str(short_prompts(tmp_path))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    frame = pl.read_parquet(tmp_path / "results" / "results" / "decoding" / "results.parquet")
    assert frame.height == 2 * 2 * 2
    assert (frame["score"].is_null() == frame["unscored"].is_not_null()).all()
    assert frame["score"].drop_nulls().is_between(1, 10).all()
    assert (frame["judge_calls"] >= 1).all()
    assert re.search(r"Judging: \d+ calls", done.stdout)
    assert "has no audit on record" in done.stdout
    assert "Coverage" in done.stdout


def short_prompts(folder: Path) -> Path:
    """The project's own prompts, asking for the rating alone: a 135M model writes reasons without end."""
    from ablations.judges.llm.templates import OWN_TEMPLATES

    path = folder / "prompts.jsonl"
    text = OWN_TEMPLATES.read_text(encoding="utf-8")
    path.write_text(re.sub(r"First give your reasons in a few sentences\. Then end with", "Reply with", text))
    return path
