"""Sizes: what examples are worth in the prompt (ICL) and in the weights (IFT), by how many there are.

Knows the result frames of studies that compare the two; draws nothing. A query's turns are one unit.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from ablations.core.condition import DECODING_PARAMETERS
from ablations.core.errors import StorageError
from ablations.core.schema import ARM_PREFIX, PARAMETER_PREFIX
from ablations.core.statistics import Ends
from analysis.demonstrations.crossed import crossed_interval
from analysis.demonstrations.ways import ALIGNED, ARM_SCHEMA, ICL, IFT, URIAL, ZERO_SHOT
from analysis.effects.intervals import SAME, Floats
from analysis.frames import ends_of
from analysis.scores import AVERAGE

REFERENCES = (ZERO_SHOT, URIAL, ALIGNED)
"""Ways that have no examples of a pool, and so are lines in a figure."""
OVER_QUERIES, OVER_BOTH = "queries", "draws and queries"
FORWARD_TOKENS = {"full": 3.0, "lora": 2.0}
"""Cost of training on a token, in tokens read: 6ND operations against 2ND (Kaplan et al. 2020, arXiv:2001.08361);
with LoRA about 4ND, because the gradients of the frozen weights are not computed."""

_RECIPE = ("epochs", "learning_rate")
_USED = tuple(name for name in ARM_SCHEMA if name.removeprefix(ARM_PREFIX) not in _RECIPE)
_MARK_CHARACTERS = 80

_TEXTS = dict.fromkeys(("way", "pool", "model", "group", "over", "tuning"), pl.String)
_NUMBERS = dict.fromkeys(("mean", "difference", "low", "high", "coverage", "factor"), pl.Float64)
_COUNTS = dict.fromkeys(("examples", "draw", "draws", "n", "steps", "tokens"), pl.Int64)
_KINDS = {**_TEXTS, **_NUMBERS, **_COUNTS}


def _schema(names: str) -> dict[str, type[pl.DataType] | pl.DataType]:
    return {name: _KINDS.get(name, pl.Float64) for name in names.split()}


CURVE_SCHEMA = _schema("pool way examples group mean low high draws n over coverage")
REFERENCE_SCHEMA = _schema("way model group mean low high n")
DIFFERENCE_SCHEMA = _schema("pool examples group difference low high draws n over")
COST_SCHEMA = _schema(
    "pool examples tuning training_tokens training_seconds icl_prompt_tokens ift_prompt_tokens extra_prompt_tokens "
    "factor break_even_requests"
)
LOSS_SCHEMA = _schema("pool examples draw steps first last tokens")


def arms(results: pl.DataFrame) -> pl.DataFrame:
    """Return the results that count, with `way`, `pool`, `examples`, `draw` and so on as columns.

    Failed trials and A/A replicates are left out. A pool without a name is called "", a missing draw is 0.

    Raises:
        StorageError: the study compares no arms, or tuned in more than one way.
    """
    if lacking := [name for name in _USED if name not in results.columns]:
        raise StorageError(
            f"results have no column {', '.join(lacking)}: they compare no tuned models; give those of a study "
            "such as icl-vs-ift"
        )
    counted = results.filter((pl.col("state") == "complete") & (pl.col("replicate") == 0)).rename(
        {name: name.removeprefix(ARM_PREFIX) for name in _USED}
    )
    tunings = counted.get_column("tuning").drop_nulls().unique().sort().to_list()
    if len(tunings) > 1:
        raise StorageError(
            f"results hold models tuned as {' and as '.join(tunings)}, whose scores would be mixed; keep one of them, "
            f"as with results.filter(pl.col('arm.tuning').is_null() | (pl.col('arm.tuning') == '{tunings[0]}'))"
        )
    return counted.with_columns(pl.col("pool").fill_null(""), pl.col("draw").fill_null(0))


def pool_marks(pools: Sequence[str]) -> dict[str, str]:
    """Return a short name for each pool that files and metrics may have in theirs, another one for each.

    >>> pool_marks(["org/a_b", "/data/good.jsonl", "/data/good_jsonl"])
    {'org/a_b': 'org-a-b', '/data/good.jsonl': '2-data-good-jsonl', '/data/good_jsonl': '3-data-good-jsonl'}
    """
    plain = [re.sub(r"[\W_]+", "-", pool)[-_MARK_CHARACTERS:].strip("-") for pool in pools]
    return {
        pool: mark if mark and plain.count(mark) == 1 else f"{place}-{mark}"
        for place, (pool, mark) in enumerate(zip(pools, plain, strict=True), start=1)
    }


def settings(results: pl.DataFrame) -> pl.DataFrame:
    """Return how each way decodes and was tuned, one row for each kind of arm.

    Columns: way, pool, examples, model, tuning, epochs and learning_rate (null for what is not tuned), and every
    decoding parameter by its name. Arms that failed are there too.
    """
    own = {
        **{f"{ARM_PREFIX}{name}": name for name in ("way", "pool", "examples", "model", "tuning", *_RECIPE)},
        **{f"{PARAMETER_PREFIX}{name}": name for name in DECODING_PARAMETERS},
    }
    known = {column: name for column, name in own.items() if column in results.columns}
    rows = results.sort("trial").select(*known).rename(known)
    return rows.unique(maintain_order=True)


def size_curve(results: pl.DataFrame) -> pl.DataFrame:
    """Return what ICL and IFT scored by the number of examples.

    Columns: pool, way (icl or ift), examples, group (turn 1, turn 2, average), mean, low, high (points, 95 %; null
    without a score, or below two queries), draws, n (queries), over (what the interval resamples: queries, or draws
    and queries where there are several draws, see `crossed.crossed_interval`), coverage (share of judged turns with a
    score). In "average" the turns of a query are averaged first. Sizes that an arm lacks, since they do not fit the
    context or their tuning failed, have no row.
    """
    counted = arms(results).filter(pl.col("way").is_in([ICL, IFT]))
    rows = []
    for (pool, way, group), own in _by_group(counted, "pool", "way", "examples"):
        for size, values in by_size(own):
            mean, low, high, draws, n, over = _described(values, ends_of(results))
            some = own.filter(pl.col("examples") == size)
            coverage = int(some.get_column("scored").sum()) / int(some.get_column("judged").sum())
            rows.append((pool, way, size, group, mean, low, high, draws, n, over, coverage))
    return pl.DataFrame(rows, schema=CURVE_SCHEMA, orient="row")


def reference_lines(results: pl.DataFrame) -> pl.DataFrame:
    """Return what the ways without a pool's examples scored.

    Columns: way (zero-shot, urial or aligned), model, group, mean, low, high (points, 95 % over queries), n (queries).
    """
    counted, rows = arms(results).with_columns(pl.col("model").fill_null(""), examples=0), []
    for way in REFERENCES:
        own_way = counted.filter(pl.col("way") == way).with_columns(draw=0)
        for (_, model, group), own in _by_group(own_way, "way", "model", "examples"):
            for _, values in by_size(own):
                mean, low, high, _, n, _ = _described(values, ends_of(results))
                rows.append((way, model, group, mean, low, high, n))
    return pl.DataFrame(rows, schema=REFERENCE_SCHEMA, orient="row")


def size_differences(results: pl.DataFrame) -> pl.DataFrame:
    """Return IFT minus ICL with the same pool, number of examples and draw, paired over query and turn.

    Columns: pool, examples, group, difference, low, high (points, 95 %), draws, n (queries), over, as in `size_curve`.
    A size that one of the two lacks has no row.
    """
    rows, of_scores = [], ends_of(results)
    ends = of_scores.differences()
    for pool, group, own in paired_groups(results):
        for size, values in by_size(own):
            rows.append((pool, size, group, *_described(values, ends)))
    return pl.DataFrame(rows, schema=DIFFERENCE_SCHEMA, orient="row")


def paired_groups(results: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Yield each pool and group with its differences: columns examples, draw, query_id, score (IFT minus ICL)."""
    scored = arms(results).drop_nulls("score")
    one, other = (scored.filter(pl.col("way") == way) for way in (IFT, ICL))
    keys = ["pool", "examples", "draw", "query_id", "turn"]
    paired = one.select(*keys, "score").join(other.select(*keys, "score"), on=keys, suffix="_icl")
    change = pl.col("score") - pl.col("score_icl")
    paired = paired.with_columns(score=pl.when(change.abs() < SAME).then(0.0).otherwise(change))
    for (pool, group), own in _by_group(paired, "pool", "examples"):
        yield pool, group, own


