"""How long it takes to compute everything that a large study says: 1,000 trials, 80 queries, two turns.

Seconds hang on the machine; what can be compared is each part's share, and the time against one paired bootstrap of the
same table done column by column.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ablations.core.schema import RESULT_SCHEMA
from ablations.studies.conditions import findings
from analysis.effects.intervals import DRAWS, Floats
from analysis.frames import condition_scores
from analysis.report.page import About

PARTS = (
    "condition_effects",
    "importances",
    "interaction_effects",
    "marginal_curves",
    "length_controlled_effects",
    "cost_table",
    "text_table",
    "turn_table",
)
"""Functions behind the findings that are timed one by one."""


def simulated_study(trials: int, queries: int, seed: int = 0) -> pl.DataFrame:
    """Return the results of a designed study in which temperature, repetition penalty and stop act."""
    generator = np.random.default_rng(seed)
    temperature = np.round(generator.integers(0, 13, trials) * 0.1, 1)
    temperature[0] = 0.0
    settings: dict[str, Any] = {
        "temperature": temperature,
        "top_p": np.round(0.5 + generator.integers(0, 6, trials) * 0.1, 1),
        "repetition_penalty": np.round(1 + generator.integers(0, 7, trials) * 0.05, 2),
        "max_tokens": 16 + 8 * generator.integers(0, 5, trials),
        "stop": generator.choice(["headings", "fence", "none"], trials),
    }
    trial = np.repeat(np.arange(trials), 2 * queries)
    query = np.tile(np.repeat(np.arange(queries), 2), trials)
    effect = 0.3 * (settings["stop"] == "headings") - temperature - 2 * (settings["repetition_penalty"] - 1)
    rows = len(trial)
    columns: dict[str, Any] = {
        "study": "simulated",
        "trial": trial,
        "condition_id": [f"c{number}" for number in trial],
        "role": np.where(trial == 0, "baseline", "fill"),
        "label": [f"trial {number}" for number in trial],
        "state": "complete",
        "replicate": 0,
        "active": [
            [name for name in settings if name != "top_p" or temperature[number] > 0] for number in trial.tolist()
        ],
        **{f"param.{name}": values[trial] for name, values in settings.items()},
        "query_id": [f"q{number:02d}" for number in query],
        "category": [f"category {number % 8}" for number in query],
        "turn": np.tile([1, 2], trials * queries),
        "query": "a query",
        "answer": ["word " * length for length in generator.integers(5, 40, rows)],
        "judge": "simulated",
        "score": generator.normal(5, 2, queries)[query] + effect[trial] + generator.normal(0, 1, rows),
        "prompt_tokens": 500,
        "completion_tokens": generator.integers(5, 40, rows),
        "truncated": generator.random(rows) < 0.3,
        "repetition": generator.random(rows) * 0.1,
        "judge_details": "{}",
    }
    given = pl.DataFrame({name: own for name, own in columns.items() if isinstance(own, list | np.ndarray)})
    constants = [pl.lit(columns.get(name)).alias(name) for name in RESULT_SCHEMA if name not in given.columns]
    return given.with_columns(constants).select(pl.col(name).cast(kind) for name, kind in RESULT_SCHEMA.items())


async def measure(_: Path, trials: int = 1_000, queries: int = 80) -> dict[str, float]:
    """Return seconds of all findings and of their parts, and the time against a bootstrap column by column."""
    results = simulated_study(trials, queries)
    begun = time.perf_counter()
    found = findings.ConditionFindings.of(results)
    figures: dict[str, float] = {f"all findings, s ({trials} x {queries} x 2)": time.perf_counter() - begun}
    begun = time.perf_counter()
    drawn = len(list(found.report(About("simulated")).figures.values()))
    figures[f"{drawn} figures, s"] = time.perf_counter() - begun
    for name in PARTS:
        begun = time.perf_counter()
        getattr(findings, name)(results)
        figures[f"{name}, s"] = time.perf_counter() - begun
    figures["one column at a time / condition_effects"] = _by_column(results) / figures["condition_effects, s"]
    return figures


def _by_column(results: pl.DataFrame) -> float:
    """Return the seconds that a bootstrap of each condition by itself takes."""
    scores = condition_scores(results)
    differences: Floats = scores.of(scores.trials[1:]) - scores.of(scores.trials[:1])
    begun = time.perf_counter()
    for column in differences.T:
        drawn = np.random.default_rng(0).integers(0, len(column), size=(DRAWS, len(column)))
        np.quantile(column[drawn].mean(axis=1), [0.025, 0.975])
    return time.perf_counter() - begun
