"""The tables that every study file has: `[study]`, `[pool]` and `[judge]`.

Knows no kind of study; the table of one is a `KindConfig`, which stands in the kind's package.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ablations.core.records import MIN_COVERAGE
from ablations.datasets.pools import STYLED
from ablations.judges.base import CHECKS_SCORES, GRADED
from ablations.judges.registry import DEFAULT_JUDGE, JUDGES
from ablations.models.registry import BACKENDS, DEFAULT_ENCODER
from ablations.studies.config.keys import DATA, JUDGE, MODEL, SHOTS, Key, Table

DEFAULT_MODEL = "gemma-3-270m"
SERVER, LOCAL = "openai", "vllm"
"""Backends: a completions server, and the engine in this process."""
_JUDGES = [f"`{name}`" for name in JUDGES]


@dataclass(frozen=True)
class StudyTable(Table):
    """The keys of `[study]` that every kind of study has; the kind may add some of its own."""

    table: ClassVar[str] = "study"

    mode: Annotated[str, Key("the kind of study", "--mode", "MODE")] = ""
    description: Annotated[str, Key("one sentence, shown by `--list` and in MLflow")] = ""
    seed: Annotated[int, Key("of the design, the query subset and all requests", "--seed", "N", least=0)] = 0
    concurrency: Annotated[int, Key("trials in flight on the one engine", "--concurrency", "N", least=1)] = 4
    min_coverage: Annotated[
        float,
        Key("share of scored completions below which a trial fails", "--min-coverage", "SHARE", above=0, most=1),
    ] = MIN_COVERAGE
    model: Annotated[
        str | None,
        Key(
            "a packaged model, a hub id or a folder", "--model", "NAME|HUB_ID|DIR", MODEL, default=f"`{DEFAULT_MODEL}`"
        ),
    ] = None
    backend: Annotated[
        str,
        Key(
            "`vllm` (in this process) or `openai` (a completions server)", "--backend", "NAME", MODEL, choices=BACKENDS
        ),
    ] = LOCAL
    negligible: Annotated[
        float | None,
        Key(
            "a difference that does not matter, in points of the judge's scale",
            "--negligible",
            "POINTS",
            more="An effect whose whole interval lies within it is said to be",
            above=0,
            default="a tenth of the scale",
        ),
    ] = None
    judge: Annotated[
        str,
        Key(f"{', '.join(_JUDGES[:-1])} or {_JUDGES[-1]}", "--judge", "NAME", JUDGE, choices=tuple(JUDGES)),
    ] = DEFAULT_JUDGE
    also_judge: Annotated[
        tuple[str, ...],
        Key(
            "a judge that scores the same answers beside it; decides nothing",
            "--also-judge",
            "NAME",
            JUDGE,
            more="Scores are never averaged over judges: effects stand side by side, with their rank correlation. A "
            "`--judge` leaves the file's further judges out, unless `--also-judge` names them",
            choices=tuple(JUDGES),
            repeated=True,
        ),
    ] = ()
    queries: Annotated[
        str,
        Key(
            "`instructions` or `short` (built in), MT-Bench, AlpacaEval or IFEval files, or JSONL",
            "--queries",
            "NAME|PATH",
            DATA,
        ),
    ] = "instructions"
    limit: Annotated[
        int | None, Key("a seeded subset, spread over the categories", "--limit", "N", DATA, least=1, default="all")
    ] = None
    skip_unknown_checks: Annotated[
        bool, Key("leave out, and count, checks that are not known or not checked", "--skip-unknown-checks", group=DATA)
    ] = False
    reference_answers: Annotated[
        Path | None, Key("FastChat's reference_answer JSONL", "--reference-answers", "FILE", DATA)
    ] = None
    prompt_file: Annotated[
        Path | None, Key("a file whose text replaces system prompt and shots", "--prompt-file", "FILE", DATA)
    ] = None


@dataclass(frozen=True)
class PoolTable(Table):
    """`[pool]`: where demonstrations come from."""

    table: ClassVar[str] = "pool"

    name: Annotated[
        str | None,
        Key(
            "`demonstrations`, `examples`, a prompt file, a file of JSON rows, or a data set of the hub",
            "--pool",
            "NAME|PATH|HUB_ID",
            SHOTS,
            more="`demonstrations` are ten in four styles; `examples` are 64, written for this project, of which the "
            "first exchange is used; a prompt file ends in `.txt`; a data set is `org/name` or `org/name:split`; paths "
            "are as seen from where the command runs",
            default=f"`{STYLED}`",
        ),
    ] = None
    encoder: Annotated[
        str, Key("a sentence-transformers model: the packaged one, a folder, or a hub id", "--encoder", "NAME", SHOTS)
    ] = DEFAULT_ENCODER
    max_tokens_each: Annotated[
        int | None, Key("the longest demonstration, in tokens of the model; longer ones are left out", least=1)
    ] = None
    max_tokens_total: Annotated[
        int | None, Key("the most that the demonstrations of one prompt may take, in tokens of the model", least=1)
    ] = None
    fit: Annotated[
        str,
        Key(
            "what becomes of numbers of demonstrations that the context does not hold",
            more="`refuse`: the study ends before it begins. `leave-out`: these, and those that the pool does not "
            "hold, are named and left out",
            choices=("refuse", "leave-out"),
        ),
    ] = "refuse"
    greedy: Annotated[
        str,
        Key(
            "the greedy search whose prompt the source `greedy` takes: a study's name, or a prompt file",
            "--greedy",
            "FILE|STUDY",
            SHOTS,
        ),
    ] = "greedy-search"
    allow_overlap: Annotated[
        bool,
        Key("keep demonstrations that equal an evaluation query; recorded", "--allow-overlap", group=SHOTS),
    ] = False


@dataclass(frozen=True)
class JudgeTable(Table):
    """`[judge]`: how a judge that is a language model is asked, and what it may cost."""

    table: ClassVar[str] = "judge"

    model: Annotated[
        str | None, Key("an LLM judge's model, as its server calls it", "--judge-model", "NAME", JUDGE)
    ] = None
    base_url: Annotated[
        str | None,
        Key(
            "its server; the key is read from JUDGE_API_KEY or OPENAI_API_KEY",
            "--judge-base-url",
            "URL",
            JUDGE,
            default="OpenAI's",
        ),
    ] = None
    prompts: Annotated[
        Path | None,
        Key("judge prompts in FastChat's form, followed to the letter", "--judge-prompts", "FILE", JUDGE),
    ] = None
    compare_with: Annotated[
        Path | None, Key("answers that pairwise and alpaca-eval compare with", "--compare-with", "FILE", JUDGE)
    ] = None
    two_scores: Annotated[
        bool, Key("pairwise asks for two scores, as Han (2023) does", "--two-scores", group=JUDGE)
    ] = False
    checks_score: Annotated[
        str,
        Key(
            "what `checks` makes of its checks",
            "--checks-score",
            "NAME",
            JUDGE,
            more="`graded`: 0 unless the content is right, 1/2 where it is, 1 where the answer also ended by itself; "
            "`strict`: 1 where all checks hold; `share`: the share that holds, so that a wrong answer gets something "
            "for having ended",
            choices=CHECKS_SCORES,
        ),
    ] = GRADED
    max_tokens: Annotated[
        int | None, Key("the longest reply", "--judge-max-tokens", "N", JUDGE, least=1, default="2048")
    ] = None
    max_cost: Annotated[
        float | None,
        Key("stop before judging one model's study costs more", "--max-cost", "USD", JUDGE, above=0),
    ] = None
    prices: Annotated[
        Path | None, Key("TOML: dollars per million tokens by model", "--judge-prices", "FILE", JUDGE)
    ] = None
    in_flight: Annotated[
        int | None, Key("judge requests at once", "--judge-in-flight", "N", JUDGE, least=1, default="32")
    ] = None
    rpm: Annotated[float | None, Key("judge requests a minute at most", "--judge-rpm", "N", JUDGE, above=0)] = None
    tpm: Annotated[float | None, Key("judge tokens a minute at most", "--judge-tpm", "N", JUDGE, above=0)] = None
    timeout: Annotated[
        float | None, Key("seconds for one attempt", "--judge-timeout", "S", JUDGE, above=0, default="120")
    ] = None


SHARED: Mapping[str, type[Table]] = {one.table: one for one in (StudyTable, PoolTable, JudgeTable)}
