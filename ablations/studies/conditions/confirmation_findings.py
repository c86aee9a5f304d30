"""Confirmation: the lead of a study's best conditions as selected, on fresh seeds, and on held-back queries.

Knows result frames. The lead of the best of many conditions is subject to selection bias (of 50 equal ones by about
2.25 standard errors of its mean); scores that chose nothing are not. Fresh seeds take away what sampling did for the
choice, held-back queries also what the queries did for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ablations.core.statistics import Ends
from analysis.effects.intervals import Floats, Interval, difference, mean_intervals, welch_interval
from analysis.effects.paired import baseline_trial
from analysis.examples import worth_reading
from analysis.figures import confirmation_figures
from analysis.frames import Row, ends_of, judge_name, nested_scores
from analysis.report.page import About, Report, Section
from analysis.report.scores import judge_section, method_section
from analysis.report.tables import Columns, filled, interval, make_table, signed
from analysis.scores import failed_trials

_READING = (
    "The lead of the best of many conditions is subject to selection bias. The same conditions on fresh seeds and on "
    "queries that the study did not see say by how much: the shrinkage is what was luck."
)
_SAME_ANSWERS = (
    "Where the fresh seeds' lead is the selected one to the digit, answers were greedy: these do not change with the "
    "seed, so that fresh seeds say nothing new there and only held-back queries do."
)

_LEADS = ("selected", "fresh", "held_back", "shrinkage_fresh", "shrinkage")
_SCHEMA = {
    "condition_id": pl.String,
    "label": pl.String,
    **{f"{name}{bound}": pl.Float64 for name in _LEADS for bound in ("", "_low", "_high")},
    **{f"n_{name}": pl.Int64 for name in ("selected", "fresh", "held_back")},
    "same_answers": pl.Boolean,
    "confirmed": pl.Boolean,
}
_Leads = Mapping[str, float]
"""A condition's lead over the baseline by query."""


def confirm(selected: pl.DataFrame, confirmed: pl.DataFrame) -> pl.DataFrame:
    """Return each confirmed condition's lead over the baseline: as selected, on fresh seeds, on held-back queries.

    Args:
        selected: the results of the study that chose the conditions.
        confirmed: the results of its follow-up: the baseline and the conditions, on the study's queries with other
            seeds and on queries of its own. A condition is found in the study by its condition_id, or where
            demonstrations are chosen for each query, so that more queries make another id, by its label.

    Returns:
        One row a condition, in the order of the follow-up's trials, in points of the judge's scale:

        - condition_id, label;
        - selected, fresh, held_back: mean of the condition's score minus the baseline's, paired over queries, each
          with _low and _high (95 %, `intervals.mean_intervals`; not corrected for any choice) and its number of
          queries as n_selected, n_fresh, n_held_back;
        - shrinkage_fresh: selected minus fresh, with _low and _high; paired over the queries of both;
        - shrinkage: selected minus held_back, with _low and _high. The two means are of different queries, so that
          this is Welch's interval for independent means. It takes the selected lead as if the condition had been
          fixed beforehand, so it says how far apart two such means lie by chance alone;
        - same_answers: whether condition and baseline answered the study's queries as before, as greedy decoding does,
          so that fresh seeds say nothing new;
        - confirmed: whether the held-back lead is above 0 at the level 1 - 0.05 / number of conditions (Bonferroni's
          correction: each of them has a chance to seem confirmed).

        What cannot be computed is null: a lead without scores, an interval of fewer than two queries. Without the
        baseline's scores there is no row.
    """
    baseline, chosen_against = baseline_trial(confirmed), baseline_trial(selected)
    if baseline is None or chosen_against is None:
        return pl.DataFrame(schema=_SCHEMA)
    trials, known = [trial for trial in _trials(confirmed) if trial["role"] != "baseline"], _trials(selected)
    before, again = _scores(selected), _scores(confirmed)
    said, repeated = _answers(selected), _answers(confirmed)
    own = set(selected.get_column("query_id"))
    level, of_scores = 1 - 0.05 / max(len(trials), 1), ends_of(confirmed)
    ends, of_shrinkage = (of_scores.differences(number) for number in (1, 2))
    rows = []
    for trial, condition_id, label in ((one["trial"], one["condition_id"], one["label"]) for one in trials):
        twin = _twin(known, condition_id, label)
        old, new = _lead(before, twin, chosen_against), _lead(again, trial, baseline)
        fresh = {query: lead for query, lead in new.items() if query in own}
        held_back = {query: lead for query, lead in new.items() if query not in own}
        both = [query for query in old if query in fresh]
        leads = {
            "selected": _interval(old, ends),
            "fresh": _interval(fresh, ends),
            "held_back": _interval(held_back, ends),
            "shrinkage_fresh": _interval({query: old[query] - fresh[query] for query in both}, of_shrinkage),
            "shrinkage": welch_interval(_array(old), _array(held_back), ends=ends) if old and held_back else None,
        }
        row: dict[str, object] = {"condition_id": condition_id, "label": label}
        for name, lead in leads.items():
            bounds = (None, None, None) if lead is None else (lead.value, lead.low, lead.high)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), bounds, strict=True))
        row |= {
            f"n_{name}": len(lead) for name, lead in (("selected", old), ("fresh", fresh), ("held_back", held_back))
        }
        row["same_answers"] = twin is not None and all(
            said[one].items() <= repeated[other].items() for one, other in ((twin, trial), (chosen_against, baseline))
        )
        strict = _interval(held_back, ends, level)
        row["confirmed"] = None if strict is None or strict.low is None else strict.low > 0
        rows.append(row)
    return pl.DataFrame(rows, schema=_SCHEMA)


