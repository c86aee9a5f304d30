"""The headline of a study of conditions: what is decided, in sentences.

Knows the tables of the study's findings, from which every number is taken.
"""

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from ablations.core.errors import listed
from analysis.effects.joint import LESS, MORE
from analysis.effects.paired import BETTER, WORSE, baseline_trial, best_trial, lead_of_best, rivals, shares_queries
from analysis.frames import Row, scale_of

MOST_NAMED = 4
"""Effects that a headline names, those with the largest difference first."""


def headline(results: pl.DataFrame, frames: Mapping[str, pl.DataFrame], judge: str) -> str:
    """Return what the study decides: single changes, pairs, and the highest condition's lead over the baseline.

    Takes the tables `trials`, `effects`, `joint` and `conditions`.
    """
    baseline = baseline_trial(results)
    if baseline is None or rivals(results) < 1:
        return "No headline: the baseline or every other condition lacks enough scores."
    if not shares_queries(results, baseline):
        return "No headline: no query was scored under both the baseline and another condition."
    single, joint, conditions = frames["effects"], frames["joint"], frames["conditions"]
    if len(single) and not _is_search(results):
        said = [_changes(single, judge)]
    else:
        said = [_conditions(conditions, rivals(results), frames["trials"], judge)]
    if len(joint):
        said.append(_pairs(joint))
    return " ".join([*said, _highest(results, frames["trials"], judge)])


def _changes(single: pl.DataFrame, judge: str) -> str:
    def words(row: Row) -> str:
        around = f" ({row['around']})" if row["around"] else ""
        return f"{row['parameter']} {row['against']} → {row['value']}{around} {row['difference']:+.2f}"

    number, named = _count(single, (BETTER, WORSE)), _named(single, (WORSE, BETTER), words)
    return f"By the {judge} judge {number} of {len(single)} single changes are decided{named}."


def _is_search(results: pl.DataFrame) -> bool:
    """Whether a sampler chose conditions, or trials were stopped early."""
    return "sampled" in results.get_column("role") or "stopped" in results.get_column("state")


def _conditions(conditions: pl.DataFrame, competed: int, trials: pl.DataFrame, judge: str) -> str:
    changes = dict(trials.select("trial", "change").iter_rows())
    decided = _named(conditions, (BETTER, WORSE), lambda row: f"{changes[row['trial']]} {row['difference']:+.2f}")
    number = _count(conditions, (BETTER, WORSE))
    early = competed - len(conditions)
    stopped = f" ({early} were stopped early)" if early > 0 else ""
    return f"By the {judge} judge {number} of {competed} conditions differ from the baseline{decided}{stopped}."


def _pairs(joint: pl.DataFrame) -> str:
    def words(row: Row) -> str:
        return (
            f"{row['first']} with {row['second']} {row['together']:.2f}, not {row['expected']:.2f} "
            f"({row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}])"
        )

    return f"{_count(joint, (MORE, LESS))} of {len(joint)} pairs do not add up{_named(joint, (MORE, LESS), words)}."


def _highest(results: pl.DataFrame, trials: pl.DataFrame, judge: str) -> str:
    scale, best, baseline = scale_of(results), best_trial(results), baseline_trial(results)
    if scale is not None and not scale.chooses:
        return f"Scores by the {judge} judge choose no best condition here."
    rows = {row["trial"]: row for row in trials.iter_rows(named=True)}
    of_baseline = f"the baseline ({rows[baseline]['label']})"
    if best == baseline:
        return f"No condition scores above {of_baseline}."
    lead = lead_of_best(results)
    if lead is None:
        return "No query was scored under both the highest condition and the baseline."
    verdict = "a clear lead" if lead.low is not None and lead.low > 0 else "no clear lead"
    chance = " Chosen as the highest of many, it is subject to selection bias: confirm it (--confirm)." * (
        verdict == "a clear lead"
    )
    return (
        f"The highest condition ({rows[best]['change']}) scores {lead} points against {of_baseline}, paired over "
        f"{lead.n} queries: {verdict}.{chance}"
    )


def _count(frame: pl.DataFrame, verdicts: Sequence[str]) -> int:
    return len(frame.filter(pl.col("verdict").is_in(verdicts)))


def _named(frame: pl.DataFrame, verdicts: Sequence[str], words: Callable[[Row], str]) -> str:
    """Return the rows with one of these verdicts in words, by verdict; "" without any."""
    order = pl.col("difference").abs()
    parts = []
    for verdict in verdicts:
        rows = frame.filter(pl.col("verdict") == verdict).sort(order, descending=True)
        if len(rows):
            parts.append(f"{verdict}: {listed(list(map(words, rows.iter_rows(named=True))), MOST_NAMED)}")
    return f" ({'; '.join(parts)})" if parts else ""
