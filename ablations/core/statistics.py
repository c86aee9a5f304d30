"""Judgments -> numbers of one trial: means, interval, coverage, lengths, rates.

Knows neither where judgments come from nor how they are shown.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ablations.core.jsonl import Record
from ablations.core.records import OUTCOMES, JudgedTurn, Usage

REPEATED_NGRAM = 4
LEAST_PAIRS = 4
"""Differences that a test needs: with fewer, rounded scores that happen to agree look like certainty."""
_NO_SPREAD = 1e-9
_OF_SHARES, _OF_RATINGS = 1.0, 0.05
"""Weights of a pseudo query at an end of scores from 0 to 1, and of any other scale; see `Ends`."""
_FIT_ROUNDS = 50
"""Of the fit that fills gaps; each halves its error at least where nine scores of ten are there."""
_Key = TypeVar("_Key", str, int)


@dataclass(frozen=True)
class Scale(Record):
    """What a judge's scores are read against.

    Attributes:
        low, high: the lowest and the highest possible score.
        floor: what the best constant answer scores on average on the study's queries, or None where that is not known.
        constant: this answer.
        empty: what an answer without text scores on average, likewise.
        chooses: whether a best condition may be chosen by these scores; not where they pay a wrong answer for its end.
        negligible: points below which a difference does not matter, above 0; None is a tenth of the scale.
    """

    low: float
    high: float
    floor: float | None = None
    constant: str | None = None
    empty: float | None = None
    chooses: bool = True
    negligible: float | None = None

    @property
    def margin(self) -> float:
        """Points below which a difference does not matter."""
        return (self.high - self.low) / 10 if self.negligible is None else self.negligible


@dataclass(frozen=True)
class Ends:
    """Ends of what a mean is taken of, such as scores or their differences; an interval does not leave them.

    Attributes:
        low, high: the least and the greatest possible value.
        pseudo: values of queries that an interval counts beside the real ones: one at each end, or none where the ends
            are not known. Queries that all agree show no spread, and a t interval of them would have no width; nor does
            one know of the rare change that no query happened to show (the idea is Agresti and Caffo's, 2000, The
            American Statistician 54:4, for shares).
        weight: as how much of a query each of them counts, 0 to 1 for scores. It was chosen by the coverage of
            intervals on real and simulated scores (`python -m tests.benchmarks error-rates`): scores from 0 to 1 pile
            up at the ends and need a whole one; rated scores rarely move from end to end, and more than a twentieth
            would widen their intervals for little.
    """

    low: float
    high: float
    pseudo: tuple[float, ...] = ()
    weight: float = 1.0

    @classmethod
    def of(cls, scale: Scale | None) -> "Ends":
        """Return the ends of scores on a scale, or none at all where that is not known."""
        if scale is None:
            return ENDLESS
        ends = (scale.low, scale.high)
        return cls(*ends, ends, _OF_SHARES if ends == (0.0, 1.0) else _OF_RATINGS)

    def differences(self, number: int = 1) -> "Ends":
        """Return the ends of a difference of two such values, or of a sum or difference of a `number` of those.

        Pseudo queries lie at the ends of one difference. Their squares add up as the variances of independent scores
        do: a difference of two scores has twice those of one, and a weight of half, since its range is twice as wide.
        """
        width = self.high - self.low
        return Ends(-number * width, number * width, (-width, width) if self.pseudo else (), number * self.weight / 2)

    def contrast(self, weights: NDArray[np.float64]) -> "Ends":
        """Return the ends of a weighted sum of such values, whose weights add up to 0; a pseudo query is at each.

        The weight of these follows the rule of `differences`.
        """
        sizes = np.abs(weights)
        most = float(sizes.sum() / 2 * (self.high - self.low))
        share = float((sizes**2).sum() / sizes.sum() ** 2) if most else 0.0
        return Ends(-most, most, (-most, most) if self.pseudo else (), share * self.weight)

    @property
    def counted(self) -> float:
        """As how many queries all pseudo queries together count."""
        return self.weight * len(self.pseudo)

    def clip(self, low: float, high: float) -> tuple[float, float]:
        """Return an interval without what lies beyond the ends."""
        return tuple(min(max(end, self.low), self.high) for end in (low, high))  # type: ignore[return-value]


ENDLESS = Ends(-math.inf, math.inf)
"""Of values whose ends are not known: nothing is cut, and nothing is counted beside them."""


@dataclass(frozen=True)
class OutcomeSummary:
    """An outcome of one trial, summarised.

    Attributes:
        mean: over queries of the mean over their turns that have a value, or None without any.
        low, high: 95 % interval of that mean over queries (`mean_interval`), None below two queries.
        coverage: turns with a value as a share of all, 0 to 1.
    """

    mean: float | None
    low: float | None
    high: float | None
    coverage: float


@dataclass(frozen=True)
class Summary:
    """Scores of one trial, summarised.

    Attributes:
        mean: mean over queries of the mean over their scored turns, or None if nothing was scored.
        low, high: 95 % interval of that mean over queries (`mean_interval`), None below two queries.
        n_scored, n_judged: scored and judged completions.
        by_turn: mean score of each turn over its scored completions.
        by_category: mean over the judgments of each category, as in MT-Bench.
        mean_tokens: mean completion tokens a turn.
        truncation_rate: share of completions cut at max_tokens.
        repetition: mean share of repeated 4-grams of words (see `repeated_share`).
        empty_rate: share of completions without any text.
        unscored: how often each reason for a missing score occurred.
        details: mean of each named detail over the judgments that have it, such as `win` of a comparing judge.
        outcomes: outcomes beside the score that decides, by name (see `JudgedTurn.outcomes`).
        judging: what the judges were asked for these judgments, whenever that was.

    Means and rates are None where there is no turn.
    """

    mean: float | None
    low: float | None
    high: float | None
    n_queries: int
    n_scored: int
    n_judged: int
    by_turn: dict[int, float]
    by_category: dict[str, float]
    mean_tokens: float | None
    prompt_tokens: int
    completion_tokens: int
    truncation_rate: float | None
    repetition: float | None
    empty_rate: float | None
    unscored: dict[str, int]
    details: dict[str, float]
    outcomes: dict[str, OutcomeSummary]
    judging: Usage

    @property
    def coverage(self) -> float:
        """Scored completions as a share of judged ones, 0 to 1."""
        return self.n_scored / self.n_judged if self.n_judged else 0.0

    def failure(self, min_coverage: float) -> str | None:
        """Return why the trial neither wins nor loses, or None: too few of its completions have a score."""
        if self.mean is not None and self.coverage >= min_coverage:
            return None
        reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(self.unscored.items()))
        return f"coverage {self.coverage:.0%} is below {min_coverage:.0%}: {reasons}"


def summarise(turns: Sequence[JudgedTurn], scales: Mapping[str, Scale] = MappingProxyType({})) -> Summary:
    """Return the numbers of one trial.

    Args:
        turns: in any order.
        scales: of the judges by their names; intervals stay on them.
    """
    scored = [turn for turn in turns if turn.judgment.score.value is not None]
    filed = [turn for turn in scored if turn.query.category]
    by_query = query_means(scored)
    judge = next((turn.judgment.judge for turn in turns), "")
    mean, low, high = mean_interval(list(by_query.values()), ends=Ends.of(scales.get(judge)))
    completions = [turn.completion for turn in turns]
    unscored: dict[str, int] = defaultdict(int)
    details: dict[str, list[float]] = defaultdict(list)
    for turn in turns:
        for name, value in turn.judgment.details.items():
            details[name].append(value)
        if turn.judgment.score.reason is not None:
            unscored[turn.judgment.score.reason] += 1
    return Summary(
        mean=mean,
        low=low,
        high=high,
        n_queries=len({turn.query.id for turn in turns}),
        n_scored=len(scored),
        n_judged=len(turns),
        by_turn=dict(sorted(_grouped_means(scored, lambda turn: turn.turn).items())),
        by_category=dict(sorted(_grouped_means(filed, lambda turn: turn.query.category).items())),
        mean_tokens=_mean([completion.completion_tokens for completion in completions]),
        prompt_tokens=sum(completion.prompt_tokens for completion in completions),
        completion_tokens=sum(completion.completion_tokens for completion in completions),
        truncation_rate=_mean([completion.truncated for completion in completions]),
        repetition=_mean([repeated_share(completion.answer) for completion in completions]),
        empty_rate=_mean([not completion.answer for completion in completions]),
        unscored=dict(unscored),
        details={name: fmean(values) for name, values in sorted(details.items())},
        outcomes=_outcomes(turns, scales),
        judging=sum((judgment.usage for turn in turns for judgment in turn.judgments), Usage()),
    )


def _ends(outcome: str, scales: Mapping[str, Scale]) -> Ends:
    return Ends.of(Scale(0.0, 1.0) if outcome in OUTCOMES else scales.get(outcome))


def _outcomes(turns: Sequence[JudgedTurn], scales: Mapping[str, Scale]) -> dict[str, OutcomeSummary]:
    """Return the outcomes beside the score that decides."""
    found = [(turn.query.id, turn.outcomes) for turn in turns]
    summaries = {}
    for name in dict.fromkeys(name for _, own in found for name in own):
        by_query: dict[str, list[float]] = defaultdict(list)
        for query, own in found:
            if (value := own.get(name)) is not None:
                by_query[query].append(value)
        interval = mean_interval([fmean(values) for values in by_query.values()], ends=_ends(name, scales))
        summaries[name] = OutcomeSummary(*interval, sum(map(len, by_query.values())) / len(found))
    return summaries


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def query_means(turns: Iterable[JudgedTurn]) -> dict[str, float]:
    """Return the mean over each query's scored turns, by the query's id; a query without a score is left out."""
    return _grouped_means(turns, lambda turn: turn.query.id)


def mean_interval(
    values: Sequence[float], level: float = 0.95, ends: Ends = ENDLESS
) -> tuple[float | None, float | None, float | None]:
    """Return the mean of independent values and its Student-t interval; Nones where there are too few.

    Args:
        values: scores or their differences, one a query.
        level: of the interval, 0 to 1.
        ends: of the values, where they are known.

    >>> [round(value, 4) for value in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.4841, 4.4841]
    """
    if not values:
        return None, None, None
    mean = fmean(values)
    if len(values) < 2:
        return mean, None, None
    from scipy.special import stdtrit  # here, because scipy takes long to import

    (middle,), (error,), freedom = counted_means(np.array(values, dtype=np.float64)[:, None], ends)
    half = float(stdtrit(freedom, 0.5 + level / 2) * error)
    return mean, *ends.clip(float(middle) - half, float(middle) + half)


def counted_means(
    values: NDArray[np.float64], ends: Ends = ENDLESS
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return what a Student-t interval of each column's mean is made of, pseudo queries counted by their weight.

    Args:
        values: shape (queries, columns), without NaN, two queries or more.
        ends: of the values.

    Returns:
        Middles and standard errors, shape (columns,) each, and the degrees of freedom. With pseudo queries a middle is
        not the mean of the values: it lies nearer to the middle of the ends.
    """
    pseudo, size = np.array(ends.pseudo)[:, None], len(values) + ends.counted
    middles = (values.sum(axis=0) + ends.weight * pseudo.sum()) / size
    squares = ((values - middles) ** 2).sum(axis=0) + ends.weight * ((pseudo - middles) ** 2).sum(axis=0)
    return middles, np.sqrt(squares / (size - 1) / size), size - 1


