"""Overviews: what every plan says before anything runs: model, judge, queries, pool, requests, cost.

Knows specifications and judges; the kinds put their own rows beside these.
"""

from collections.abc import Sequence

from ablations.core.condition import DECODING_PARAMETERS, Condition, format_value, neutral_value
from ablations.core.errors import listed, redacted
from ablations.core.prompt import PromptParts
from ablations.core.records import Query, Usage
from ablations.core.statistics import Ends
from ablations.datasets.prepare import CHARACTERS_PER_TOKEN, Prepared
from ablations.judges.base import Judge
from ablations.judges.checks.judge import ChecksJudge, unchecked
from ablations.judges.checks.scores import floors
from ablations.judges.panel import members, scales
from ablations.judges.prices import format_money
from ablations.judges.registry import DEFAULT_JUDGE
from ablations.studies.spec import StudySpec
from analysis.report.page import About, Report, Section
from analysis.report.tables import Table

USUAL_SPREAD = 0.4
"""Standard deviation of a change's differences over queries, as a share of the judge's scale: the medians of five
studies of the packaged models on short questions were 0.26 to 0.45."""
_SIZES = {"8B": 8e9, "70B": 70e9}
Row = tuple[str, str]


def overview(spec: StudySpec, rows: Sequence[Row], notes: Sequence[str] = (), details: Sequence[Table] = ()) -> Report:
    """Return a plan as a report.

    Args:
        spec: what is evaluated.
        rows: what the study will do, each with its name.
        notes: what there is to mind, in sentences.
        details: further tables, which a dry run shows.
    """
    title = f"Plan of the study {spec.name!r}"
    table = Table("", ("", ""), tuple(rows), (False, False))
    mind = (*(note for one in spec.pools for note in one.notes), *notes)
    plan = Section(title, (), mind, tables=(table,), brief=True)
    return Report(About(spec.name, ()), "", (plan, *([Section("Details", tables=tuple(details))] if details else ())))


def request_rows(spec: StudySpec, judge: Judge, conditions: Sequence[Condition], trials: int) -> list[Row]:
    """Return what trials of these conditions ask for that each answer every query, at the longest of their answers."""
    average = sum(condition.decoding.max_tokens for condition in conditions) / max(len(conditions), 1)
    requests = trials * spec.turns
    return [
        ("queries", f"{len(spec.queries)}, {spec.turns} turns"),
        ("trials", f"{trials}, {spec.concurrency} in flight"),
        ("requests", f"{requests} completions, {judgments(judge)}; what is stored is not asked again"),
        ("tokens", f"at most {round(requests * average):,} new tokens (max_tokens {average:.0f} on average)"),
        ("judging", judging_text(spec, judge, trials, average)),
        ("compute", compute_text(spec, conditions, trials, requests * average)),
    ]


def model_row(spec: StudySpec) -> Row:
    """Return what answers."""
    served = f"what {', '.join(map(redacted, spec.config.server))} serves"
    return ("model", spec.config.study.model or served)


def judgments(judge: Judge) -> str:
    """Return how often each completion is judged, in words."""
    judges = len(members(judge))
    return "and as many judgments" if judges == 1 else f"each judged by {judges} judges"


def judge_row(judge: Judge) -> Row:
    """Return what judges, the judge that decides first."""
    own, *others = map(_judge_text, members(judge))
    return ("judge", f"{own}; beside it, deciding nothing: {', '.join(others)}" if others else own)


def _judge_text(judge: Judge) -> str:
    if judge.name == DEFAULT_JUDGE:
        return f"{judge.name} (a proxy without an LLM, for trying things out)"
    if isinstance(judge, ChecksJudge):
        return f"{judge.name}, score {judge.identity['score']}"
    model = judge.identity.get("model")
    return judge.name if model is None else f"{judge.name}, model {model}"


def floor_rows(judge: Judge, queries: Sequence[Query]) -> list[Row]:
    """Return what constant answers get by checks and which turns have none, where checks judge."""
    if not any(isinstance(one, ChecksJudge) for one in members(judge)):
        return []
    parts = [
        f"{way} {one.best:.1%} by the constant {one.answer!r}, {one.empty:.1%} by an empty answer"
        for way, one in floors(queries).items()
    ]
    none = unchecked(queries)
    lacking = [("no checks", f"{len(none)} turns, which get no score by checks: {listed(none)}")] if none else []
    return [("floor", "; ".join(parts)), *lacking]


