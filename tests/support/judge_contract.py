"""The contract of every judge; each judge's tests inherit this."""

import asyncio
import json
from collections.abc import Sequence

from ablations.core.records import Check, Completion, Judgment, Query
from ablations.judges.base import Judge
from tests.support.servers import Loop

QUERY = Query(
    id="q",
    category="stem",
    turns=("Why is the sky blue?", "And at sunset?"),
    references=(
        "Air molecules scatter short, blue wavelengths of sunlight far more than long, red ones. So blue light "
        "reaches the eye from every direction of the sky.",
        "At sunset the light crosses much more air. Most of the blue is scattered out of the beam, and red remains.",
    ),
    checks=(
        (Check("answer:mentions", {"all": ["blue"], "any": ["scatter", "scattered"]}), Check("finished")),
        (Check("answer:mentions", {"any": ["red", "air"]}), Check("finished")),
    ),
)


LOOP = Loop()
"""Judges keep connections, which belong to one event loop."""


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(text, prompt_tokens=10, completion_tokens=len(text.split()), finish_reason=finish_reason, seed=0)


def clearly(judge: Judge) -> float:
    """Return a difference that nobody overlooks, points of the judge's scale."""
    low, high = judge.scale
    return 0.2 * (high - low)


class JudgeContract:
    """Subclasses provide the fixture `judge`, started."""

    def ask(self, judge: Judge, *answers: str) -> Judgment:
        made: Judgment = LOOP.run(judge.judge(QUERY, [completion(answer) for answer in answers]))
        return made

    def test_a_score_lies_on_the_scale_or_has_a_reason(self, judge: Judge) -> None:
        low, high = judge.scale
        for answers in (["Blue light is scattered most."], [""], ["word " * 300], ["a", "Red remains."]):
            score = self.ask(judge, *answers).score
            assert (score.value is None) != (score.reason is None)
            assert score.value is None or low <= score.value <= high

    def test_a_judgment_names_its_judge_and_survives_json(self, judge: Judge) -> None:
        judgment = self.ask(judge, "Blue light is scattered most.")
        assert judgment.judge == judge.name
        assert Judgment.from_json(judgment.to_json()) == judgment

    def test_calls_may_overlap_and_do_not_mix(self, judge: Judge) -> None:
        answers = [" ".join(["Blue light is scattered most."] * n) for n in range(1, 9)]

        async def together() -> Sequence[Judgment]:
            return await asyncio.gather(*(judge.judge(QUERY, [completion(answer)]) for answer in answers))

        assert list(LOOP.run(together())) == [self.ask(judge, answer) for answer in answers]

    def test_the_identity_is_plain_json(self, judge: Judge) -> None:
        assert json.loads(json.dumps(dict(judge.identity))) == dict(judge.identity)

    def test_a_better_answer_scores_higher(self, judge: Judge) -> None:
        good = self.ask(
            judge, "Molecules in the air scatter blue light much more than red, so it comes from everywhere."
        )
        poor = self.ask(judge, "Preheat the oven and butter a tin. Fold the flour into the eggs and bake for an hour.")
        assert good.score.value is not None
        assert poor.score.value is not None
        assert good.score.value > poor.score.value + clearly(judge)

    def test_the_second_turn_is_judged_by_its_own_answer(self, judge: Judge) -> None:
        first = "Blue light is scattered most."
        good = self.ask(judge, first, "The light crosses much more air, so blue is scattered out and red is left.")
        poor = self.ask(judge, first, "Preheat the oven and butter a tin. Fold in the flour and bake for an hour.")
        assert (good.score.value or 0) > (poor.score.value or 0) + clearly(judge)
