"""ICL against IFT: what a comparison of examples in the prompt with tuning on them found.

Puts `sizes` and `crossover` together as numbers, a headline, tables and figures; knows neither the terminal nor
MLflow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from ablations.core.condition import DECODING_PARAMETERS
from analysis.demonstrations.crossover import LEAST_QUERIES, crossover
from analysis.demonstrations.sizes import (
    AVERAGE,
    OVER_BOTH,
    costs,
    failed_arms,
    loss_summary,
    pool_marks,
    reference_lines,
    settings,
    size_curve,
    size_differences,
)
from analysis.demonstrations.ways import ICL, IFT, LOSS_SCHEMA
from analysis.effects.intervals import Interval
from analysis.figures import tuning_figures


@dataclass(frozen=True)
class TuningFindings:
    """What a comparison of ICL with IFT found.

    Attributes:
        headline: a sentence for each pool, with the difference at the largest size that both ways have.
        judge: what gave the scores.
        failed: arms that count for nothing, each with its reason.
        steps: the losses of each step of training, with the columns of `results.LOSS_SCHEMA`; may be empty.
        frames: the tables by name, each with the columns that the function behind it documents: `curve`, `references`,
            `differences`, `costs`, `losses`, `settings` (all of `sizes`), and `crossover`.
    """

    headline: str
    judge: str
    failed: Sequence[str]
    steps: pl.DataFrame = field(compare=False)
    frames: Mapping[str, pl.DataFrame] = field(compare=False)

    @classmethod
    def of(cls, results: pl.DataFrame, losses: pl.DataFrame | None) -> "TuningFindings":
        """Return what a study found, from its results and the losses of its training, if they were kept.

        Raises:
            StorageError: the results are not those of such a study.
        """
        steps = pl.DataFrame(schema=LOSS_SCHEMA) if losses is None else losses
        frames = {
            "curve": size_curve(results),
            "references": reference_lines(results),
            "differences": size_differences(results),
            "crossover": crossover(results),
            "costs": costs(results),
            "losses": loss_summary(steps),
            "settings": settings(results),
        }
        judges = results.get_column("judge").drop_nulls()  # an arm that failed was not judged
        judge = str(judges[0]) if len(judges) else "no"
        return cls(_headline(frames), judge, failed_arms(results), steps, frames)

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The figures that the study allows, by file name without ending."""
        return tuning_figures(self.frames, self.steps, self.judge)

    @property
    def unlike(self) -> str:
        """What ICL and IFT decode with where that is not the same, so that it stands in their difference; else ""."""
        ways = self.frames["settings"].filter(pl.col("way").is_in([ICL, IFT]))
        differing = [
            f"{name} {' against '.join(map(str, ways.get_column(name).unique(maintain_order=True)))}"
            for name in DECODING_PARAMETERS
            if name in ways.columns and ways.get_column(name).n_unique() > 1
        ]
        told = f"ICL and IFT decode otherwise, which is part of their difference: {'; '.join(differing)}"
        return told if differing else ""

    def metrics(self) -> dict[str, float | None]:
        """Return the numbers for the parent run, by documented name; the pool stands in it where there are several."""
        found: dict[str, float | None] = {}
        for row in self.frames["differences"].iter_rows(named=True):
            place = f"{self._of_pool(row)}{row['examples']}/{row['group']}"
            found |= _with_ends("ift_minus_icl", place, row, "difference")
        for row in self.frames["crossover"].iter_rows(named=True):
            found |= _with_ends("crossover", f"{self._of_pool(row)}{row['group']}", row, "value")
        for row in self.frames["costs"].iter_rows(named=True):
            found[f"break_even/{self._of_pool(row)}{row['examples']}"] = row["break_even_requests"]
        return found

    def tables(self) -> dict[str, dict[str, list[Any]]]:
        """Return the tables as columns, by name; empty ones are left out."""
        return {name: frame.to_dict(as_series=False) for name, frame in self.frames.items() if len(frame)}

    def _of_pool(self, row: Mapping[str, Any]) -> str:
        pools = self.frames["curve"].get_column("pool").unique().sort().to_list()
        return f"{pool_marks(pools)[row['pool']]}/" if len(pools) > 1 else ""


def largest_common(differences: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `sizes.size_differences` at each pool's largest size that both ways have."""
    return differences.filter(pl.col("examples") == pl.col("examples").max().over("pool"))


def _with_ends(name: str, place: str, row: Mapping[str, Any], value: str) -> dict[str, float | None]:
    return {f"{name}/{place}": row[value], f"{name}_low/{place}": row["low"], f"{name}_high/{place}": row["high"]}


def _headline(frames: Mapping[str, pl.DataFrame]) -> str:
    pools = frames["curve"].get_column("pool").unique().sort().to_list()
    rows = largest_common(frames["differences"])
    if rows.is_empty():
        return "No headline: no number of examples was scored both in the prompt and in the weights."
    said = []
    for pool in pools:
        own = rows.filter(pl.col("pool") == pool)
        named = f" of {pool}" if len(pools) > 1 else ""
        said.append(_sentence(own, named) if len(own) else f"The examples{named} have no size with both ways.")
    return " ".join(said)


def _sentence(rows: pl.DataFrame, named: str) -> str:
    """Say how far IFT is from ICL at one size, turn by turn."""
    turns = rows.filter(pl.col("group") != AVERAGE).to_dicts()
    found = {row["group"]: Interval(row["difference"], row["low"], row["high"], row["n"]) for row in turns}
    points = ", ".join(f"{one} points on {group}" for group, one in found.items())
    draws = f"{turns[0]['draws']} draws and " if turns[0]["over"] == OVER_BOTH else ""
    over = f"{draws}{turns[0]['n']} queries{'' if draws else ', for these examples alone'}"
    return (
        f"With the same {turns[0]['examples']} examples{named}, tuning on them (IFT) scores against showing them "
        f"in the prompt (ICL): {points} (95 % over {over}): {_verdict(found)}."
    )


def _verdict(found: Mapping[str, Interval]) -> str:
    """Say which way is clearly ahead, and where nothing is decided."""
    fewest = min(one.n for one in found.values())
    if fewest < LEAST_QUERIES:
        return f"{fewest} queries are too few to decide anything, which takes {LEAST_QUERIES} at the least"
    clear = {group: "IFT" if one.value > 0 else "ICL" for group, one in found.items() if one.excludes_zero}
    open_ones = [group for group in found if group not in clear]
    if not clear:
        return "every interval includes 0, so this decides nothing" if len(found) > 1 else "this decides nothing"
    ahead = ", ".join(f"{way} is clearly ahead on {group}" for group, way in clear.items())
    return ahead + (f"; {' and '.join(open_ones)} decides nothing" if open_ones else "")
