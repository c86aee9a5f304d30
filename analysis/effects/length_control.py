"""Length control: how much of a condition's effect is the judge's liking for longer answers.

Knows result frames; neither parameters nor figures. It takes length for a bias and cannot know better: where an
answer is longer because it says more, the controlled effect is too small. Read it beside the raw one.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from ablations.core.statistics import Ends
from analysis.effects.intervals import (
    FEW_QUERIES,
    Floats,
    Interval,
    difference,
    expanded_tail,
    mean_intervals,
    resampled_counts,
)
from analysis.effects.paired import baseline_trial
from analysis.frames import by_condition, ends_of

DRAWS = 1_000
_UNEXPLAINED = 1e-9
"""Share of the length term's variation that trials and queries must leave, for it to have a slope."""
_SCHEMA = {
    "trial": pl.Int64,
    "label": pl.String,
    "reference_trial": pl.Int64,
    **dict.fromkeys(("raw", "raw_low", "raw_high", "controlled", "controlled_low", "controlled_high"), pl.Float64),
    **dict.fromkeys(("slope", "extra_characters"), pl.Float64),
    "n": pl.Int64,
    "reason": pl.String,
}


def length_controlled_effects(results: pl.DataFrame, seed: int = 0, draws: int = DRAWS) -> pl.DataFrame:
    """Return the effect of each complete trial against the baseline's, raw and as if answers were equally long.

    Args:
        results: a study's results, as `frames.load_results` returns them.
        seed: of the generator.
        draws: bootstrap draws over queries.

    A score is modelled as a term of its query and turn, a term of its trial, and slope x tanh((characters -
    their mean over trials on this query and turn) / standard deviation): the length term of Dubois et al. (2024,
    arXiv:2404.04475), with the mean of all trials in the baseline's place. The slope is the least-squares
    estimate over all complete trials, so it rests on lengths that neither trial nor query explains. The controlled
    effect is the raw paired one less slope x the mean difference of the length term on the same queries: the
    trial's term of the joint fit, where every trial scored every query.

    Columns: trial, label, reference_trial (the baseline); raw, raw_low, raw_high (as `intervals.mean_intervals`);
    controlled, controlled_low, controlled_high (the same, with the slope estimated again in every draw); all
    in points of the judge's scale with 95 % intervals; slope (points from an answer of usual length to one far
    longer; alike in all rows); extra_characters (mean length less the baseline's); n (queries scored
    under both); reason (why a controlled effect or its interval is null; else null).
    """
    reference = baseline_trial(results)
    nested = by_condition(results)
    complete = (
        nested.select("trial", "label", "replicate").filter(pl.col("replicate") == 0).unique("trial").sort("trial")
    )
    trials, labels = complete.get_column("trial").to_list(), complete.get_column("label").to_list()
    described = [{"trial": trial, "label": label} for trial, label in zip(trials, labels, strict=True)]
    if reference is None:
        reason = "the baseline did not complete"
        return pl.DataFrame([row | {"reason": reason} for row in described], schema=_SCHEMA, orient="row")
    tables = _tables(nested, trials)
    counts = resampled_counts(len(tables.queries), draws, seed)
    within = _within(tables)
    slope = within.slope(np.ones(len(tables.owner)))
    slopes = np.array([within.slope(count[tables.owner]) for count in counts])
    base = trials.index(reference)
    by_turn = (tables.scores, tables.terms, tables.characters)  # compared on the turns that both have a score on
    gains, longer, extra = (tables.by_query(of - of[:, [base]]) for of in by_turn)
    of_scores = ends_of(results)
    ends = of_scores.differences()
    raws = mean_intervals(difference(gains, np.zeros_like(gains)), ends=ends)
    rows = []
    for own, row in enumerate(described):
        if own == base:
            continue
        effect = _effect(raws[own], gains[:, own], longer[:, own], slope, slopes, counts, ends)
        mean_extra = float(np.nanmean(extra[:, own])) if effect["n"] else None
        compared = {"reference_trial": reference, "slope": None if np.isnan(slope) else slope}
        rows.append({**row, **compared, **effect, "extra_characters": mean_extra})
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _effect(
    raw: Interval | None,
    gain: Floats,
    longer: Floats,
    slope: float,
    slopes: Floats,
    counts: Floats,
    ends: Ends,
) -> dict[str, object]:
    """Return a trial's effects; `gain` and `longer` are its score and length term less the baseline's, by query."""
    if raw is None:
        return {"n": 0, "reason": "no query was scored under both this trial and the baseline"}
    both, n = ~np.isnan(gain), raw.n
    effect: dict[str, object] = {"raw": raw.value, "raw_low": raw.low, "raw_high": raw.high, "n": n}
    if np.isnan(slope):
        return {**effect, "reason": "trial and query explain all differences in length"}
    effect["controlled"] = raw.value - slope * float(longer[both].mean())
    if n < FEW_QUERIES:
        return {**effect, "reason": f"an interval of a controlled effect needs {FEW_QUERIES} queries"}
    weights = counts[:, both]
    with np.errstate(invalid="ignore"):
        drawn = (weights @ gain[both] - slopes * (weights @ longer[both])) / weights.sum(axis=1)
    tail = expanded_tail(n)
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return {**effect, **dict(zip(("controlled_low", "controlled_high"), ends.clip(low, high), strict=True))}


