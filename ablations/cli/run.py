"""`run`: what a study's command does, and the list of the studies there are.

Knows no kind by its name, and does the work of none.
"""

import asyncio
from pathlib import Path

from rich.table import Table

from ablations.cli.arguments import RunArguments
from ablations.cli.progress import ConsoleReporter, make_console
from ablations.core.errors import AblationError, UsageError
from ablations.studies.config.config import Config, load_config
from ablations.studies.config.file import SEARCH_SPACES, find_study_file
from ablations.studies.engine.runner import Parts, Runner
from ablations.studies.planning.inputs import open_inputs
from ablations.studies.registry import configs, find_kind


def run(asked: RunArguments) -> int:
    """Run a study, or list the studies."""
    if asked.list:
        table = Table("study", "what it answers", box=None)
        for path in sorted(SEARCH_SPACES.glob("*.toml")):
            table.add_row(path.stem, _description(path))
        make_console(asked.quiet).print(table)
        return 0
    config = load_config(study_path(asked.study, asked.search_space), asked.overrides, configs())
    asyncio.run(_run(asked, config))
    return 0


def study_path(study: str | None, search_space: Path | None) -> Path:
    """Return the study file that the flags name."""
    if search_space is not None:
        if not search_space.is_file() and (SEARCH_SPACES / f"{search_space}.toml").is_file():
            raise UsageError(f"--search-space {search_space} is no file; to run that study give --study {search_space}")
        return search_space
    if study is None:
        raise UsageError("say what to study: --study NAME (see --list) or --search-space PATH")
    return find_study_file(study)


async def _run(asked: RunArguments, config: Config) -> None:
    reporter, kind = ConsoleReporter(make_console(asked.quiet)), find_kind(config.mode)
    _check_engine(config)
    async with open_inputs(config, asked.places, reporter, asked.dry_run, asked.fresh) as inputs:
        plan = await kind.plan(inputs)
        reporter.show(plan.overview(inputs.judge), brief=not asked.dry_run)
        parts = Parts(plan.backend or await inputs.backend(), inputs.judge, asked.places, reporter, inputs.log_file)
        runner = Runner(kind, plan, parts, asked.fresh)
        await (runner.rehearse() if asked.dry_run else runner.run())


def _check_engine(config: Config) -> None:
    """Raise `UsageError` for settings that vLLM's engine does not know, before any plan is shown."""
    if any(key.startswith("engine.") for key in config.flags) and not config.server:
        from ablations.models.vllm.settings import check_settings

        check_settings(config.engine)


def _description(path: Path) -> str:
    try:
        return load_config(path, (), configs()).study.description
    except AblationError as error:
        return f"cannot be read: {error}"
