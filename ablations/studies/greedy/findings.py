"""The findings of a greedy search: its rounds and races, and the chosen prompt on queries that chose nothing.

Knows the search's results, and what the search noted of its rounds where that is known; draws nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ablations.studies.greedy.found import FOUND_NOTE, Found
from ablations.studies.kind import Findings, Results
from analysis.effects.intervals import Interval
from analysis.effects.paired import EFFECT_SCHEMA, paired_effects
from analysis.examples import Example, read_examples
from analysis.figures import search_figures
from analysis.frames import Row, judge_name, trial_scores, trial_table
from analysis.report.page import About, Figures, Report, Section
from analysis.report.scores import coverage_section, examples_section, judge_section, method_section, races_section
from analysis.report.tables import EFFECT, EFFECT_DETAILS, Columns, filled, interval, make_table, number, share, signed
from analysis.scores import failed_trials, races, unscored_reasons

_READING = (
    "In each round every candidate is put in front of the demonstrations so far. Those that are clearly behind "
    "stop early. The best of a round was chosen by these queries, so that its mean on them is subject to selection "
    "bias."
)

ROUND_SCHEMA = {
    "round": pl.Int64,
    "candidates": pl.Int64,
    "winner": pl.String,
    **dict.fromkeys(("gain", "low", "high"), pl.Float64),
    "n": pl.Int64,
    **dict.fromkeys(("lead", "lead_low", "lead_high"), pl.Float64),
    "share": pl.Float64,
    "added": pl.Boolean,
}
STOPPED_SCHEMA = {"round": pl.Int64, "candidate": pl.String, "after": pl.Int64, "why": pl.String}
SCORE_SCHEMA = {"queries": pl.String, "start": pl.Float64, "chosen": pl.Float64}
_HELD_BACK = ("baseline", "held-back")


@dataclass(frozen=True)
class SearchFindings:
    """Findings of a greedy search.

    Attributes:
        headline: one sentence with the held-back gain and its interval.
        judge: what gave the scores.
        why_ended: why the search ended; "" where that is not known.
        gain: the row of the held-back effect, with the columns of `paired.EFFECT_SCHEMA`; empty where there is none.
        rounds: columns round, candidates, winner, gain, low, high (points over the prompt before, 95 % interval, on
            the selection queries), n (queries), lead, lead_low, lead_high (of the winner over the runner-up,
            likewise), share (of full evaluations), added; empty where the rounds were not noted.
        stopped: columns round, candidate, after (queries), why; likewise.
        scores: columns queries ("chosen by" or "held back"), start, chosen (mean scores); likewise.
        races: the frame of `scores.races`.
        trials: the frame of `frames.trial_table`, of the prompts before and after.
        unscored: the frame of `scores.unscored_reasons`.
        numbers: metrics of the study's page, by documented name.
        reading: the trials of the two prompts on the held-back queries, and which is which.
        examples: answers under the start prompt and the chosen one to the same queries.
    """

    headline: str
    judge: str
    why_ended: str
    gain: pl.DataFrame = field(compare=False)
    rounds: pl.DataFrame = field(compare=False)
    stopped: pl.DataFrame = field(compare=False)
    scores: pl.DataFrame = field(compare=False)
    races: pl.DataFrame = field(compare=False)
    trials: pl.DataFrame = field(compare=False)
    unscored: pl.DataFrame = field(compare=False)
    numbers: dict[str, float | None]
    reading: Mapping[int, str]
    examples: tuple[Example, ...] = ()

    @classmethod
    def of(cls, results: pl.DataFrame, found: "Found | None") -> "SearchFindings":
        """Return the findings from a search's results, and from what it noted of its rounds, if that is known."""
        effect, trials, raced = held_back_effect(results), trial_table(results), races(results)
        gain = pl.DataFrame(schema=EFFECT_SCHEMA) if isinstance(effect, str) else effect
        added = _added(trials, raced) if found is None else found.added
        pairs = [(row["reference_trial"], row["trial"]) for row in gain.iter_rows(named=True)]
        named = [{"start prompt": start, "chosen prompt": chosen} for start, chosen in pairs]
        return cls(
            headline=_headline(added, "" if found is None else found.why_ended, effect),
            judge=judge_name(results),
            why_ended="" if found is None else found.why_ended,
            gain=gain,
            rounds=pl.DataFrame([] if found is None else _rounds(found), schema=ROUND_SCHEMA, orient="row"),
            stopped=pl.DataFrame([] if found is None else _stopped(found), schema=STOPPED_SCHEMA, orient="row"),
            scores=pl.DataFrame([] if found is None else _scores(found), schema=SCORE_SCHEMA, orient="row"),
            races=raced,
            trials=trials.filter(pl.col("role").is_in(_HELD_BACK)),
            unscored=unscored_reasons(results),
            numbers=_numbers(gain, found),
            reading=dict(zip(_held_back_trials(trials), ("start prompt", "chosen prompt"), strict=False)),
            examples=tuple(example for one in named for example in read_examples(results, one)),
        )

    def metrics(self) -> dict[str, float | None]:
        """Return the numbers for the study's page."""
        return dict(self.numbers)

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables by name; empty ones are left out."""
        named = {"rounds": self.rounds, "stopped": self.stopped, "scores": self.scores, "races": self.races}
        return {name: frame for name, frame in named.items() if len(frame)}

    def report(self, about: About) -> Report:
        """Return the search's page: rounds, races, and the chosen prompt on the held-back queries."""
        figures = search_figures(self.rounds, next(self.gain.iter_rows(named=True), None), self.races)
        sections = (
            self._rounds_section(figures.some("rounds")),
            races_section(self.races, (_READING,)),
            self._chosen_section(),
            coverage_section(self.trials, self.unscored),
            judge_section(about, self.judge),
            examples_section(self.examples),
        )
        told = about.having(
            trials=f"{len(self.races)} candidates in races, and the prompts before and after",
            varied="the demonstrations",
        )
        shown = (section for section in sections if not section.empty)
        return Report(told, self.headline, (*shown, method_section()), self.reading)

    def _rounds_section(self, figures: Figures) -> Section:
        lead = interval("lead_low", "lead_high")
        columns: Columns = {
            "round": "round",
            "candidates": "candidates",
            "best": "winner",
            "gain": signed("gain"),
            "95 % interval": interval(),
            "lead over the runner-up": lambda row: f"{signed('lead')(row)} {lead(row)}".removesuffix(" –"),
            "cost of full": share("share"),
            "": lambda row: "added" if row["added"] else "not added",
        }
        spent, full = (self.numbers.get(name) for name in ("evaluations", "evaluations_without_racing"))
        said = [f"The search ended because {self.why_ended}."] if self.why_ended else []
        if spent is not None and full:
            said.append(f"Races: {spent:.0f} of {full:.0f} evaluations ({spent / full:.0%}); --no-racing takes all.")
        note = (
            "A round's gain is subject to selection bias: it is that of the best of many on the queries that chose it. "
            "Where the interval of its lead includes 0, the runner-up may be as good."
        )
        table = make_table("Rounds", self.rounds, columns, note)
        return Section("Rounds", (), tuple(said), figures, filled(table), brief=True)

    def _chosen_section(self) -> Section:
        means: Columns = {"queries": "queries", "start prompt": number("start"), "chosen prompt": number("chosen")}
        tables = filled(
            make_table("Held-back queries", self.gain, EFFECT, details=EFFECT_DETAILS),
            make_table("Mean scores", self.scores, means),
        )
        row: Row = next(self.scores.iter_rows(named=True), {"start": None, "chosen": None})
        worse = row["start"] is not None and row["chosen"] is not None and row["chosen"] < row["start"]
        warning = (
            "The chosen prompt scores below the start prompt even on the queries that chose it; "
            'stop = "no-gain" in the study file ends a search before that.'
        )
        return Section("The chosen prompt", (), (warning,) if worse else (), tables=tables, brief=True)


