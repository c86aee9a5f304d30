"""Designs: what the trials of a study have to say about its parameters all at once, as arrays.

Knows result frames; estimates nothing. Which trials may be used for an estimate about parameters is decided here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ablations.core.schema import PARAMETER_PREFIX
from ablations.core.statistics import filled
from analysis.effects.intervals import Floats
from analysis.effects.paired import baseline_trial
from analysis.frames import Scores, condition_scores, trial_table, varied_parameters

CROSSED = ("baseline", "fill")
"""Roles of trials that move all parameters at once: combinations, or points that fill the space. An optimiser samples
what it likes, which biases every estimate about parameters: tests/analysis/parameters/test_importance.py has a case
with the reverse of the truth. Single changes around a baseline measure the design: of five parameters with equal
effects one with three levels has more of the variance than one with two."""


NUISANCES = ("draw",)
"""Varied without being a choice: which of several random draws of demonstrations it was. Its noise stays in the
conditions."""


@dataclass(frozen=True)
class Design:
    """The conditions of a study that move all parameters at once.

    Attributes:
        scores: of the conditions, replicates averaged.
        labels: what each condition is called.
        settings: of each parameter with two values or more, its value in each condition; None where it has no
            effect there, such as top-p under greedy decoding or a style without demonstrations.
        baseline: the column of the baseline, or None.
    """

    scores: Scores
    labels: Sequence[str]
    settings: Mapping[str, Sequence[Any]]
    baseline: int | None

    @property
    def filled(self) -> Floats:
        """The scores, shape (queries, conditions), without gaps.

        See `core.statistics.filled`: a condition does not profit from missing the hard queries.
        """
        return filled(self.scores.values)


def read_design(results: pl.DataFrame) -> Design | str:
    """Return the study's design, or why nothing can be said about its parameters from these trials."""
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    table = table.unique("condition_id", keep="first", maintain_order=True)
    if table.is_empty():
        return "no trial is complete"
    if {"sampled", "candidate"} & set(table.get_column("role")):
        return "the trials were chosen by an optimiser, which biases what they say about parameters"
    if "stopped" in results.get_column("state"):
        return "hopeless trials were stopped early, so that what is left says too little of bad values"
    if "fill" not in table.get_column("role"):
        return "single changes around a baseline measure the design; see the largest effect of each parameter"
    table = table.filter(pl.col("role").is_in(CROSSED))
    scores, trials = condition_scores(results), table.get_column("trial").to_list()
    settings = {
        name: [
            value if name in active else None
            for value, active in table.select(f"{PARAMETER_PREFIX}{name}", "active").iter_rows()
        ]
        for name in varied_parameters(results)
    }
    settings = {name: own for name, own in settings.items() if name not in NUISANCES and len(set(own) - {None}) > 1}
    baseline = baseline_trial(results)
    return Design(
        scores=Scores(scores.queries, trials, scores.of(trials), scores.ends, scores.margin),
        labels=table.get_column("label").to_list(),
        settings=settings,
        baseline=trials.index(baseline) if baseline in trials else None,
    )
