"""Judges: what scores the completions of a study."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ablations.core.errors import UsageError, nearest
from ablations.judges.base import GRADED

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
PROGRAMS = ("checks",)
"""Judges that need no audit: what they test is what each query asks, by rules with tests of their own."""
_NO_SERVER = ("reference", "checks")


def make_judge(name: str, settings: "JudgeSettings | None" = None, also: Sequence[str] = ()) -> "Judge":
    """Return the judge called `name`, not started, with the judges `also` beside it.

    Raises:
        UsageError: an unknown name, a setting that a judge needs and lacks, or one that all of them would ignore.
    """
    from ablations.judges.llm.asking import JudgeSettings
    from ablations.judges.panel import Panel

    settings, names = settings or JudgeSettings(), list(dict.fromkeys((name, *also)))
    for one, flag in ((one, "--also-judge" if at else "--judge") for at, one in enumerate(names)):
        if one not in JUDGES:
            raise UsageError(f"{flag} {one!r} is not a known judge; {nearest(one, JUDGES)}")
    _refuse_ignored(names, settings)
    made = [_make(one, settings) for one in names]
    return made[0] if len(made) == 1 else Panel(made)


def free_judge(identity: Mapping[str, Any]) -> "Judge | None":
    """Return the judge of a stored study, by its identity, or None for one that asks a server."""
    from ablations.judges.llm.asking import JudgeSettings

    if identity.get("judge") not in _NO_SERVER:
        return None
    return make_judge(identity["judge"], JudgeSettings(checks_score=identity.get("score", GRADED)))


def _refuse_ignored(names: Sequence[str], settings: "JudgeSettings") -> None:
    """Raise `UsageError` for a setting that none of these judges takes."""
    default, no_server = type(settings)(), all(name in _NO_SERVER for name in names)
    fixed_length = all(name in (*_NO_SERVER, "alpaca-eval") for name in names)
    ignored = {
        "--judge-model": settings.model is not None and no_server,
        "--judge-base-url": settings.base_url is not None and no_server,
        "--judge-prompts": settings.prompts is not None and no_server,
        "--judge-prices": settings.prices is not None and no_server,
        "--max-cost": settings.max_cost is not None and no_server,
        "--judge-max-tokens": settings.reply_tokens != default.reply_tokens and fixed_length,
        "--judge-in-flight, --judge-rpm, --judge-tpm or --judge-timeout": settings.limits != default.limits
        and no_server,
        "--compare-with": settings.compare_with is not None and not set(names) & set(_COMPARING),
        "--two-scores": settings.two_scores and "pairwise" not in names,
        "--checks-score": settings.checks_score != default.checks_score and "checks" not in names,
    }
    named = f"the {names[0]} judge" if len(names) == 1 else f"the judges {' and '.join(names)}"
    for flag, given in ignored.items():
        if given:
            raise UsageError(f"{flag} has no effect with {named}; drop it, or choose another with --judge")


def _make(name: str, settings: "JudgeSettings") -> "Judge":
    module, _, made = JUDGES[name].rpartition(".")
    asked = () if name == DEFAULT_JUDGE else (settings,)
    judge: Judge = getattr(import_module(f"ablations.judges.{module}"), made)(*asked)
    return judge