def _rounds(found: "Found") -> list[tuple[object, ...]]:
    return [
        (
            one.number,
            len(one.candidates),
            None if one.winner is None else one.winner.id,
            *(one.gain.value, one.gain.low, one.gain.high, one.gain.n),
            *(one.lead.value, one.lead.low, one.lead.high),
            one.race.share,
            one.added,
        )
        for one in found.rounds
    ]


def _stopped(found: "Found") -> list[tuple[object, ...]]:
    return [
        (one.number, one.candidates[stop.candidate], stop.after, stop.why)
        for one in found.rounds
        for stop in one.race.stopped
    ]


def _scores(found: "Found") -> list[tuple[object, ...]]:
    return [("chosen by", *found.selected), ("held back", *found.held_back)]


def _numbers(gain: pl.DataFrame, found: "Found | None") -> dict[str, float | None]:
    """Return the metrics: the held-back gain, and what is known of the search itself."""
    row: Row = next(gain.iter_rows(named=True), {})
    numbers = {
        "held_back_gain": row.get("difference"),
        "held_back_gain_low": row.get("low"),
        "held_back_gain_high": row.get("high"),
    }
    if found is None:
        return numbers
    spent, full = found.evaluations
    return numbers | {
        "selected_score": found.selected[1],
        "held_back_score": found.held_back[1],
        "racing_share": found.share,
        "evaluations": float(spent),
        "evaluations_without_racing": float(full),
    }