def _trials(results: pl.DataFrame) -> list[Row]:
    """Return what describes each trial that is no A/A replicate."""
    described = ("trial", "condition_id", "label", "role", "replicate", "state")
    trials = {row[0]: dict(zip(described, row, strict=True)) for row in results.select(described).iter_rows()}
    return [trials[number] for number in sorted(trials) if not trials[number]["replicate"]]


def _twin(trials: list[Row], condition_id: str, label: str) -> int | None:
    """Return the first complete trial of the study with this condition."""
    complete = [trial for trial in trials if trial["state"] == "complete"]
    same = [trial for trial in complete if trial["condition_id"] == condition_id]
    return next((int(trial["trial"]) for trial in (*same, *complete) if trial in same or trial["label"] == label), None)


def _scores(results: pl.DataFrame) -> dict[int, dict[str, float]]:
    """Return the scores of complete trials by trial and query."""
    scores: dict[int, dict[str, float]] = {}
    for trial, query, score in nested_scores(results).select("trial", "query_id", "score").iter_rows():
        scores.setdefault(trial, {})[query] = score
    return scores


def _lead(scores: Mapping[int, _Leads], trial: int | None, baseline: int) -> dict[str, float]:
    """Return a trial's scores minus the baseline's on the queries that both scored."""
    own, against = scores.get(trial, {}) if trial is not None else {}, scores.get(baseline, {})
    return {query: own[query] - against[query] for query in sorted(own) if query in against}


def _array(leads: _Leads) -> Floats:
    return np.array(list(leads.values()), dtype=np.float64)


def _interval(leads: _Leads, ends: Ends, level: float = 0.95) -> Interval | None:
    """Return the mean of leads, which have these ends."""
    leads_of_one = difference(_array(leads), np.zeros(len(leads)))[:, None]
    return mean_intervals(leads_of_one, level=level, ends=ends)[0] if leads else None


def _answers(results: pl.DataFrame) -> dict[int, dict[tuple[str, int], str]]:
    """Return all answers by trial, and by query and turn."""
    answers: dict[int, dict[tuple[str, int], str]] = {}
    for trial, query, turn, answer in results.select("trial", "query_id", "turn", "answer").iter_rows():
        answers.setdefault(trial, {})[query, turn] = answer
    return answers


