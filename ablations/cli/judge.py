"""`audit-judge` and `winrate`: how good a judge is, and what published judgments add up to.

Knows judges and annotations; no study.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ablations.cli.arguments import AuditArguments, WinRateArguments
from ablations.cli.progress import ConsoleReporter, make_console
from ablations.core.errors import JudgeError, UsageError
from ablations.core.records import Query
from ablations.datasets.queries import choose_subset, load_queries
from ablations.judges.base import ComparingJudge, Judge
from ablations.judges.registry import DEFAULT_JUDGE, make_judge
from ablations.studies.config.tables import StudyTable
from ablations.studies.planning.inputs import judge_settings

if TYPE_CHECKING:
    from ablations.judges.audit.audit import Planted

_SEED = StudyTable.seed


def perform(asked: AuditArguments | WinRateArguments) -> int:
    """Do what was asked for and return the exit code."""
    return audit_judge(asked) if isinstance(asked, AuditArguments) else winrate(asked)


def audit_judge(asked: AuditArguments) -> int:
    """Print how often a good answer beats each planted control, and keep the verdict for later studies."""
    from ablations.judges.audit.pairs import read_pairs
    from ablations.studies.views.checks import run_audit

    reporter = ConsoleReporter(make_console(quiet=False))
    judge = make_judge(asked.judge or DEFAULT_JUDGE, judge_settings(asked.settings, _SEED))
    planted = _planted(asked, judge)
    pairs = read_pairs(asked.pairs) if asked.pairs else []
    if isinstance(judge, ComparingJudge):
        if asked.settings.compare_with:
            raise UsageError("an audit compares good answers with planted ones; drop --compare-with")
    else:
        judge.check([item.query for item in planted] + [pair.query for pair in pairs])
    asked.places.prepare()
    found = asyncio.run(run_audit(judge, planted, pairs, asked.places, reporter))
    if not found.n_scored:
        why = "; ".join(f"{count} x {reason}" for reason, count in sorted(found.unscored.items()))
        raise JudgeError(
            f"the {judge.name} judge gave none of {found.n_judged} answers a score, so that its audit says nothing: "
            f"{why}; correct that, and audit it again"
        )
    return 0


def _planted(asked: AuditArguments, judge: Judge) -> "list[Planted]":
    """Return controls around the built-in second answers, or around the references of other queries."""
    from ablations.datasets.queries import foreign_answers, reworded_answers, second_answers, wrong_answers
    from ablations.judges.audit.audit import plant_controls
    from ablations.judges.audit.calibration import halves
    from ablations.judges.audit.controls import FOREIGN, WORDING, WRONG

    if asked.queries is None:
        queries = choose_subset(halves()[1], asked.limit, _SEED)
        written = {WRONG: wrong_answers(), FOREIGN: foreign_answers(), WORDING: reworded_answers()}
        return plant_controls(_shortened(queries, judge), second_answers(), written)
    if judge.name == DEFAULT_JUDGE:
        raise UsageError(
            "the good answers of --queries are their reference answers, which the reference judge compares with; "
            "leave --queries out, or audit another judge"
        )
    queries = choose_subset(load_queries(asked.queries, asked.reference_answers), asked.limit, _SEED)
    answers = {query.id: tuple(filter(None, query.references)) for query in queries if all(query.references)}
    if len(answers) < 2:
        raise UsageError(
            f"an audit needs good answers, and {len(answers)} of {len(queries)} queries have reference answers to all "
            "turns; give --reference-answers FILE, or leave --queries out"
        )
    return plant_controls(_shortened(queries, judge), answers)


def _shortened(queries: Sequence[Query], judge: Judge) -> list[Query]:
    """Return the queries with no more turns than the judge judges."""
    return [query.first_turns(judge.max_turns) for query in queries]


def winrate(asked: WinRateArguments) -> int:
    """Print the win rates in a published file of annotations as one JSON object: AlpacaEval's, or Han's."""
    from ablations.judges.comparison.published import holds_two_scores

    rates = _two_score_rates(asked) if holds_two_scores(asked.annotations) else _alpaca_eval_rates(asked)
    print(json.dumps(rates, indent=2, allow_nan=False))
    return 0


def _two_score_rates(asked: WinRateArguments) -> Mapping[str, object]:
    from ablations.judges.comparison.published import read_two_scores
    from ablations.judges.llm.parsing import FIRST, SECOND, TIE
    from analysis.scores import outcome_rates

    if asked.instruction_difficulty or asked.gamed:
        raise UsageError("--instruction-difficulty and --gamed belong to AlpacaEval's annotations; drop them")
    named = {FIRST: "win_rate", TIE: "draw_rate", SECOND: "loss_rate", None: None}
    verdicts = read_two_scores(asked.annotations)
    return outcome_rates(
        [[named[verdict] for verdict in of_one] for of_one in verdicts], [*filter(None, named.values())]
    )


def _alpaca_eval_rates(asked: WinRateArguments) -> Mapping[str, object]:
    from analysis.published.annotations import read_annotations, read_difficulty, read_gamed
    from analysis.published.win_rate import win_rate

    difficulty = read_difficulty(asked.instruction_difficulty) if asked.instruction_difficulty else None
    gamed = read_gamed(asked.gamed) if asked.gamed else None
    rate = asdict(win_rate(read_annotations(asked.annotations), difficulty, gamed))
    shown = ("win_rate", "standard_error", "length_controlled_win_rate", "reason", "n", "n_missing", "lacking")
    counts = ("n_wins", "n_draws", "n_losses")
    return {name: rate[name] for name in (*shown, *counts)}
