"""Searches: the rounds and races of a greedy search as tables, numbers and figures.

Knows what `ablations.greedy_search` found, and its results.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from analysis.effects.intervals import Interval
from analysis.effects.paired import paired_effects
from analysis.figures import race_figures
from analysis.frames import trial_scores, trial_table
from analysis.plots import draw_rounds, new_figure
from analysis.races import races


@dataclass(frozen=True)
class SearchFindings:
    """What a greedy search found, as a session shows and logs it.

    Attributes:
        headline: one sentence with the held-back gain and its interval.
        rounds: columns round, candidates, winner, gain, low, high (points over the prompt before, 95 % interval, on
            the selection queries), n (queries), share (of full evaluations), kept.
        stopped: columns round, candidate, after (queries), why.
        scores: columns queries ("chosen by" or "held back"), start, chosen (mean scores), n.
        races: the frame of `races.races`.
        numbers: metrics of the parent run, by documented name.
        figures: by file name without ending.
    """

    headline: str
    why_ended: str
    rounds: pl.DataFrame
    stopped: pl.DataFrame
    scores: pl.DataFrame
    races: pl.DataFrame
    numbers: dict[str, float | None]
    figures: dict[str, Figure] = field(compare=False)

    @classmethod
    def of(cls, found: Any, results: pl.DataFrame) -> "SearchFindings":
        """Return the tables of an `ablations.greedy_search.Found` and the search's results."""
        rounds = pl.DataFrame(
            [
                {
                    "round": one.number,
                    "candidates": len(one.candidates),
                    "winner": None if one.winner is None else one.winner.id,
                    "gain": one.gain.value,
                    "low": one.gain.low,
                    "high": one.gain.high,
                    "n": one.gain.n,
                    "share": one.race.share,
                    "kept": one.kept,
                }
                for one in found.rounds
            ],
            schema={
                "round": pl.Int64,
                "candidates": pl.Int64,
                "winner": pl.String,
                **dict.fromkeys(("gain", "low", "high"), pl.Float64),
                "n": pl.Int64,
                "share": pl.Float64,
                "kept": pl.Boolean,
            },
        )
        stopped = pl.DataFrame(
            [
                {"round": one.number, "candidate": one.candidates[stop.candidate], "after": stop.after, "why": stop.why}
                for one in found.rounds
                for stop in one.race.stopped
            ],
            schema={"round": pl.Int64, "candidate": pl.String, "after": pl.Int64, "why": pl.String},
        )
        pairs = {"chosen by": found.selected, "held back": found.held_back}
        scores = pl.DataFrame(
            [{"queries": name, "start": start, "chosen": chosen} for name, (start, chosen) in pairs.items()],
            schema={"queries": pl.String, "start": pl.Float64, "chosen": pl.Float64},
        )
        spent, full = found.evaluations
        effects = held_back_effect(results)
        gain = effects if isinstance(effects, str) else effects.row(0, named=True)
        known: dict[str, Any] = {} if isinstance(gain, str) else gain
        numbers = {
            "held_back_gain": known.get("difference"),
            "held_back_gain_low": known.get("low"),
            "held_back_gain_high": known.get("high"),
            "selected_score": found.selected[1],
            "held_back_score": found.held_back[1],
            "racing_share": found.share,
            "evaluations": float(spent),
            "evaluations_without_racing": float(full),
        }
        with new_figure() as (figure, axes):
            draw_rounds(rounds, known or None, axes)
        raced = races(results)
        figures = {"rounds": figure, **race_figures(raced)}
        return cls(_headline(found, gain), found.why_ended, rounds, stopped, scores, raced, numbers, figures)

    def metrics(self) -> dict[str, float | None]:
        """Return the numbers for the parent run."""
        return dict(self.numbers)

    def tables(self) -> dict[str, dict[str, list[Any]]]:
        """Return the tables as columns, by name; empty ones are left out."""
        named = {"rounds": self.rounds, "stopped": self.stopped, "scores": self.scores, "races": self.races}
        return {name: frame.to_dict(as_series=False) for name, frame in named.items() if len(frame)}


def _headline(found: Any, gain: Mapping[str, Any] | str) -> str:
    if isinstance(gain, str):
        return f"No verdict: {gain}."
    if not found.added:
        return f"No demonstration was added: {found.why_ended}."
    interval = Interval(gain["difference"], gain["low"], gain["high"], gain["n"])
    verdict = (
        "no clear gain" if not interval.excludes_zero else "a clear gain" if interval.value > 0 else "a clear loss"
    )
    return (
        f"Added {', '.join(found.added)}: {interval} points over the start prompt on {interval.n} held-back queries, "
        f"first turn: {verdict}."
    )


def held_back_effect(results: pl.DataFrame) -> pl.DataFrame | str:
    """Return the effect of the chosen prompt against the start prompt on queries that chose nothing, or why none.

    One row with the columns of `effects.EFFECT_SCHEMA`; there is none where the start prompt, on either half of the
    queries, or the chosen one lacks scores.
    """
    trials = trial_table(results).filter(pl.col("role").is_in(["baseline", "held-back"]))
    failed = trials.filter(pl.col("state") != "complete")
    if len(failed):
        return "; ".join(f"{label}: {why}" for label, why in failed.select("label", "failed_because").iter_rows())
    pair = trials.filter(pl.col("role") == "held-back").get_column("trial").to_list()
    if len(pair) < 2:
        return "the held-back queries have not been evaluated"
    effects = paired_effects(trial_scores(results), [(pair[1], pair[0])])
    return effects if len(effects) else "no held-back query has a score under both prompts"
