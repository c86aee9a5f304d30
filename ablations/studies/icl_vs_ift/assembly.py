"""What a comparison of prompts with fine-tuning is put together from: its pools, its arms, and the engines that answer.

Knows every part and starts none.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from ablations.cli.plan import show_tuning_plan
from ablations.core.condition import format_value
from ablations.core.errors import ModelError, StorageError, UsageError, nearest
from ablations.core.prompt import Value
from ablations.datasets.prepare import prepare_pool
from ablations.datasets.queries import BUILT_IN
from ablations.models.base import Backend
from ablations.models.resolve import folder_identity, resolve_model
from ablations.models.tokenizer import model_length
from ablations.models.training.jobs import MERGED, RESULT
from ablations.models.training.sizing import Machine, Shape
from ablations.models.vllm.adapters import AdaptedBackend, Adapter, adapter_settings
from ablations.models.vllm.engine import VllmBackend
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.config.assembly import Assembly, Vectors, engine_backend, pool_settings
from ablations.studies.engine.lengths import check_prompt_lengths
from ablations.studies.icl_vs_ift.config import TUNED_WAYS, TuningConfig
from ablations.studies.icl_vs_ift.costs import Done, expected_costs
from ablations.studies.icl_vs_ift.plan import TuningPlan, plan_tuning
from ablations.studies.icl_vs_ift.session import TuningSession
from ablations.studies.spec import StudySpec
from ablations.studies.views.reproduction import KeptTrial
from analysis.demonstrations.ways import ALIGNED, ICL, IFT


class LocalEngines:
    """vLLM's engines in processes of their own, one loaded at a time.

    Args:
        base: the study's model.
        room: settings that make room for adapters, or None where none are asked for.
        settings: of every engine.
        log_file: of every engine.
        console: where what happens is said.
    """

    def __init__(
        self,
        base: VllmBackend,
        room: Mapping[str, Any] | None,
        settings: Mapping[str, Any],
        log_file: Path,
        console: Console,
    ) -> None:
        self.base = base
        self._room, self._settings, self._log_file, self._console = room, dict(settings), log_file, console
        self._others: dict[str, VllmBackend] = {}

    @cached_property
    def adapting(self) -> VllmBackend | None:
        """The engine that puts adapters on the study's model, or None where vLLM does not for models of its kind."""
        if self._room is None or not self.base.takes_adapters:
            return None
        return engine_backend(self.base.model, {**self._settings, **self._room}, self._log_file, self._console)

    def adapted(self, adapter: Adapter) -> Backend:
        """Return that engine with an adapter."""
        assert self.adapting is not None  # as the caller has seen
        return AdaptedBackend(self.adapting, adapter)

    def other(self, model: str) -> Backend:
        """Return the engine of another model."""
        if model not in self._others:
            self._others[model] = other_engine(model, self._settings, self._log_file, self._console)
        return self._others[model]

    def whole(self, folder: Path) -> Backend:
        """Return an engine of the study's model with other weights, computed in as many bits as the model itself."""
        return other_engine(str(folder), self.base.precision | self._settings, self._log_file, self._console)


def other_engine(model: str, settings: Mapping[str, Any], log_file: Path, console: Console) -> VllmBackend:
    """Return an engine of another model than the settings were made for: its own revision, and its own length."""
    kept = {name: value for name, value in settings.items() if name != "revision"}
    trusted = bool(kept.get("trust_remote_code", False))
    length = model_length(resolve_model(model, trust_remote_code=trusted, say=_silent), trusted)
    if length is not None and "max_model_len" in kept:
        kept["max_model_len"] = min(int(kept["max_model_len"]), length)
    return engine_backend(model, kept, log_file, console)


def arm_backend(kept: KeptTrial, model: str, settings: Mapping[str, Any], places: Places, console: Console) -> Backend:
    """Return what answered a stored arm, not started.

    Args:
        kept: the arm.
        model: the base model.
        settings: of the engine that answered.
        places: where tuned weights are.
        console: where what happens is said.

    Raises:
        StorageError: its weights are gone.
    """
    log_file = places.engine_log(kept.study)
    if kept.job is None:
        if kept.arm is not None and kept.arm["way"] == ALIGNED:
            return other_engine(kept.arm["model"], settings, log_file, console)
        return engine_backend(model, settings, log_file, console)
    full, adapts = kept.arm is not None and kept.arm["tuning"] == "full", bool(settings.get("enable_lora"))
    folder = places.tuned / kept.job / (RESULT if full or adapts else MERGED)
    if not folder.is_dir():
        raise StorageError(
            f"the tuned weights in {folder} are gone; run the study's command again with --fresh, which tunes them "
            "anew and finds the stored answers again, then this"
        )
    if full or not adapts:
        return other_engine(str(folder), settings, log_file, console)
    adapter = Adapter("tuned", 1, folder, f"lora:{folder_identity(folder)}")
    return AdaptedBackend(engine_backend(model, settings, log_file, console), adapter, alone=True)