def power_rows(judge: Judge, queries: Sequence[Query], comparisons: int, negligible: float | None) -> list[Row]:
    """Return which effects a study of so many comparisons will see, and how often, at the spread that is usual."""
    from analysis.planning import Level  # statistics take a second to import

    if comparisons < 1 or len(queries) < 2:
        return []
    scale = scales(judge, queries, negligible)[judge.name]
    spread, n = USUAL_SPREAD * (scale.high - scale.low), len(queries)
    level = Level(comparisons, Ends.of(scale).differences())
    often = [
        f"{effect:g} points in {level.power(effect, spread, n):.0%}" for effect in (scale.margin, 2 * scale.margin)
    ]
    text = (
        f"{n} queries and {comparisons} comparisons see {level.detectable(spread, n):.2f} points in 80% of studies, "
        f"{', '.join(often)}, where differences spread over queries by {USUAL_SPREAD:.0%} of the scale (26% to 45% in "
        "studies of the packaged models); a finished study has its own: python -m ablations plan"
    )
    return [("power", text)]


def prompt_text(parts: PromptParts) -> str:
    """Return a prompt's components in words."""
    return f"system prompt {parts.system_prompt_name}, template {parts.template.name}, {len(parts.shots)} shots"


def pool_text(prepared: Prepared | None) -> str:
    """Return a pool in words."""
    if prepared is None:
        return "the built-in demonstrations"
    pool = prepared.chooser.pool
    leaks = len(prepared.overlaps) if prepared.allowed else 0
    equal = f"{leaks} of them equal to queries" if leaks else "none of them equal to a query"
    return f"{pool.name}, {len(pool.demonstrations)} demonstrations, {equal}"


def decoding_text(condition: Condition) -> str:
    """Return the decoding parameters of a condition: the usual ones, and those that are not neutral."""
    decoding = condition.decoding
    values = ((name, getattr(decoding, name)) for name in DECODING_PARAMETERS)
    always = ("temperature", "max_tokens", "stop")
    moved = {name: value for name, value in values if name in always or value != neutral_value(name)}
    return ", ".join(f"{name} {format_value(value)}" for name, value in moved.items())


def compute_text(spec: StudySpec, conditions: Sequence[Condition], trials: float, new_tokens: float) -> str:
    """Estimate what a study takes on larger models: 2 operations per parameter and token (Kaplan et al. 2020).

    Prompts are counted at four characters a token; what the prefix cache saves is not taken off.
    """
    characters = sum(
        len(parts.system_prompt)
        + sum(len(one.query) + len(one.answer or "") for one in parts.shown_to(query.id))
        + len(text)
        for parts in (condition.prompt for condition in conditions)
        for query in spec.queries
        for text in query.turns
    )
    read = characters / CHARACTERS_PER_TOKEN * trials / max(len(conditions), 1)
    petaflop = {name: 2 * size * (read + new_tokens) / 1e15 for name, size in _SIZES.items()}
    shown = ", ".join(f"{amount:.2g} PFLOP with {name} parameters" for name, amount in petaflop.items())
    return f"about {read:,.0f} prompt tokens before caching; {shown}"


def judging_text(spec: StudySpec, judge: Judge, trials: float, answer_tokens: float) -> str:
    """Estimate what judging takes: answers at their longest, nothing stored, no question asked twice."""
    once = sum(
        (
            judge.expected_usage(query, turn, answer_tokens)
            for query in spec.queries
            for turn in range(1, len(query.turns) + 1)
        ),
        Usage(),
    )
    calls, prompt, completion = (
        round(trials * number) for number in (once.calls, once.prompt_tokens, once.completion_tokens)
    )
    if not calls:
        return "no calls, no cost"
    cost = format_money(judge.budget.cost(Usage(calls, prompt, completion)))
    limit = "" if judge.budget.limit is None else f", stops before ${judge.budget.limit:g}"
    return f"about {calls:,} calls, {prompt:,} tokens in and {completion:,} out: {cost}{limit}"
