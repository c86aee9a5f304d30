"""Arguments: what each command was asked for, as one typed value.

Knows neither flags nor commands.
"""

from dataclasses import dataclass
from pathlib import Path

from ablations.storage.workspace import Places
from ablations.studies.config.config import Override
from ablations.studies.config.tables import JudgeTable


@dataclass(frozen=True)
class RunArguments:
    """Of `run`.

    Attributes:
        study, search_space: which file; one of them, unless studies are listed.
        overrides: what flags put over it.
        places: where results go.
        fresh: whether a stored study of this name is forgotten; its completions and judgments stay.
        dry_run: whether the plan is all that is shown.
        quiet: whether errors alone are printed.
        list: whether the studies are listed.
    """

    study: str | None
    search_space: Path | None
    overrides: tuple[Override, ...]
    places: Places
    fresh: bool
    dry_run: bool
    quiet: bool
    list: bool


@dataclass(frozen=True)
class PromptArguments:
    """Of `prompt`."""

    study: str
    search_space: Path | None
    query: str
    prompt_file: Path | None
    pool: str | None
    turn_1_answer: str | None
    turn_2_query: str | None


@dataclass(frozen=True)
class ImportArguments:
    """Of `import`."""

    file: Path
    system_prompt: Path | None
    pool: Path | None
    write_back: Path | None


@dataclass(frozen=True)
class AuditArguments:
    """Of `audit-judge`; `judge` is a judge's name and `settings` are how it is asked."""

    judge: str | None
    settings: JudgeTable
    queries: str | None
    reference_answers: Path | None
    limit: int | None
    pairs: Path | None
    places: Places


@dataclass(frozen=True)
class WinRateArguments:
    """Of `winrate`."""

    annotations: Path
    instruction_difficulty: Path | None
    gamed: Path | None


@dataclass(frozen=True)
class ReportArguments:
    """Of `report`."""

    study: str
    out: Path | None
    places: Places


@dataclass(frozen=True)
class PlanArguments:
    """Of `plan`; the effect is in percent of the judge's scale."""

    study: str
    effect: float
    power: float
    places: Places


@dataclass(frozen=True)
class ReproduceArguments:
    """Of `reproduce`."""

    run_id: str
    limit: int | None
    model: str | None
    base_url: str | None
    places: Places


@dataclass(frozen=True)
class RebuildArguments:
    """Of `rebuild`."""

    name: str | None
    places: Places


@dataclass(frozen=True)
class UiArguments:
    """Of `ui`."""

    port: int
    places: Places


@dataclass(frozen=True)
class SchemaArguments:
    """Of `schema`; `readme` is a page whose tables are drawn again."""

    study: str | None
    search_space: Path | None
    readme: Path | None


Arguments = (
    RunArguments
    | PromptArguments
    | ImportArguments
    | AuditArguments
    | WinRateArguments
    | PlanArguments
    | ReportArguments
    | ReproduceArguments
    | RebuildArguments
    | UiArguments
    | SchemaArguments
)
