"""`run`: what a study's command does, and the list of the studies there are.

Knows every part and does the work of none.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ablations.cli.parser import RunArguments
from ablations.cli.plan import show_plan, show_studies
from ablations.cli.progress import make_console
from ablations.core.errors import AblationError, UsageError, redacted
from ablations.studies.alignment.config import AlignmentConfig
from ablations.studies.alignment.study import compare_models, run_models, study_names
from ablations.studies.conditions.config import ABLATION, ConditionsConfig
from ablations.studies.conditions.confirm_session import ConfirmedSession
from ablations.studies.config.assembly import Assembly, assembled, check_model, make_backend
from ablations.studies.config.config import KindConfig, StudyConfig, load_config
from ablations.studies.config.file import SEARCH_SPACES, find_study_file
from ablations.studies.engine.runner import Session
from ablations.studies.greedy.config import GreedyConfig
from ablations.studies.greedy.session import SearchSession
from ablations.studies.icl_vs_ift.config import TuningConfig
from ablations.studies.registry import CONFIGS

Config = StudyConfig[KindConfig]


def run(asked: RunArguments) -> int:
    """Run a study, or list the studies."""
    console = make_console(asked.quiet)
    if asked.list:
        show_studies(console, [_describe(path) for path in sorted(SEARCH_SPACES.glob("*.toml"))])
        return 0
    config = load_config(study_path(asked.study, asked.search_space), asked.overrides, CONFIGS)
    kind = config.kind
    if isinstance(kind, AlignmentConfig):
        if "study.model" not in config.flags and not config.server:
            return _compare(asked, config, kind, console)
        listed = ConditionsConfig(design="listed", trials=2 + len(kind.conditions), conditions=kind.conditions)
        config = replace(config, study=replace(config.study, mode=ABLATION), kind=listed)
    asyncio.run(_run(asked, config, console))
    return 0


def study_path(study: str | None, search_space: Path | None) -> Path:
    """Return the study file that the flags name."""
    if search_space is not None:
        return search_space
    if study is None:
        raise UsageError("say what to study: --study NAME (see --list) or --search-space PATH")
    return find_study_file(study)


def _compare(asked: RunArguments, config: Config, kind: AlignmentConfig, console: Console) -> int:
    """Run the study once for each model, each in a process of its own, and compare them."""
    names = study_names(config.name, kind.models)
    for model in kind.models:  # a misspelt one is found before the first is paid for
        check_model(replace(config, study=replace(config.study, model=model)))
    run_models(asked.given, names, console)
    if not asked.dry_run:
        asyncio.run(compare_models(config, names, asked.places, console))
    return 0


async def _run(asked: RunArguments, config: Config, console: Console) -> None:
    async with assembled(config, asked.places, console, asked.dry_run) as study:
        spec, config = study.spec, study.spec.config
        if isinstance(config.kind, TuningConfig):
            await _run_tuning(asked, study, console)
            return
        model = config.study.model or f"what {', '.join(map(redacted, config.server))} serves"
        show_plan(console, spec, model, study.informed_judge, asked.dry_run, study.confirmation)
        if asked.dry_run:
            _check_engine(config)
            return
        backend = study.backend or await make_backend(config, study.places.engine_log(spec.name), console)
        given = (spec, config.effective(), backend, study.judge, study.places, console, asked.fresh)
        if study.confirmation is not None:
            await ConfirmedSession(*given, confirmation=study.confirmation).run()
            return
        session = SearchSession if isinstance(config.kind, GreedyConfig) else Session
        await session(*given).run()


async def _run_tuning(asked: RunArguments, study: Assembly, console: Console) -> None:
    from ablations.studies.icl_vs_ift.assembly import tuning_session

    session = await tuning_session(study, console, asked.fresh, asked.dry_run)
    if session is not None:
        await session.run()


def _check_engine(config: Config) -> None:
    """Raise `UsageError` for settings that vLLM's engine does not know; a run finds them when it makes the engine."""
    if any(key.startswith("engine.") for key in config.flags):
        from ablations.models.vllm.settings import check_settings

        check_settings(config.engine)


def _describe(path: Path) -> tuple[str, str]:
    try:
        return path.stem, load_config(path, (), CONFIGS).study.description
    except AblationError as error:
        return path.stem, f"cannot be read: {error}"