def repeated_share(text: str, n: int = REPEATED_NGRAM) -> float:
    """Return the share of word n-grams that occurred before in the text, 0 to 1; 0 for shorter texts.

    >>> repeated_share("a b c d a b c d a b c d")
    0.5555555555555556
    """
    words = text.lower().split()
    grams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grouped_means(turns: Iterable[JudgedTurn], key: Callable[[JudgedTurn], _Key]) -> dict[_Key, float]:
    values: dict[_Key, list[float]] = defaultdict(list)
    for turn in turns:
        if turn.judgment.score.value is not None:
            values[key(turn)].append(turn.judgment.score.value)
    return {name: fmean(group) for name, group in values.items()}


def best_first(scores: Mapping[_Key, Mapping[str, float]]) -> list[_Key]:
    """Return conditions from the best to the worst; of equals the one that comes first.

    This is what "best" means everywhere. Conditions are compared on the queries that both have scores on: a score
    that is missing is replaced by what the query and the condition lead to expect (`filled`), so that no condition
    profits from lacking the hard queries. A condition without a score is left out.

    Args:
        scores: of each condition by query, points of the judge's scale.

    >>> best_first({"whole": {"easy": 9.0, "hard": 3.0}, "lacking": {"easy": 8.0}})
    ['whole', 'lacking']
    """
    known = {key: own for key, own in scores.items() if own}
    asked = dict.fromkeys(query for own in known.values() for query in own)
    queries = {query: place for place, query in enumerate(asked)}
    values = np.full((len(queries), len(known)), np.nan)
    for column, own in enumerate(known.values()):
        values[[queries[query] for query in own], column] = list(own.values())
    means = dict(zip(known, filled(values).mean(axis=0).tolist(), strict=True)) if known else {}
    return sorted(known, key=lambda key: -round(means[key], 9))  # stable, and blind to how a sum was rounded


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores, shape (queries, conditions), with an estimate in place of each NaN.

    A missing score is the sum of a query's and a condition's term, fitted to the scores that are there (the two-way
    layout without interaction). Every row and every column has a score.
    """
    known = ~np.isnan(values)
    if known.all():
        return values
    counts, total = known.sum(axis=0), np.where(known, values, 0.0)
    hard = total.sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
    for _ in range(_FIT_ROUNDS):
        good = np.where(known, values - hard, 0.0).sum(axis=0) / counts
        hard = np.where(known, values - good, 0.0).sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
    return np.where(known, values, hard + good)


def blocks(queries: int, least: int, growth: float) -> list[int]:
    """Return the sizes of the blocks in which queries are seen, all queries together.

    Args:
        queries: their number, at least 1.
        least: size of the first block, at least 1.
        growth: size of any other as a share of the queries before it, above 0.

    >>> blocks(24, 2, 0.25)
    [2, 1, 1, 1, 1, 2, 2, 2, 3, 4, 5]
    """
    sizes = [min(least, queries)]
    while (seen := sum(sizes)) < queries:
        sizes.append(min(max(1, round(growth * seen)), queries - seen))
    return sizes


def clearly_negative(differences: Sequence[float], level: float, of: int | None = None) -> bool:
    """Return whether the mean is below 0 by a one-sided Student-t test.

    Args:
        differences: one a query that both sides have a score on.
        level: of this test, 0 to 1.
        of: number of queries in all, where the question is not the mean over queries like these but over exactly
            these: the standard error then has the factor sqrt(1 - n / of) of a sample without replacement (Cochran
            1977, Sampling Techniques, section 2.6). None asks for queries like these.

    Differences that are all alike stop nobody: they do not say how far the next one may lie from them.
    """
    n = len(differences)
    if n < LEAST_PAIRS or (spread := stdev(differences)) < _NO_SPREAD:
        return False
    if of is not None:
        if n >= of:
            return fmean(differences) < 0
        spread *= math.sqrt(1 - n / of)
    from scipy.special import stdtr  # here, because scipy takes long to import

    return float(stdtr(n - 1, fmean(differences) / spread * math.sqrt(n))) < level
