"""The findings of a comparison of examples in the prompt (ICL) with tuning on them (IFT).

Puts `sizes` and `crossover` together as numbers, a headline, tables and a report; knows neither the terminal nor
MLflow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ablations.core.condition import DECODING_PARAMETERS
from ablations.studies.icl_vs_ift.plan import LOSSES, RATES_NOTE
from ablations.studies.kind import Findings, Results
from analysis.demonstrations.crossover import LEAST_QUERIES, crossover
from analysis.demonstrations.sizes import (
    OVER_BOTH,
    arms,
    costs,
    loss_summary,
    pool_marks,
    reference_lines,
    settings,
    size_curve,
    size_differences,
)
from analysis.demonstrations.ways import ICL, IFT, LOSS_SCHEMA
from analysis.effects.intervals import Interval
from analysis.examples import Example, read_examples, reading_arms
from analysis.figures import tuning_figures
from analysis.frames import Row, judge_name
from analysis.report import prose
from analysis.report.page import About, Figures, Report, Section
from analysis.report.scores import examples_section, judge_section, method_section
from analysis.report.tables import (
    Columns,
    filled,
    interval,
    make_table,
    mean_interval,
    number,
    share,
    side_by_side,
    signed,
)
from analysis.scores import AVERAGE, failed_trials

_READ_SIZES = (
    "Two ways to use the same examples: as demonstrations in the prompt of the base model (ICL), or to tune the model "
    "on them (IFT), which then needs none in its prompt. Bands are 95 % intervals of each way's own mean; whether one "
    "way is ahead is a question for the paired differences below, not for bands that overlap. Where the line of ICL "
    "ends, more examples do not fit the context.",
    "The levels without a pool's examples are in a table of their own.",
)
_READ_DIFFERENCES = (
    "IFT minus ICL with the same examples, paired over queries and turns, so that how hard a query is cancels. Where "
    "there are several draws of examples, queries and draws are both resampled: the interval then holds for other "
    "examples of the pool too. With one draw it holds for these examples alone."
)
_READ_CROSSOVER = (
    "The number of examples from which tuning is ahead: the zero of the difference, interpolated between sizes on a "
    "scale of doublings. IFT's lead is taken to grow with the number of examples; where differences fall from one size "
    "to the next, both are replaced by their mean before the zero is looked for (isotonic regression). A resample in "
    "which IFT is ahead at every size counts as below the smallest, one in which it is ahead at none as above the "
    "largest; an interval that reaches there has no end, and one that reaches both decides nothing. A dash stands for "
    "what lies outside the sizes."
)
_READ_COSTS = (
    "ICL reads its examples again in every request, IFT reads them while it trains and never again. Break-even is the "
    "number of requests after which training has paid for itself, in tokens read: a token of full tuning counts 3 "
    "tokens of a prompt, one of LoRA 2. This is before prefix caching, which makes examples that do not change "
    "nearly free, and without what keeping a model of one's own costs. Answers are taken to be as long either way."
)
_READ_TRAINING = (
    "The loss of each training step. A loss near 0 on few examples says that they were learned by heart, which is not "
    "the same as following instructions."
)
_READ_SETTINGS = (
    "Decoding parameters that every arm leaves alone are left out. Where a learning rate was looked for, the one that "
    "was found is shown."
)
_METHOD = (
    "Sources: Owen 2007 (resampling of queries and draws), Rao and Wu 1988 and Satterthwaite 1946 (few draws), "
    "Robertson, Wright and Dykstra 1988 (isotonic regression), Kaplan et al. 2020 (what training costs)."
)

SIZES, DIFFERENCES, CROSSOVER = "Score by number of examples", "The same examples: IFT minus ICL", "Crossover"
COSTS, TRAINING, SETTINGS = "What each way costs", "Training", "Settings"
_ALWAYS_SHOWN = ("temperature", "max_tokens")
Tried = Sequence[tuple[float, float | None]]
"""Learning rates with the loss on held-out answers that each led to; None where its training failed."""


@dataclass(frozen=True)
class TuningFindings:
    """Findings of a comparison of ICL with IFT.

    Attributes:
        headline: a sentence for each pool, with the difference at the largest size that both ways have.
        judge: what gave the scores.
        failed: arms that are in no table because they failed, each with its reason.
        steps: the losses of each step of training, with the columns of `ways.LOSS_SCHEMA`; may be empty.
        frames: the tables by name, each with the columns that the function behind it documents: `curve`, `references`,
            `differences`, `costs`, `losses`, `settings` (all of `sizes`), and `crossover`.
        arms: how many there are.
        reading: the baseline, the best and the worst arm, by number, and which is which.
        rates: the learning rates that were tried, by what they were tried for.
        examples: answers of both ways with the same examples to the same queries.
    """

    headline: str
    judge: str
    failed: Sequence[str]
    steps: pl.DataFrame = field(compare=False)
    frames: Mapping[str, pl.DataFrame] = field(compare=False)
    arms: int
    reading: Mapping[int, str] = field(default_factory=dict)
    rates: Mapping[str, Tried] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()

    @classmethod
    def of(
        cls, results: pl.DataFrame, losses: pl.DataFrame | None, rates: Mapping[str, Tried] | None = None
    ) -> "TuningFindings":
        """Return what a study found.

        Args:
            results: its results of record.
            losses: of each step of training, or None where they are not known.
            rates: the learning rates that were tried, if any were.

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
        return cls(
            headline=_headline(frames),
            judge=judge_name(results),
            failed=failed_trials(results),
            steps=steps,
            frames=frames,
            arms=results.get_column("trial").n_unique(),
            reading=reading_arms(results),
            rates=rates or {},
            examples=_examples(results, frames["differences"]),
        )

    @property
    def unlike(self) -> str:
        """Decoding parameters that differ between ICL and IFT, and so are part of their difference; "" for none."""
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

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables by name; empty ones are left out."""
        return {name: frame for name, frame in self.frames.items() if len(frame)}

    def report(self, about: About) -> Report:
        """Return the study's page: scores, differences, crossover, costs, training, settings, answers."""
        figures = tuning_figures(self.frames, self.steps, self.judge)
        several = self.frames["curve"].get_column("pool").n_unique() > 1
        pool: Columns = {"pool": "pool"} if several else {}
        sections = (
            self._sizes(pool, figures),
            self._differences(pool, figures),
            self._crossover(pool),
            self._costs(pool, figures),
            self._training(pool, figures),
            self._settings(pool),
            judge_section(about, self.judge),
            examples_section(self.examples),
        )
        told = about.having(
            trials=f"{self.arms} arms",
            varied="what the examples go into: the prompt, or the weights; how many there are",
        )
        method = method_section(*prose.LIMITS, _METHOD)
        shown = (one for one in sections if one.title == SIZES or not one.empty)
        return Report(told, self.headline, (*shown, method), self.reading)

    def _sizes(self, pool: Columns, figures: Figures) -> Section:
        curve, lacking = self.frames["curve"], " ".join(f"Not in the table: {text}." for text in self.failed)
        last = pl.col("group") == AVERAGE
        ordered = curve.sort("pool", last, "group", "examples", "way").with_columns(pl.col("way").str.to_uppercase())
        keys, counts = {**pool, "on": "group", "examples": "examples"}, {"queries": "n", "draws": "draws"}
        tables = filled(
            side_by_side("Scores", ordered, keys, "way", mean_interval, {**counts, "interval over": "over"}, lacking),
            side_by_side(
                "Without a pool's examples",
                self.frames["references"],
                {"way": "way", "model": "model"},
                "group",
                mean_interval,
                {"queries": "n"},
            ),
            make_table(
                "Arms in which completions have no score",
                ordered.filter(pl.col("coverage") < 1),
                {**pool, "way": "way", "examples": "examples", "on": "group", "coverage": share("coverage")},
            ),
        )
        coverage = curve.get_column("coverage").to_list()
        said = (f"Scored completions: {min(coverage):.1%} in the worst arm.",) if coverage else ()
        return Section(SIZES, _READ_SIZES, said, figures.some("size_curve"), tables, brief=True)

    def _differences(self, pool: Columns, figures: Figures) -> Section:
        columns: Columns = {"examples": "examples", "on": "group", "IFT minus ICL": signed("difference")}
        columns |= {"95 % interval": interval(), "draws": "draws", "queries": "n", "interval over": "over"}
        table = make_table("Paired differences", self.frames["differences"], {**pool, **columns}, prose.CONTRASTS)
        drawn = figures.some("size_differences")
        return Section(DIFFERENCES, (_READ_DIFFERENCES,), (), drawn, filled(table), brief=True)

    def _crossover(self, pool: Columns) -> Section:
        columns: Columns = {"on": "group", "examples": number("value", 1), "from": number("low", 1)}
        columns |= {"to": number("high", 1), "ahead at every size": share("below"), "ahead at none": share("above")}
        columns |= {"verdict": "verdict"}
        details = ("examples", "from", "to", "ahead at every size", "ahead at none")
        frame = self.frames["crossover"]
        table = make_table("Where IFT overtakes ICL", frame, {**pool, **columns}, details=details)
        return Section(CROSSOVER, (_READ_CROSSOVER,), tables=filled(table), brief=True)

    def _costs(self, pool: Columns, figures: Figures) -> Section:
        columns: Columns = {
            "examples": "examples",
            "tuned by": "tuning",
            "trained on, tokens": number("training_tokens", 0),
        }
        columns |= {"seconds": number("training_seconds", 0), "ICL prompt": number("icl_prompt_tokens", 0)}
        columns |= {"IFT prompt": number("ift_prompt_tokens", 0), "saved a request": number("extra_prompt_tokens", 0)}
        columns |= {"break-even, requests": number("break_even_requests", 0)}
        table = make_table("Tokens, before prefix caching", self.frames["costs"], {**pool, **columns})
        drawn = figures.some("training_cost")
        return Section(COSTS, (_READ_COSTS,), (), drawn, filled(table), brief=True)

    def _training(self, pool: Columns, figures: Figures) -> Section:
        columns: Columns = {"examples": "examples", "draw": "draw", "steps": "steps", "first loss": number("first", 3)}
        columns |= {"last loss": number("last", 3), "tokens": number("tokens", 0)}
        table = make_table("Losses", self.frames["losses"], {**pool, **columns}, short=())
        said = tuple(
            f"Learning rates of {what}, with the loss on held-out answers: {_tried(tried)}."
            for what, tried in self.rates.items()
        )
        drawn = figures.some("training_loss")
        return Section(TRAINING, (_READ_TRAINING,), said, drawn, filled(table), brief=bool(said))

    def _settings(self, pool: Columns) -> Section:
        frame = self.frames["settings"]
        moved = [
            name
            for name in DECODING_PARAMETERS
            if name in frame.columns and (name in _ALWAYS_SHOWN or frame.get_column(name).n_unique() > 1)
        ]
        columns: Columns = {"way": _way, "examples": "examples", "model": "model", **{name: name for name in moved}}
        tuned: Columns = {"tuned by": "tuning", "epochs": "epochs", "learning rate": _rate}
        columns |= {name: column for name, column in tuned.items() if "epochs" in frame.columns}
        table = make_table("What each arm decodes with, and how it was tuned", frame, {**pool, **columns}, short=())
        said = (f"{self.unlike}.",) if self.unlike else ()
        return Section(SETTINGS, (_READ_SETTINGS,), said, tables=filled(table), brief=bool(said))

    def _of_pool(self, row: Row) -> str:
        pools = self.frames["curve"].get_column("pool").unique().sort().to_list()
        return f"{pool_marks(pools)[row['pool']]}/" if len(pools) > 1 else ""