@dataclass(frozen=True)
class ConfirmationFindings:
    """Findings of a confirmation, as the terminal and MLflow show them.

    Attributes:
        headline: one sentence with the held-back leads and their intervals.
        table: the frame of `confirm`.
        judge: whose scores these are.
        failed: the trials of the follow-up that lack scores, with the reason.
        trials: how many the follow-up has.
        reading: its trials that are worth reading, and why.
    """

    headline: str
    table: pl.DataFrame
    judge: str
    failed: tuple[str, ...]
    trials: int
    reading: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, selected: pl.DataFrame, confirmed: pl.DataFrame) -> "ConfirmationFindings":
        """Return the findings from the results of a study and of its follow-up."""
        table, judge = confirm(selected, confirmed), judge_name(confirmed)
        held_back = set(confirmed.get_column("query_id")) - set(selected.get_column("query_id"))
        return cls(
            _headline(table, judge, len(held_back)),
            table,
            judge,
            tuple(failed_trials(confirmed)),
            confirmed["trial"].n_unique(),
            worth_reading(confirmed),
        )

    def metrics(self) -> dict[str, float | None]:
        """Return the numbers for the follow-up's run: each lead by rank in the study, 1 for the best condition."""
        confirmed = self.table.get_column("confirmed").drop_nulls()  # null where no query was held back
        metrics: dict[str, float | None] = {"confirmed": float(confirmed.sum()) if len(confirmed) else None}
        for rank, row in enumerate(self.table.iter_rows(named=True), start=1):
            for name in _LEADS:
                title = name if name.startswith("shrinkage") else f"{name}_lead"
                metrics |= {f"{title}{bound}/{rank}": row[f"{name}{bound}"] for bound in ("", "_low", "_high")}
        return metrics

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the table by name, if it has rows."""
        return {"confirmation": self.table} if len(self.table) else {}

    def report(self, about: About) -> Report:
        """Return the page of the confirmation itself."""
        sections = (self.section(), judge_section(about, self.judge))
        shown = (section for section in sections if not section.empty)
        counted = f"{self.trials}: the baseline, and the best conditions again"
        return Report(about.having(trials=counted), self.headline, (*shown, method_section()), self.reading)

    def section(self) -> Section:
        """Return what the confirmation says on the page of the study that it confirms."""
        columns: Columns = {"condition": "label"}
        named = {
            "as selected": "selected",
            "fresh seeds": "fresh",
            "held-back queries": "held_back",
            "shrinkage": "shrinkage",
        }
        for title, name in named.items():
            columns |= {title: signed(name), f"{title}, 95 %": interval(f"{name}_low", f"{name}_high")}
        table, rows = make_table("Lead over the baseline", self.table, columns), self.table.to_dicts()
        said = [
            f"{row['n_fresh']} queries again and {row['n_held_back']} held back; shrinkage is the lead as selected "
            "minus the held-back one, between different queries (Welch)."
            for row in rows[:1]
        ]
        said += [f"Without enough scores: {text}." for text in self.failed]
        if same := sum(row["same_answers"] for row in rows):
            said.append(
                f"{same} of {len(rows)} conditions, like the baseline, give the same answers whatever the seed (greedy "
                "decoding): only held-back queries say something new of them."
            )
        unmoved = any(row["selected"] is not None and row["selected"] == row["fresh"] for row in rows)
        text = (_READING, _SAME_ANSWERS) if unmoved else (_READING,)
        figures = confirmation_figures(self.table, self.judge)
        return Section("Confirmation", text, tuple(said), figures, filled(table), brief=True)


def _headline(table: pl.DataFrame, judge: str, held_back: int) -> str:
    rows = table.to_dicts()
    if not rows:
        return "No verdict: the baseline lacks scores in the confirmation."
    best = rows[0]
    against = f"{best['label']} scores {_shown(best, 'selected')} points against the baseline as selected"
    if not held_back:
        return (
            f"Not confirmed on other queries, because none was held back: {against} and {_shown(best, 'fresh')} on "
            f"fresh seeds, by the {judge} judge."
        )
    won = [row for row in rows if row["confirmed"]]
    if won:
        leads = "; ".join(f"{row['label']}: held-back lead {_shown(row, 'held_back')}" for row in won)
        corrected = f", corrected for {len(rows)} conditions" if len(rows) > 1 else ""
        return (
            f"Confirmed: {leads} points over {held_back} queries (as selected "
            f"{_shown(won[0], 'selected')}), {len(won)} of {len(rows)} by the {judge} judge{corrected}."
        )
    return (
        f"Not confirmed: {against} and {_shown(best, 'held_back')} on {held_back} held-back queries; none of "
        f"{len(rows)} conditions is clearly better there, by the {judge} judge."
    )


def _shown(row: Row, name: str) -> str:
    if row[name] is None:
        return "(no scores)"
    return str(Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], row[f"n_{name}"]))
