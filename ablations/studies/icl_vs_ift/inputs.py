"""Inputs of a comparison with fine-tuning: pools, decoding of other studies, finished parts.

Knows every part and starts none.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from ablations.core.condition import DECODING_PARAMETERS, DecodingParams, format_value
from ablations.core.errors import ModelError, StorageError, UsageError, nearest
from ablations.core.prompt import Value
from ablations.core.schema import PARAMETER_PREFIX
from ablations.models.placement import LocalPlacement, resolved, silent
from ablations.models.training.jobs import RESULT
from ablations.models.training.sizing import Machine, Shape
from ablations.models.vllm.engine import VllmBackend
from ablations.models.vllm.settings import adapter_settings
from ablations.storage.store import Store
from ablations.storage.workspace import Places, sqlite_path
from ablations.studies.icl_vs_ift.comparison import ComparisonPlan
from ablations.studies.icl_vs_ift.config import TUNED_WAYS, TuningConfig
from ablations.studies.icl_vs_ift.costs import Done, expected_costs
from ablations.studies.icl_vs_ift.plan import Arm, TuningPlan, plan_tuning
from ablations.studies.planning.inputs import Inputs
from ablations.studies.planning.lengths import check_prompt_lengths
from ablations.studies.spec import StudySpec
from ablations.studies.views.sources import open_results
from analysis.demonstrations.ways import ALIGNED, ICL, IFT


async def plan_comparison(inputs: Inputs) -> ComparisonPlan:
    """Return the plan of a comparison of prompts with fine-tuning.

    Raises:
        UserError: something the user gave cannot be.
    """
    config, say = inputs.config, inputs.reporter.say
    assert isinstance(config.kind, TuningConfig)  # the kind that this is the plan of
    tuning, notes = _decoding(config.kind, inputs.places)
    spec = await _with_pools(inputs, tuning)
    plain = await inputs.backend()
    assert isinstance(plain, VllmBackend)  # the kind's configuration refuses servers
    trusted = bool(config.engine.get("trust_remote_code", False))
    model = resolved(str(config.study.model), config.engine, silent)
    encoder = None if inputs.built_in else spec.pools[0].chooser.encoder
    plan = await plan_tuning(spec, tuning, model, plain, plain.tokens, trusted, encoder)
    shape, adapts = Shape.of(model, trusted), tuning.method == "lora" and plain.takes_adapters
    if tuning.method == "lora":
        shape.check_targets(tuning.recipe_for(1), model.name)
    ranks = [arm.job.recipe.rank for arm in plan.jobs if arm.job is not None]
    placement = LocalPlacement(
        plain,
        adapter_settings(ranks, spec.concurrency) if adapts else None,
        config.engine,
        inputs.log_file,
        inputs.places.tuned,
        inputs.places.tuning_log(spec.name),
        say,
    )
    plan = _answerable(replace(plan, notes=(*plan.notes, *notes)), placement)
    if inputs.dry_run:  # a run checks that before it begins
        own = [arm.condition for arm in plan.arms if arm.way != ALIGNED]
        await check_prompt_lengths(plain, own, spec.queries)
    done = _done(spec, plan, inputs.places, inputs.fresh, inputs.dry_run)
    costs = expected_costs(spec, plan, shape, Machine.measured, adapts, done)
    return ComparisonPlan(spec, plan, placement, costs)


def _done(spec: StudySpec, plan: TuningPlan, places: Places, fresh: bool, dry_run: bool) -> Done:
    """Return what is there already; a dry run asks no server and makes no file.

    Raises:
        StudyMismatchError: the study has finished arms that are not the plan's.
    """
    path = sqlite_path(places.store)
    if dry_run if path is None else not path.is_file():
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
        weights = (
            arm.number
            for arm in plan.jobs
            if arm.job is not None
            and not arm.held_out  # the rate that was found is in the key
            and (places.tuned / arm.job.key / RESULT).is_dir()
            and store.find_tuning(arm.job.key) is not None
        )
        return Done(
            frozenset(finished.keys() - store.damaged(spec.name).keys()),
            frozenset(weights),
            frozenset(place for place, outcome in tried.items() if outcome is not None),
        )
    finally:
        store.close()


def _answerable(plan: TuningPlan, placement: LocalPlacement) -> TuningPlan:
    """Return the plan without the aligned model's line where that has no chat template."""
    notes, arms = list(plan.notes), list[Arm]()
    for arm in plan.arms:
        try:
            silent_one = arm.way == ALIGNED and placement.other(arm.model).chat_template is None
        except ModelError as error:
            raise ModelError(f"tuning.aligned (--aligned): {error}") from error
        if silent_one:
            notes.append(f"{arm.model} has no chat template, so that it is no aligned model here: its line is left out")
        else:
            arms.append(arm)
    return replace(plan, arms=tuple(replace(arm, number=n) for n, arm in enumerate(arms)), notes=tuple(notes))


async def _with_pools(inputs: Inputs, tuning: TuningConfig) -> StudySpec:
    """Return the study with all of its pools, of which examples are whole conversations."""
    settings = inputs.pool_settings()
    pools = [await inputs.pool(replace(settings, name=name, whole=True)) for name in tuning.pools]
    return StudySpec(inputs.config, inputs.queries, prepared=pools[0], more_pools=tuple(pools[1:]))


def _decoding(tuning: TuningConfig, places: Places) -> tuple[TuningConfig, list[str]]:
    """Return the table with the decoding that `--decoding-from` takes from other studies, and whence, in words."""
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


def best_decoding(named: str, places: Places) -> dict[str, Value]:
    """Return the decoding parameters of the best condition of a study.

    Args:
        named: the study's name, the path of its `results.parquet`, or `runs:/ID` with the id of its MLflow run.
        places: where it is looked for.

    Raises:
        StorageError: there is no such study, or no complete condition in it.
    """
    from analysis.effects.paired import best_trial  # takes a second to import
    from analysis.frames import scale_of

    results = open_results(named, places)
    best = best_trial(results)
    if best is None:
        scale = scale_of(results)
        why = "has no complete condition" if scale is None or scale.chooses else "has scores that choose no best one"
        raise StorageError(f"--decoding-from {named!r}: that study {why}; name another one")
    row = results.row(by_predicate=(pl.col("trial") == best) & (pl.int_range(pl.len()).over("trial") == 0), named=True)
    values = {name: row[f"{PARAMETER_PREFIX}{name}"] for name in DECODING_PARAMETERS}
    values["stop"] = tuple(json.loads(values["stop"])) if values["stop"].startswith("[") else values["stop"]
    DecodingParams(**values)
    return values