def by_size(own: pl.DataFrame) -> Iterator[tuple[int, Floats]]:
    """Yield each number of examples with its scores, shape (queries, draws); NaN where there is none."""
    sizes, values = size_table(own)
    yield from zip(sizes, np.moveaxis(values, 2, 0), strict=True)


def size_table(own: pl.DataFrame) -> tuple[list[int], Floats]:
    """Return the numbers of examples and the scores, shape (queries, draws, sizes); NaN where there is none."""
    axes = ("query_id", "draw", "examples")
    values = np.full([own.get_column(name).n_unique() for name in axes], np.nan)
    place = tuple(own.get_column(name).rank("dense").to_numpy() - 1 for name in axes)
    values[place] = own.get_column("score").cast(pl.Float64)
    return own.get_column("examples").unique().sort().to_list(), values


def costs(results: pl.DataFrame) -> pl.DataFrame:
    """Return what ICL costs at every request and IFT once, by pool and number of examples.

    Columns: pool, examples, tuning, training_tokens (all epochs), training_seconds, icl_prompt_tokens,
    ift_prompt_tokens (per request, which is a turn), extra_prompt_tokens (ICL's more than IFT's), factor (what
    training on a token costs in tokens read, `FORWARD_TOKENS`), break_even_requests: training_tokens × factor ÷
    extra_prompt_tokens, the requests after which IFT has cost less. All are means over the draws that have both ways,
    or over those that there are. Prompts alone count, before prefix caching, which makes demonstrations that do not
    change nearly free; answers are taken to be as long either way. Null where a way is missing or nothing is saved.
    """
    counted = arms(results).filter(pl.col("way").is_in([ICL, IFT]))
    keys, once_paid = ["pool", "examples", "draw"], ["tuning", "training_tokens", "training_seconds"]
    per_arm = counted.group_by(*keys, "way").agg(pl.col("prompt_tokens").mean(), pl.col(once_paid).first())
    shown, tuned = (per_arm.filter(pl.col("way") == way).drop("way") for way in (ICL, IFT))
    joined = tuned.join(shown.select(*keys, icl="prompt_tokens"), on=keys, how="full", coalesce=True)
    both = pl.col("icl").is_not_null() & pl.col("prompt_tokens").is_not_null()
    left = joined.filter(both | ~both.any().over("pool", "examples"))
    table = left.group_by("pool", "examples").agg(
        pl.col("tuning").drop_nulls().first(),
        pl.col("training_tokens", "training_seconds").mean(),
        icl_prompt_tokens=pl.col("icl").mean(),
        ift_prompt_tokens=pl.col("prompt_tokens").mean(),
    )
    extra = pl.col("icl_prompt_tokens") - pl.col("ift_prompt_tokens")
    factor = pl.col("tuning").replace_strict(FORWARD_TOKENS, default=None, return_dtype=pl.Float64)
    once = pl.col("training_tokens") * pl.col("factor")
    table = table.with_columns(extra_prompt_tokens=extra, factor=factor).with_columns(
        break_even_requests=pl.when(pl.col("extra_prompt_tokens") > 0).then(once / pl.col("extra_prompt_tokens"))
    )
    return table.select(*COST_SCHEMA).cast(COST_SCHEMA).sort("pool", "examples")  # type: ignore[arg-type]