@dataclass(frozen=True)
class _Tables:
    """Scored answers; arrays have one row per query and turn, one column per trial, NaN where there is no score."""

    queries: list[str]
    owner: NDArray[np.int64]  # of each row, the number of its query
    scores: Floats
    characters: Floats

    @property
    def terms(self) -> Floats:
        """The length term: 0 where an answer has its query's mean length, towards 1 where it is far longer."""
        excess = self.characters - _row_means(self.characters)
        spread = float(np.nanstd(excess)) if np.isfinite(excess).any() else 0.0
        return np.tanh(excess / spread) if spread > 0 else np.where(np.isnan(excess), np.nan, 0.0)

    def by_query(self, values: Floats) -> Floats:
        """Return means over each query's scored turns, shape (queries, trials)."""
        belongs = np.equal.outer(np.arange(len(self.queries)), self.owner).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means: Floats = belongs @ np.nan_to_num(values) / (belongs @ ~np.isnan(values))
        return means


def _tables(results: pl.DataFrame, trials: list[int]) -> _Tables:
    """Return scores and lengths of the complete trials; several seeds or judges of one answer are averaged."""
    scored = results.filter(pl.col("score").is_not_null())
    judged = scored.group_by("trial", "query_id", "turn").agg(
        pl.col("score").mean(), characters=pl.col("answer").str.len_chars().mean()
    )
    rows = judged.select("query_id", "turn").unique().sort("query_id", "turn").with_row_index("row")
    queries = rows.get_column("query_id").unique().sort().to_list()
    number = {query: at for at, query in enumerate(queries)}
    owner = np.array([number[query] for query in rows.get_column("query_id")], dtype=np.int64)
    place = {trial: at for at, trial in enumerate(trials)}
    placed = judged.join(rows, on=["query_id", "turn"])
    at = (placed.get_column("row").to_numpy(), np.array([place[trial] for trial in placed.get_column("trial")], int))
    tables = []
    for name in ("score", "characters"):
        table = np.full((len(rows), len(trials)), np.nan)
        table[at] = placed.get_column(name).cast(pl.Float64).to_numpy()
        tables.append(table)
    return _Tables(queries, owner, *tables)


@dataclass(frozen=True)
class _Within:
    """Scores and length terms less their means over a query's trials, 0 where there is no score."""

    scored: Floats
    scores: Floats
    terms: Floats

    def slope(self, weights: Floats) -> float:
        """Return the slope on the length term, trials' terms partialled out; NaN where nothing is left.

        Weights count the rows, shape (rows,). By Frisch, Waugh and Lovell the normal equations of the trials'
        terms are solved for the length term alone, by conjugate gradients: they are all but diagonal. They are singular
        by a constant, to which the right side is orthogonal.
        """
        per_row = weights / np.maximum(self.scored.sum(axis=1), 1)
        counts = np.maximum(weights @ self.scored, 1e-9)
        on_terms, on_scores = weights @ self.terms, weights @ self.scores

        def normal(terms: Floats) -> Floats:
            product: Floats = counts * terms - self.scored.T @ (per_row * (self.scored @ terms))
            return product

        size = (len(counts), len(counts))
        scaled = LinearOperator(size, matvec=lambda terms: terms / counts, dtype=np.float64)
        explained, _ = cg(LinearOperator(size, matvec=normal, dtype=np.float64), on_terms, rtol=1e-10, M=scaled)
        total = float(weights @ (self.terms**2).sum(axis=1))
        left = total - float(explained @ on_terms)
        if left <= _UNEXPLAINED * total:
            return float("nan")
        together = float(weights @ (self.terms * self.scores).sum(axis=1))
        return (together - float(explained @ on_scores)) / left


def _within(tables: _Tables) -> _Within:
    scored = ~np.isnan(tables.scores)
    demeaned = (np.where(scored, table - _row_means(table), 0.0) for table in (tables.scores, tables.terms))
    return _Within(scored.astype(np.float64), *demeaned)


def _row_means(values: Floats) -> Floats:
    """Return each row's mean over what is not NaN, shape (rows, 1); every row has a value."""
    known = ~np.isnan(values)
    means: Floats = np.nansum(values, axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
    return means
