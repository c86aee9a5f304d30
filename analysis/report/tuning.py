"""The page of examples in the prompt against tuning on them: scores, differences, crossover, cost, training."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ablations.core.condition import DECODING_PARAMETERS
from ablations.studies.icl_vs_ift.findings import TuningFindings, largest_common
from analysis.demonstrations.sizes import arms
from analysis.demonstrations.ways import ICL, IFT
from analysis.examples import read_examples
from analysis.report import prose
from analysis.report.page import About, Report, Section
from analysis.report.study import audit_section
from analysis.report.tables import Columns, Table, interval, make_table, number, share, signed

SIZES, DIFFERENCES, CROSSOVER = "Score by number of examples", "The same examples: IFT minus ICL", "Crossover"
COSTS, TRAINING, SETTINGS = "What each way costs", "Training", "Settings"
_ALWAYS_SHOWN = ("temperature", "max_tokens")
_ALWAYS = (SIZES, "Method and limits")


def tuning_report(results: pl.DataFrame, losses: pl.DataFrame | None, about: About) -> Report:
    """Return the report of a comparison of ICL with IFT.

    Args:
        results: its results of record.
        losses: of each step of training, or None where they were not kept.
        about: what it was made from.

    Raises:
        StorageError: the results are not those of such a study.
    """
    found = TuningFindings.of(results, losses)
    several = found.frames["curve"].get_column("pool").n_unique() > 1
    pool: Columns = {"pool": "pool"} if several else {}
    sections = [
        _sizes(found, pool),
        _differences(found, pool),
        _crossover(found, pool),
        _costs(found, pool),
        _training(found, pool),
        _settings(found, pool),
        audit_section(about, found.judge),
        _examples(results, found),
        Section("Method and limits", (*prose.LIMITS, prose.TUNING_METHOD)),
    ]
    shown = (one for one in sections if one.figures or one.tables or one.examples or one.title in _ALWAYS)
    return Report(about, found.headline, tuple(shown))


def _sizes(found: TuningFindings, pool: Columns) -> Section:
    measured: Columns = {"mean": number("mean"), "95 % interval": interval(sign=False)}
    curve: Columns = {"way": lambda row: row["way"].upper(), "examples": "examples", "on": "group", **measured}
    curve |= {"draws": "draws", "queries": "n", "interval over": "over", "coverage": share("coverage")}
    lines: Columns = {"way": "way", "model": "model", "on": "group", **measured, "queries": "n"}
    lacking = " ".join(f"Not in the table: {text}." for text in found.failed)
    tables = [
        make_table("Scores", found.frames["curve"], {**pool, **curve}, lacking),
        make_table("Without a pool's examples", found.frames["references"], lines),
    ]
    return _section(SIZES, prose.SIZES, found, "size_curve", tables)


def _differences(found: TuningFindings, pool: Columns) -> Section:
    columns: Columns = {"examples": "examples", "on": "group", "IFT minus ICL": signed("difference")}
    columns |= {"95 % interval": interval(), "draws": "draws", "queries": "n", "interval over": "over"}
    table = make_table("Paired differences", found.frames["differences"], {**pool, **columns}, prose.CONTRASTS)
    return _section(DIFFERENCES, (prose.SIZE_DIFFERENCES,), found, "size_differences", [table])


def _crossover(found: TuningFindings, pool: Columns) -> Section:
    columns: Columns = {"on": "group", "examples": number("value", 1), "from": number("low", 1)}
    columns |= {"to": number("high", 1), "ahead at every size": share("below"), "ahead at none": share("above")}
    columns |= {"verdict": "verdict"}
    note = "A dash stands for what lies outside the sizes; the two shares are of resamples."
    table = make_table("Where IFT overtakes ICL", found.frames["crossover"], {**pool, **columns}, note)
    return _section(CROSSOVER, (prose.CROSSOVER,), found, "", [table])


def _costs(found: TuningFindings, pool: Columns) -> Section:
    columns: Columns = {
        "examples": "examples",
        "tuned by": "tuning",
        "trained on, tokens": number("training_tokens", 0),
    }
    columns |= {"seconds": number("training_seconds", 0), "ICL prompt": number("icl_prompt_tokens", 0)}
    columns |= {"IFT prompt": number("ift_prompt_tokens", 0), "saved a request": number("extra_prompt_tokens", 0)}
    columns |= {"break-even, requests": number("break_even_requests", 0)}
    table = make_table("Tokens", found.frames["costs"], {**pool, **columns})
    return _section(COSTS, (prose.TUNING_COSTS,), found, "training_cost", [table])


def _training(found: TuningFindings, pool: Columns) -> Section:
    columns: Columns = {"examples": "examples", "draw": "draw", "steps": "steps", "first loss": number("first", 3)}
    columns |= {"last loss": number("last", 3), "tokens": number("tokens", 0)}
    table = make_table("Losses", found.frames["losses"], {**pool, **columns})
    return _section(TRAINING, (prose.TRAINING,), found, "training_loss", [table])


def _settings(found: TuningFindings, pool: Columns) -> Section:
    frame = found.frames["settings"]
    moved = [
        name
        for name in DECODING_PARAMETERS
        if name in frame.columns and (name in _ALWAYS_SHOWN or frame.get_column(name).n_unique() > 1)
    ]
    columns: Columns = {"way": _way, "examples": "examples", "model": "model", **{name: name for name in moved}}
    tuned: Columns = {"tuned by": "tuning", "passes": "epochs", "learning rate": _rate}
    columns |= {name: column for name, column in tuned.items() if "epochs" in frame.columns}
    table = make_table("What each arm decodes with, and how it was tuned", frame, {**pool, **columns}, found.unlike)
    return _section(SETTINGS, (prose.SETTINGS,), found, "", [table])


def _rate(row: Mapping[str, Any]) -> str:
    return "–" if row["learning_rate"] is None else f"{row['learning_rate']:g}"


def _way(row: Mapping[str, Any]) -> str:
    return str(row["way"]).upper() if row["way"] in (ICL, IFT) else str(row["way"])


def _section(title: str, text: Sequence[str], found: TuningFindings, figures: str, tables: Sequence[Table]) -> Section:
    """Return a section with the figures whose names begin so, if any, and the tables that have rows."""
    shown = {name: figure for name, figure in found.figures.items() if figures and name.startswith(figures)}
    return Section(title, tuple(text), shown, tuple(table for table in tables if table.rows))


def _examples(results: pl.DataFrame, found: TuningFindings) -> Section:
    """Return answers of both ways with the same examples, at the largest size that they share in the first pool."""
    title, rows = "Answers side by side", largest_common(found.frames["differences"]).head(1).to_dicts()
    if not rows:
        return Section(title)
    pool, size = rows[0]["pool"], rows[0]["examples"]
    own = arms(results).drop_nulls("score").filter((pl.col("pool") == pool) & (pl.col("examples") == size))
    trials = {(way, draw): trial for way, draw, trial in own.select("way", "draw", "trial").sort("trial").iter_rows()}
    draw = min(draw for way, draw in trials if way == ICL and (IFT, draw) in trials)
    named = {f"{way.upper()}, {size} examples": trials[way, draw] for way in (ICL, IFT)}
    return Section(title, (prose.EXAMPLES,), examples=tuple(read_examples(results, named)))