async def tuning_session(study: Assembly, console: Console, fresh: bool, dry_run: bool) -> TuningSession | None:
    """Show the plan of a comparison, and return the session that runs it; None for a dry run.

    Raises:
        UserError: something the user gave cannot be.
    """
    config, settings = study.spec.config, study.spec.config.engine
    assert isinstance(config.kind, TuningConfig)  # the kind that this is the session of
    tuning, notes = _decoding(config.kind, study.places)
    spec = await _with_pools(study, tuning, dry_run)
    log_file = study.places.engine_log(spec.name)
    plain = engine_backend(str(config.study.model), settings, log_file, console)
    trusted = bool(settings.get("trust_remote_code", False))
    revision = None if settings.get("revision") is None else str(settings["revision"])
    model = resolve_model(str(config.study.model), trust_remote_code=trusted, revision=revision, say=_silent)
    encoder = None if config.study.queries in BUILT_IN else spec.pools[0].chooser.encoder
    plan = await plan_tuning(spec, tuning, model, plain, plain.tokens, trusted, encoder)
    plan = _answerable(replace(plan, notes=(*plan.notes, *notes)), settings, log_file, console)
    if dry_run:  # a run's session checks that
        own = [arm.condition for arm in plan.arms if arm.way != ALIGNED]
        await check_prompt_lengths(plain, own, spec.queries)
    shape, adapts = Shape.of(model, trusted), tuning.method == "lora" and plain.takes_adapters
    if tuning.method == "lora":
        shape.check_targets(tuning.recipe_for(1), model.name)
    done = _done(spec, plan, study.places, fresh, dry_run)
    costs = expected_costs(spec, plan, shape, Machine.measured, adapts, done)
    show_tuning_plan(console, spec, plan, study.informed_judge, costs, dry_run)
    if dry_run:
        return None
    ranks = [arm.job.recipe.rank for arm in plan.jobs if arm.job is not None]
    room = adapter_settings(ranks, spec.concurrency) if adapts else None
    engines = LocalEngines(plain, room, settings, log_file, console)
    return TuningSession(
        spec,
        spec.config.effective(),
        plain,
        study.judge,
        study.places,
        console,
        fresh,
        plan=plan,
        engines=engines,
    )


def _done(spec: StudySpec, plan: TuningPlan, places: Places, fresh: bool, dry_run: bool) -> Done:
    """Return what is there already; a dry run asks no server and makes no file.

    Raises:
        StudyMismatchError: the study has finished arms that are not the plan's.
    """
    local = places.store.startswith("sqlite:///")
    if (local and not Path(places.store.removeprefix("sqlite:///")).is_file()) or (dry_run and not local):
        return Done()
    store = Store(places.store)
    try:
        finished = {} if fresh else store.trials(spec.name)
        plan.check_finished(spec.name, finished)
        tried = {
            place: store.find_tuning(replace(arm.job, held_out=arm.held_out).key)
            for place, arm in plan.searched.items()
            if arm.job is not None
        }
        kept = (
            arm.number
            for arm in plan.jobs
            if arm.job is not None
            and not arm.held_out  # the rate that was found is in the key
            and (places.tuned / arm.job.key / RESULT).is_dir()
            and store.find_tuning(arm.job.key) is not None
        )
        return Done(
            frozenset(finished.keys() - store.damaged(spec.name).keys()),
            frozenset(kept),
            frozenset(place for place, outcome in tried.items() if outcome is not None),
        )
    finally:
        store.close()


def _silent(_: str) -> None:
    """Say nothing: the licence's notice was shown before."""


def _answerable(plan: TuningPlan, settings: Mapping[str, Any], log_file: Path, console: Console) -> TuningPlan:
    """Return the plan without the aligned model's line where that has no chat template."""
    notes = list(plan.notes)
    arms = []
    for arm in plan.arms:
        try:
            silent = arm.way == ALIGNED and other_engine(arm.model, settings, log_file, console).chat_template is None
        except ModelError as error:
            raise ModelError(f"tuning.aligned (--aligned): {error}") from error
        if silent:
            notes.append(f"{arm.model} has no chat template, so that it is no aligned model here: its line is left out")
        else:
            arms.append(arm)
    return replace(plan, arms=tuple(replace(arm, number=n) for n, arm in enumerate(arms)), notes=tuple(notes))


async def _with_pools(study: Assembly, tuning: TuningConfig, dry_run: bool) -> StudySpec:
    """Return the study with all of its pools; the first is prepared already."""
    if len(tuning.pools) == 1:
        return study.spec
    spec, asked = study.spec, study.spec.config.study
    settings = replace(pool_settings(spec.config, None), whole=True)
    vectors = None if dry_run else Vectors(study.places)
    try:
        more = [
            await prepare_pool(
                replace(settings, name=name),
                spec.queries,
                asked.queries in BUILT_IN,
                asked.seed,
                None,
                vectors,
            )
            for name in tuning.pools[1:]
        ]
    finally:
        if vectors is not None:
            vectors.close()
    return replace(spec, more_pools=tuple(more))


def _decoding(tuning: TuningConfig, places: Places) -> tuple[TuningConfig, list[str]]:
    """Return the table with the decoding that `--decoding-from` takes from other studies, and whence, in words."""
    from ablations.studies.icl_vs_ift.decoding_source import best_decoding

    found: dict[str, Mapping[str, Value]] = {}
    notes = []
    for given in tuning.decoding_from:
        way, separator, named = given.partition("=")
        if separator and way not in TUNED_WAYS and not Path(given).exists():
            raise UsageError(f"--decoding-from {given!r}: {way!r} is no way; {nearest(way, TUNED_WAYS)}")
        ways = (way,) if separator and way in TUNED_WAYS else TUNED_WAYS
        source = named if len(ways) == 1 else given
        values = best_decoding(source, places)
        found |= dict.fromkeys(ways, values)
        shown = ", ".join(f"{name} {format_value(value)}" for name, value in values.items())
        notes.append(f"{' and '.join(map(str.upper, ways))}: decoding of the best condition of {source}: {shown}")
    decoding = {way: {**tuning.decoding.get(way, {}), **found.get(way, {})} for way in TUNED_WAYS}
    return replace(tuning, icl=decoding[ICL], ift=decoding[IFT]), notes
