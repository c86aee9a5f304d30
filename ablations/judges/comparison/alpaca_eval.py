"""The `alpaca-eval` judge: AlpacaEval 2.0's weighted preference over a baseline model's outputs.

Knows neither conditions nor studies. The prompt comes from the `alpaca-eval` package; the judge sees both outputs
as m and M, in an order drawn by the package's rule, and the preference is the probability of the answer's
identifier among the first token's log-probabilities (Dubois et al. 2024). A score is preference − 1, so a trial's
mean times 100 is its win rate.
"""

import importlib.util
import math
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.core.condition import content_hash
from ablations.core.errors import QueryError, UsageError
from ablations.core.records import Completion, Judgment, Query, Score, Usage
from ablations.judges.comparison.reference_outputs import ReferenceOutputs
from ablations.judges.llm.asking import JudgeSettings, ask
from ablations.judges.llm.client import Reply
from ablations.judges.llm.judge import LlmJudge
from ablations.judges.llm.parsing import EMPTY, NO_LOGPROBS, NO_RATING, REFUSED, UnscoredError
from ablations.judges.prices import TYPICAL_BYTES, typical_usage

PROMPT = Path("evaluators_configs", "alpaca_eval_clf_gpt4_turbo", "alpaca_eval_clf.txt")
TOP_LOGPROBS = 5
_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)\n?<\|im_end\|>", re.DOTALL)


class AlpacaEvalJudge(LlmJudge):
    """Compares single-turn answers with the baseline's, by one token's log-probabilities."""

    name = "alpaca-eval"
    scale = (0.0, 1.0)
    max_turns = 1

    def __init__(self, settings: JudgeSettings) -> None:
        self._outputs = ReferenceOutputs(settings.compare_with, self.name)
        if settings.prompts is not None:
            raise UsageError("--judge alpaca-eval takes its prompt from the alpaca-eval package; drop --judge-prompts")
        self._seed = settings.seed
        self._prompt = package_prompt()
        super().__init__(settings)
        self.form = {"max_tokens": 1, "temperature": 1.0, "top_logprobs": TOP_LOGPROBS}

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge's version, model, prompt and seed, and the outputs it compares with (after `check`)."""
        own = {"prompts": content_hash(self._prompt), "seed": self._seed}
        return {**super().identity, **own, **self._outputs.identity}

    def check(self, queries: Sequence[Query]) -> None:
        """Read the baseline's outputs.

        Raises:
            QueryError: a query has a second turn, which AlpacaEval does not know.
            UsageError: the outputs cannot be read, or one is missing.
        """
        for query in queries:
            if len(query.turns) > self.max_turns:
                raise QueryError(
                    f"query {query.id!r} has two turns; --judge alpaca-eval judges single-turn queries only"
                )
        self._outputs.read(queries)

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the only completion; preference is 1 for the baseline to 2 for the answer."""
        return await self.compare(query, [completions[0].answer], self.against(query))

    def against(self, query: Query) -> Sequence[str]:
        """Return the baseline's output."""
        return self._outputs.to(query, 1)

    async def compare(self, query: Query, own: Sequence[str], other: Sequence[str]) -> Judgment:
        """Return the judgment of one answer against another in the baseline's place."""
        (answer,), (baseline,) = own, other
        switched = is_switched(query.turns[0], self._seed)
        outputs = (answer, baseline) if switched else (baseline, answer)
        messages = render(self._prompt, query.turns[0], *outputs)
        answered = await ask(self.client, messages, first_is_better, **self.form)
        if answered.value is None:
            return Judgment(self.name, Score(None, answered.reason), answered.replies, usage=answered.usage)
        preference = 1 + answered.value if switched else 2 - answered.value
        details = {"preference": preference, "switched": float(switched)}
        return Judgment(self.name, Score(preference - 1), answered.replies, details, answered.usage)

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        """Return what one judgment takes, roughly."""
        del turn
        answer = "x" * round(answer_tokens * TYPICAL_BYTES)
        return typical_usage(render(self._prompt, query.turns[0], answer, *self._outputs.to(query, 1)), 1)


def package_prompt() -> str:
    """Return the prompt that `alpaca-eval` ships; raise `UsageError` where the package is not installed."""
    # Found, not imported: importing it loads half of the data-science stack for one text file.
    package = importlib.util.find_spec("alpaca_eval")
    folders = list(package.submodule_search_locations or ()) if package is not None else []
    try:
        return (Path(folders[0]) / PROMPT).read_text(encoding="utf-8")
    except (IndexError, OSError) as error:
        raise UsageError(
            "--judge alpaca-eval takes its prompt from the package alpaca-eval 0.6.6; install it: "
            "uv pip install -c constraints.txt -e '.[alpaca-eval]' in the project's folder"
        ) from error


def render(prompt: str, instruction: str, output_1: str, output_2: str) -> list[dict[str, str]]:
    """Return the messages, in one pass, so that a placeholder inside an answer stays text."""
    fields = {"instruction": instruction, "output_1": output_1, "output_2": output_2}
    return [
        {"role": role, "content": re.sub(r"\{(instruction|output_1|output_2)\}", lambda m: fields[m[1]], text)}
        for role, text in _MESSAGE.findall(prompt)
    ]


def is_switched(instruction: str, seed: int) -> bool:
    """Return whether AlpacaEval shows the two outputs of an instruction in the other order."""
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True], k=1)[0]


def first_is_better(reply: Reply) -> float:
    """Return the probability of m (the first output) against M, from the first token's alternatives.

    Raises:
        UnscoredError: neither is among them.
    """
    if reply.finish_reason == "content_filter":
        raise UnscoredError(REFUSED)
    if not reply.tokens:
        raise UnscoredError(NO_LOGPROBS if reply.text else EMPTY)
    found = {name: math.exp(lp) for name, lp in reply.tokens[0].alternatives.items() if name in ("m", "M")}
    if not found or sum(found.values()) == 0:
        raise UnscoredError(NO_RATING)
    return found.get("m", 0.0) / sum(found.values())
