"""What a person sees before anything runs: the plan of a study, what it will take, and the studies there are.

Knows specs and judges; runs nothing.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ablations.cli.progress import format_money
from ablations.core.condition import DECODING_PARAMETERS, Condition, format_value, neutral_value
from ablations.core.records import Usage
from ablations.datasets.prepare import CHARACTERS_PER_TOKEN, Prepared
from ablations.judges.base import Judge
from ablations.studies.conditions.confirmation import Confirmation
from ablations.studies.greedy.plan import SearchPlan, longest_condition
from ablations.studies.icl_vs_ift.plan import Arm, TuningPlan, counted
from ablations.studies.spec import StudySpec

_SIZES = {"8B": 8e9, "70B": 70e9}


def show_plan(
    console: Console,
    spec: StudySpec,
    model: str,
    judge: Judge,
    list_conditions: bool,
    confirmation: Confirmation | None = None,
) -> None:
    """Print what the study is about to do: conditions, requests and the most tokens they can take.

    `judge` has checked the held-back queries of the confirmation as well.
    """
    if spec.mode == "greedy-search":
        _show_search_plan(console, spec, model, judge)
        return
    conditions = [spec.to_condition(point.values) for point in spec.design]
    average = sum(condition.decoding.max_tokens for condition in conditions) / max(len(conditions), 1)
    requests = spec.total_trials * spec.turns
    rows = (
        ("model", model),
        ("judge", _described(judge)),
        ("mode", _mode(spec)),
        ("varied", "; ".join(f"{p.name}: {p.domain.describe()}" for p in spec.space.parameters)),
        ("prompt", _prompt(spec)),
        ("pool", _pool(spec)),
        ("queries", f"{len(spec.queries)}, {spec.turns} turns"),
        ("trials", f"{spec.total_trials}, {spec.concurrency} in flight"),
        ("requests", f"{requests} completions and as many judgments; what is stored is not asked again"),
        ("tokens", f"at most {round(requests * average):,} new tokens (max_tokens {average:.0f} on average)"),
        ("judging", _expected_judging(spec, judge, spec.total_trials, average)),
        ("compute", _expected_compute(spec, conditions, spec.total_trials, requests * average)),
        *(_confirming(spec, judge, confirmation) if confirmation is not None else ()),
    )
    _show_rows(console, spec, rows)
    for note in confirmation.held_back.notes if confirmation is not None else ():
        console.print(note, style="yellow", markup=False)
    if spec.left_out:
        console.print(
            f"[yellow]--trials {spec.trials} leaves out {spec.left_out} conditions of the design; "
            f"{spec.trials + spec.left_out} trials take all of them[/yellow]"
        )
    if list_conditions:
        _show_design(console, spec)


def _confirming(spec: StudySpec, judge: Judge, confirmation: Confirmation) -> tuple[tuple[str, str], ...]:
    """Return the rows of what is evaluated again; which conditions is not known yet: answers at their longest."""
    both, trials = confirmation.extended(spec), confirmation.planned(spec)
    conditions = both.boundary_conditions
    longest = max(condition.decoding.max_tokens for condition in conditions)
    requests, held_back = trials * both.turns, len(confirmation.held_back.queries)
    again = (
        f"the best {trials - 1} conditions and the baseline again, on {len(spec.queries)} queries with fresh seeds and "
        f"{held_back} held back: at most {requests} completions, {requests * longest:,} new tokens; greedy answers to "
        "the study's own queries stay the same, whatever the seed"
    )
    return (("confirmation", again), ("its judging", _expected_judging(both, judge, trials, longest)))


def _show_search_plan(console: Console, spec: StudySpec, model: str, judge: Judge) -> None:
    search = SearchPlan.of(spec)
    answers = spec.baseline.decoding.max_tokens
    trials = search.evaluations / len(spec.queries)  # as if every trial answered all queries
    rows = (
        ("model", model),
        ("judge", _described(judge)),
        ("mode", f"greedy search, seed {spec.seed}; {search.rounds} rounds at most, ends when {search.ends}"),
        ("prompt", f"starts with {_prompt(spec)}"),
        ("pool", _pool(spec)),
        ("candidates", f"{len(search.candidates)}; the hopeless ones stop early"),
        (
            "queries",
            f"{len(search.halves.selection)} to choose by, {len(search.halves.held_back)} held back; turn 1",
        ),
        ("requests", f"at most {search.evaluations} completions and as many judgments without racing"),
        ("tokens", f"at most {search.evaluations * answers:,} new tokens (max_tokens {answers})"),
        ("judging", _expected_judging(spec, judge, trials, answers)),
        ("compute", _expected_compute(spec, [longest_condition(spec)], trials, search.evaluations * answers)),
    )
    _show_rows(console, spec, rows)
    if search.unreadable:
        shown = ", ".join(search.unreadable)
        console.print(f"a prompt file could not hold these candidates, so they do not race: {shown}", style="yellow")


def show_tuning_plan(
    console: Console,
    spec: StudySpec,
    plan: TuningPlan,
    judge: Judge,
    costs: Sequence[tuple[str, str]],
    list_arms: bool,
) -> None:
    """Print what a comparison of prompts with fine-tuning is about to do; `costs` say what that takes, as rows."""
    base, arms = plan.arms[0], len(plan.arms)
    longest = max(arm.condition.decoding.max_tokens for arm in plan.arms)
    options, requests = plan.options, arms * spec.turns
    rows = (
        ("model", base.model),
        ("judge", _described(judge)),
        ("mode", f"learning in context against fine-tuning ({options.method}), seed {spec.seed}"),
        ("prompt", f"the tuned model is asked with {_prompt(spec)}"),
        ("pool", "; ".join(_pool_of(one) for one in spec.pools)),
        ("examples", f"{', '.join(map(str, options.sizes))}; {counted(options.draws, 'draw')} of each"),
        ("decoding", _decoding(plan)),
        ("queries", f"{len(spec.queries)}, {spec.turns} turns"),
        ("arms", f"{arms}, {spec.concurrency} in flight on each engine"),
        ("requests", f"{requests} completions and as many judgments; what is stored is not asked again"),
        ("tokens", f"at most {requests * longest:,} new tokens"),
        ("judging", _expected_judging(spec, judge, arms, longest)),
        *costs,
    )
    _show_rows(console, spec, rows)
    for note in plan.notes:
        console.print(note, style="yellow", markup=False)
    if list_arms:
        table = Table("trial", "arm", "recipe", title="Arms", title_justify="left", box=None)
        for arm in plan.arms:
            table.add_row(str(arm.number), escape(arm.label), "" if arm.job is None else _recipe(arm))
        console.print(table)


def _decoding(plan: TuningPlan) -> str:
    """Return how the arms decode: what differs from neutral values, once where all do the same."""
    found: dict[str, list[str]] = {}
    for arm in plan.arms:
        decoding = arm.condition.decoding
        values = ((name, getattr(decoding, name)) for name in DECODING_PARAMETERS)
        always = ("temperature", "max_tokens", "stop")
        moved = {name: value for name, value in values if name in always or value != neutral_value(name)}
        shown = ", ".join(f"{name} {format_value(value)}" for name, value in moved.items())
        found.setdefault(shown, []).append(arm.way)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{', '.join(dict.fromkeys(ways))}: {shown}" for shown, ways in found.items())


def _recipe(arm: Arm) -> str:
    assert arm.job is not None  # as the caller has seen
    recipe, answers = arm.job.recipe, len(arm.job.samples)
    looked = "looked for around " if arm.held_out else ""
    return (
        f"{answers} answers, {counted(recipe.epochs, 'pass', 'passes')}, {recipe.steps(answers)} steps of "
        f"{recipe.batch}, learning rate {looked}{recipe.learning_rate:g}"
    )


def _show_rows(console: Console, spec: StudySpec, rows: Sequence[tuple[str, str]]) -> None:
    table = Table(title=f"Plan of the study {spec.name!r}", title_justify="left", show_header=False, box=None)
    for key, value in rows:
        table.add_row(f"[bold]{key}[/bold]", escape(value))
    console.print(table)
    for note in (note for one in spec.pools for note in one.notes):
        console.print(f"[yellow]{escape(note)}[/yellow]")


def _mode(spec: StudySpec) -> str:
    design = f", design {spec.design_kind}" if spec.mode == "ablation" else ""
    return f"{spec.mode}{design}, sampler {spec.sampler}, seed {spec.seed}"


def _prompt(spec: StudySpec) -> str:
    parts = spec.baseline.prompt
    return f"rules {parts.system_prompt_name}, headings {parts.template.name}, {len(parts.shots)} demonstrations"


def _pool(spec: StudySpec) -> str:
    return "the built-in demonstrations" if spec.prepared is None else _pool_of(spec.prepared)


def _pool_of(prepared: Prepared) -> str:
    pool = prepared.chooser.pool
    leaks = len(prepared.overlaps) if prepared.allowed else 0
    equal = f"{leaks} of them equal to queries" if leaks else "none of them equal to a query"
    return f"{pool.name}, {len(pool.demonstrations)} demonstrations, {equal}"


def _expected_compute(spec: StudySpec, conditions: Sequence[Condition], trials: float, new_tokens: float) -> str:
    """Estimate what the study takes on larger models: 2 operations per parameter and token (Kaplan et al. 2020).

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


def _described(judge: Judge) -> str:
    if judge.name == "reference":
        return "reference  (a proxy without an LLM, for trying things out)"
    return f"{judge.name}, model {judge.identity.get('model', 'none')}"


def _expected_judging(spec: StudySpec, judge: Judge, trials: float, answer_tokens: float) -> str:
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


def _show_design(console: Console, spec: StudySpec) -> None:
    table = Table("trial", "role", "condition", title="Conditions", title_justify="left", box=None)
    for number, point in enumerate(spec.design):
        values = " ".join(f"{name}={format_value(value)}" for name, value in point.values.items())
        table.add_row(str(number), point.role, escape(values) + (" (A/A)" if point.replicate else ""))
    console.print(table)
    if spec.total_trials > len(spec.design):
        console.print(f"… and {spec.total_trials - len(spec.design)} trials that the {spec.sampler} sampler chooses")


def show_studies(console: Console, studies: Sequence[tuple[str, str]]) -> None:
    """Print the known studies with their descriptions."""
    table = Table("study", "what it answers", box=None)
    for name, description in studies:
        table.add_row(name, description)
    console.print(table)