def _added(trials: pl.DataFrame, raced: pl.DataFrame) -> list[str]:
    """Return the demonstrations that were added, in the order of the rounds: each round's best, as many as there are.

    How many there are is what the chosen prompt has more than the start prompt; a round without gain ends a search.
    """
    shown = trials.filter(pl.col("role").is_in(_HELD_BACK)).sort("trial").get_column("param.shots").to_list()
    winners = raced.filter(pl.col("outcome") == "best").unique("round", keep="first").sort("round")
    return [str(name) for name in winners.get_column("candidate").head(max(shown[-1] - shown[0], 0))]


def _headline(added: Sequence[str], why_ended: str, effect: pl.DataFrame | str) -> str:
    if isinstance(effect, str):
        return f"No verdict: {effect}."
    if not added:
        return f"No demonstration was added{f': {why_ended}' if why_ended else ''}."
    row = effect.row(0, named=True)
    gain = Interval(row["difference"], row["low"], row["high"], row["n"])
    verdict = "no clear gain" if not gain.excludes_zero else "a clear gain" if gain.value > 0 else "a clear loss"
    return (
        f"Added {', '.join(added)}: {gain} points over the start prompt on {gain.n} held-back queries, "
        f"first turn: {verdict}."
    )


def held_back_effect(results: pl.DataFrame) -> pl.DataFrame | str:
    """Return the effect of the chosen prompt against the start prompt on queries that chose nothing, or why none.

    One row with the columns of `paired.EFFECT_SCHEMA`; there is none where the start prompt, on either half of the
    queries, or the chosen one lacks scores.
    """
    trials = trial_table(results).filter(pl.col("role").is_in(_HELD_BACK))
    if failed := failed_trials(trials):
        return "; ".join(failed)
    pair = _held_back_trials(trials)
    if len(pair) < 2:
        return "the held-back queries have not been evaluated"
    effects = paired_effects(trial_scores(results), [(pair[1], pair[0])])
    return effects if len(effects) else "no held-back query has a score under both prompts"


def _held_back_trials(trials: pl.DataFrame) -> list[int]:
    """Return the trials of the start prompt and of the chosen one, as far as they were evaluated."""
    return trials.filter(pl.col("role") == "held-back").sort("trial").get_column("trial").to_list()


def summarise(results: Results) -> Findings:
    """Return the findings of a greedy search; without its note of what it found, its results alone say less."""
    noted = results.notes.get(FOUND_NOTE)
    return SearchFindings.of(results.frame, None if noted is None else Found.from_dict(noted))