def largest_common(differences: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `sizes.size_differences` at each pool's largest size that both ways have."""
    return differences.filter(pl.col("examples") == pl.col("examples").max().over("pool"))


def _with_ends(name: str, place: str, row: Row, value: str) -> dict[str, float | None]:
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


def _tried(tried: Tried) -> str:
    """Return learning rates with their losses, the chosen one marked."""
    best = min((loss for _, loss in tried if loss is not None), default=None)
    shown = (
        f"{rate:g}: failed" if loss is None else f"{rate:g}: {loss:.3f}{' (chosen)' * (loss == best)}"
        for rate, loss in tried
    )
    return ", ".join(shown) or "all failed"


def _rate(row: Row) -> str:
    return "–" if row["learning_rate"] is None else f"{row['learning_rate']:g}"


def _way(row: Row) -> str:
    return str(row["way"]).upper() if row["way"] in (ICL, IFT) else str(row["way"])


def _examples(results: pl.DataFrame, differences: pl.DataFrame) -> tuple[Example, ...]:
    """Return answers of both ways with the same examples, at the largest size that they share in the first pool."""
    rows = largest_common(differences).head(1).to_dicts()
    if not rows:
        return ()
    pool, size = rows[0]["pool"], rows[0]["examples"]
    own = arms(results).drop_nulls("score").filter((pl.col("pool") == pool) & (pl.col("examples") == size))
    trials = {(way, draw): trial for way, draw, trial in own.select("way", "draw", "trial").sort("trial").iter_rows()}
    draw = min(draw for way, draw in trials if way == ICL and (IFT, draw) in trials)
    named = {f"{way.upper()}, {size} examples": trials[way, draw] for way in (ICL, IFT)}
    return tuple(read_examples(results, named))


def summarise(results: Results) -> Findings:
    """Return the findings of a comparison of ICL with IFT; its table "losses" holds those of each training step.

    Raises:
        StorageError: the results are not those of such a study.
    """
    rates = {what: [(rate, loss) for rate, loss in tried] for what, tried in results.notes.get(RATES_NOTE, {}).items()}
    losses = results.table(LOSSES)
    steps = None if losses is None else losses.cast(pl.Schema(LOSS_SCHEMA))
    return TuningFindings.of(results.frame, steps, rates)
