"""Judges: what scores the completions of a study."""

from collections.abc import Callable

from ablations.core.errors import UsageError, nearest
from ablations.judges.base import Judge
from ablations.judges.comparison.alpaca_eval import AlpacaEvalJudge
from ablations.judges.comparison.pairwise import PairwiseJudge
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.aspects import AspectsJudge
from ablations.judges.llm.expected_rating import ExpectedRatingJudge
from ablations.judges.llm.rubric import RubricJudge
from ablations.judges.reference.judge import ReferenceJudge

JUDGES: dict[str, Callable[[JudgeSettings], Judge]] = {
    ReferenceJudge.name: lambda _: ReferenceJudge(),
    RubricJudge.name: RubricJudge,
    ExpectedRatingJudge.name: ExpectedRatingJudge,
    PairwiseJudge.name: PairwiseJudge,
    AlpacaEvalJudge.name: AlpacaEvalJudge,
    AspectsJudge.name: AspectsJudge,
}
DEFAULT_JUDGE = ReferenceJudge.name
_COMPARING = (PairwiseJudge.name, AlpacaEvalJudge.name)


def make_judge(name: str, settings: JudgeSettings | None = None) -> Judge:
    """Return the judge called `name`, not started.

    Raises:
        UsageError: an unknown name, a setting that the judge needs and lacks, or one that it would ignore.
    """
    settings = settings or JudgeSettings()
    if name not in JUDGES:
        raise UsageError(f"--judge {name!r} is not a known judge; {nearest(name, JUDGES)}")
    default, no_server = JudgeSettings(), name == ReferenceJudge.name
    fixed_length = name in (ReferenceJudge.name, AlpacaEvalJudge.name)
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
        "--two-scores": settings.two_scores and name != PairwiseJudge.name,
    }
    for flag, given in ignored.items():
        if given:
            raise UsageError(f"{flag} has no effect with the {name} judge; drop it, or choose another with --judge")
    return JUDGES[name](settings)