def loss_summary(losses: pl.DataFrame) -> pl.DataFrame:
    """Return how far training came: columns pool, examples, draw, steps, first, last (losses), tokens (read in all).

    Takes the columns pool, examples, draw, step, loss, tokens (cumulative).
    """
    ordered = losses.with_columns(pl.col("pool").fill_null("")).sort("pool", "examples", "draw", "step")
    table = ordered.group_by("pool", "examples", "draw", maintain_order=True).agg(
        steps=pl.col("step").n_unique(),
        first=pl.col("loss").first(),
        last=pl.col("loss").last(),
        tokens=pl.col("tokens").max(),
    )
    return table.cast(LOSS_SCHEMA)  # type: ignore[arg-type]


def _by_group(turns: pl.DataFrame, *keys: str) -> Iterator[tuple[tuple[str, ...], pl.DataFrame]]:
    """Yield the keys but the last, and the group, with a row per value of the last key, draw and query.

    Columns: that key, draw, query_id, score (mean over the turns), scored, judged (turns). Groups are each turn and
    the average, in this order.
    """
    single = turns.with_columns(group=pl.format("turn {}", "turn"))
    grouped = pl.concat([single, turns.with_columns(group=pl.lit(AVERAGE))])
    found = grouped.group_by(*keys, "group", "draw", "query_id").agg(
        pl.col("score").mean(), scored=pl.col("score").count(), judged=pl.len()
    )
    last = pl.col("group") == AVERAGE
    ordered = found.sort(*keys[:-1], last, "group", keys[-1], "draw", "query_id")
    for names, own in ordered.group_by(*keys[:-1], "group", maintain_order=True):
        yield tuple(str(name) for name in names), own


def _described(values: Floats, ends: Ends) -> tuple[float | None, float | None, float | None, int, int, str]:
    """Return mean, low, high, draws, queries, what the interval is over, of values (queries, draws) with these ends."""
    draws = int((~np.isnan(values)).any(axis=0).sum())
    found, over = crossed_interval(values, ends=ends), OVER_BOTH if draws > 1 else OVER_QUERIES
    if found is None:
        return None, None, None, 0, 0, over
    return found.value, found.low, found.high, draws, found.n, over
