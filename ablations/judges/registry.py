"""Judges: what scores the completions of a study."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from ablations.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from ablations.judges.base import Judge
    from ablations.judges.llm.asking import JudgeSettings

JUDGES: Mapping[str, str] = {
    "reference": "reference.judge.ReferenceJudge",
    "checks": "checks.judge.ChecksJudge",
    "rubric": "llm.rubric.RubricJudge",
    "expected-rating": "llm.expected_rating.ExpectedRatingJudge",
    "pairwise": "comparison.pairwise.PairwiseJudge",
    "alpaca-eval": "comparison.alpaca_eval.AlpacaEvalJudge",
    "aspects": "llm.aspects.AspectsJudge",
}
"""The class of each judge by its name, imported when it is asked for: clients take a second."""
DEFAULT_JUDGE = "reference"
_COMPARING = ("pairwise", "alpaca-eval")
_NO_SERVER = ("reference", "checks")


def make_judge(name: str, settings: "JudgeSettings | None" = None) -> "Judge":
    """Return the judge called `name`, not started.

    Raises:
        UsageError: an unknown name, a setting that the judge needs and lacks, or one that it would ignore.
    """
    from ablations.judges.llm.asking import JudgeSettings

    settings = settings or JudgeSettings()
    if name not in JUDGES:
        raise UsageError(f"--judge {name!r} is not a known judge; {nearest(name, JUDGES)}")
    default, no_server = JudgeSettings(), name in _NO_SERVER
    fixed_length = no_server or name == "alpaca-eval"
    ignored = {
        "--judge-model": settings.model is not None and no_server,
        "--judge-base-url": settings.base_url is not None and no_server,
        "--judge-prompts": settings.prompts is not None and no_server,
        "--judge-prices": settings.prices is not None and no_server,
        "--max-cost": settings.max_cost is not None and no_server,
        "--judge-max-tokens": settings.reply_tokens != default.reply_tokens and fixed_length,
        "--judge-in-flight, --judge-rpm, --judge-tpm or --judge-timeout": settings.limits != default.limits
        and no_server,
        "--compare-with": settings.compare_with is not None and name not in _COMPARING,
        "--two-scores": settings.two_scores and name != "pairwise",
        "--checks-score": settings.checks_score != default.checks_score and name != "checks",
    }
    for flag, given in ignored.items():
        if given:
            raise UsageError(f"{flag} has no effect with the {name} judge; drop it, or choose another with --judge")
    module, _, made = JUDGES[name].rpartition(".")
    asked = () if name == DEFAULT_JUDGE else (settings,)
    judge: Judge = getattr(import_module(f"ablations.judges.{module}"), made)(*asked)
    return judge
