"""Claims about what a training is expected to take."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ablations.core.errors import ModelError
from ablations.models.resolve import ResolvedModel
from ablations.models.training.jobs import Job
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import Sample
from ablations.models.training.sizing import (
    EFFICIENCY,
    PROCESS_BYTES,
    SHARE,
    Layer,
    Machine,
    Shape,
    estimate,
    estimate_answers,
    fit,
)

GIB = 1 << 30
HEAD = 128_256 * 4096
BLOCK = {"q": (4096, 4096), "k": (4096, 1024), "v": (4096, 1024), "o": (4096, 4096)}
BLOCK |= {"gate": (4096, 14336), "up": (4096, 14336), "down": (14336, 4096)}
LAYERS = tuple(Layer(f"{n}.{name}", *widths) for n in range(32) for name, widths in BLOCK.items())
LARGE = Shape(8 * 10**9, 8 * 10**9 - 2 * HEAD, HEAD, 32, 4096, 128_256, LAYERS)
"""Of the size of Llama-3.1-8B."""


def test_the_shape_has_the_models_own_numbers(tiny: ResolvedModel) -> None:
    shape, model = Shape.of(tiny), AutoModelForCausalLM.from_pretrained(tiny.location)
    assert shape.parameters == sum(one.numel() for one in model.parameters())
    embeddings = model.get_input_embeddings().weight.numel()
    assert shape.body == shape.parameters - embeddings - (0 if model.config.tie_word_embeddings else shape.head)
    assert shape.head == embeddings
    assert (shape.blocks, shape.hidden, shape.vocabulary) == (2, 32, model.config.vocab_size)
    assert len(shape.linear) == 2 * 7
    assert Layer("model.layers.0.mlp.down_proj", 64, 32) in shape.linear


def test_adapters_have_the_parameters_that_peft_gives_them(job: Job, tiny: ResolvedModel) -> None:
    for targets in ((), ("q_proj",), ("mlp.down_proj", "v_proj")):
        recipe = replace(job.recipe, target_modules=targets)
        model = AutoModelForCausalLM.from_pretrained(tiny.location)
        given = LoraConfig(r=recipe.rank, target_modules=list(targets) or "all-linear", task_type="CAUSAL_LM")
        made = get_peft_model(model, given)
        assert Shape.of(tiny).adapters(recipe) == made.num_parameters(only_trainable=True)


@pytest.mark.parametrize("kind", ["gpt2", "opt", "mamba", "mixtral", "kimi_linear"])
def test_models_of_other_kinds_have_a_shape_too(kind: str, job: Job, tmp_path: Path) -> None:
    CONFIG_MAPPING[kind](num_hidden_layers=2).save_pretrained(tmp_path)
    shape = Shape.of(ResolvedModel(kind, str(tmp_path), "none"))
    assert shape.parameters > shape.body > 0
    assert shape.linear
    assert not any(layer.outputs == shape.vocabulary for layer in shape.linear)  # the head gets no adapter
    assert fit(shape, job.recipe, job.samples, on_gpu=True, free=10**15).fits


def test_weights_that_are_embeddings_and_output_layer_in_one_count_once(tiny: ResolvedModel, tmp_path: Path) -> None:
    found = {}
    for tied in (False, True):
        folder = tmp_path / str(tied)
        shutil.copytree(tiny.location, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": tied}))
        found[tied] = Shape.of(replace(tiny, location=str(folder)))
    assert found[False].parameters - found[True].parameters == found[True].head
    assert found[False].body == found[True].body == found[True].parameters - found[True].head


def test_as_many_answers_are_computed_at_once_as_the_memory_of_a_gpu_holds(job: Job, tiny: ResolvedModel) -> None:
    shape = Shape.of(tiny)
    roomy = fit(shape, job.recipe, job.samples, on_gpu=True, free=8 * GIB)
    assert (roomy.at_once, roomy.checkpointed, roomy.fits) == (4, False, True)
    for recipe in (job.recipe, replace(job.recipe, batch=6)):
        fixed = shape.fixed_bytes(recipe, on_gpu=True) + PROCESS_BYTES
        each = (fit(shape, recipe, job.samples, on_gpu=True, free=8 * GIB).bytes - fixed) // recipe.batch
        tight = fit(shape, recipe, job.samples, on_gpu=True, free=int((fixed + 2.5 * each) / SHARE))
        assert (tight.at_once, tight.checkpointed) == (2, False)
        assert recipe.batch % tight.at_once == 0


def test_on_a_cpu_answers_are_computed_one_by_one_whatever_the_memory(job: Job, tiny: ResolvedModel) -> None:
    plans = [fit(Shape.of(tiny), job.recipe, job.samples, on_gpu=False, free=free * GIB) for free in (2, 200)]
    assert [(plan.at_once, plan.checkpointed, plan.fits) for plan in plans] == [(1, False, True)] * 2


def test_answers_that_are_learned_at_different_places_have_logits_at_all_of_them() -> None:
    one = Sample("a", 1, (1,) * 90, (1,) * 10)
    recipe = Recipe("lora", 1, 1e-4, batch=2)
    alone, both = (fit(LARGE, replace(recipe, batch=n), [one], True, 1000 * GIB).bytes for n in (1, 2))
    activations = LARGE.answer_bytes(100, 0, True, False)
    logits = 12 * 10 * LARGE.vocabulary
    assert both - alone == activations + 3 * logits


def test_what_does_not_fit_is_said_and_planned_with_one_answer_and_recomputed_activations(
    job: Job, tiny: ResolvedModel
) -> None:
    plan = fit(Shape.of(tiny), job.recipe, job.samples, on_gpu=False, free=GIB // 2)
    assert (plan.at_once, plan.checkpointed, plan.fits) == (1, True, False)


def test_adapters_of_a_large_model_take_a_fraction_of_what_all_weights_take(job: Job) -> None:
    full, lora = (LARGE.fixed_bytes(replace(job.recipe, method=how, rank=16), on_gpu=True) for how in ("full", "lora"))
    assert full == 128 * 10**9
    assert 16 * 10**9 < lora < 18 * 10**9
    assert 30e6 < LARGE.adapters(replace(job.recipe, rank=16)) < 60e6  # about the 42 million that PEFT counts


def test_recomputed_activations_take_less_memory() -> None:
    kept, recomputed = (LARGE.answer_bytes(2048, 512, True, checkpointed) for checkpointed in (False, True))
    assert recomputed < kept / 8


def test_frozen_weights_and_unlearned_tokens_spare_operations() -> None:
    assert LARGE.operations(1000, 1000, "full") == pytest.approx(6 * (8e9 - HEAD) * 1000)
    assert LARGE.operations(1000, 1000, "lora") == pytest.approx(4 * (8e9 - HEAD) * 1000)
    assert LARGE.operations(1000, 100, "full") < LARGE.operations(1000, 1000, "full")


def test_an_estimate_grows_with_the_epochs(job: Job, tiny: ResolvedModel) -> None:
    shape, machine = Shape.of(tiny), Machine.measured()
    jobs = [replace(job, recipe=replace(job.recipe, epochs=epochs)) for epochs in (1, 2)]
    one, two = (estimate(shape, job, machine).seconds for job in jobs)
    assert two == pytest.approx(2 * one)
    assert machine.speed > 1e9
    assert machine.bandwidth > 1e8
    assert machine.free > GIB // 4


def test_answers_take_what_is_computed_and_the_weights_that_each_step_reads() -> None:
    machine = Machine(True, 80 * GIB, 6e14, 3e12)
    computed = 2 * LARGE.body * 1000 / (EFFICIENCY * 6e14)
    assert estimate_answers(LARGE, machine, 1000, 0, 1) == pytest.approx(computed)
    alone, together = (estimate_answers(LARGE, machine, 0, 640, number) for number in (1, 64))
    assert alone - together == pytest.approx((640 - 10) * 16e9 / 3e12)


@pytest.mark.parametrize("targets", [(), ("q_proj",), ("self_attn.q_proj", "down_proj")])
def test_layers_are_found_by_the_end_of_their_name(targets: tuple[str, ...], job: Job, tiny: ResolvedModel) -> None:
    Shape.of(tiny).check_targets(replace(job.recipe, target_modules=targets), tiny.name)


def test_every_layer_that_is_lacking_is_named_with_those_there_are(job: Job, tiny: ResolvedModel) -> None:
    recipe = replace(job.recipe, target_modules=("q_proj", "c_attn", "_proj", "lm_head", "norm"))
    lacking = "c_attn, _proj, lm_head, norm"
    with pytest.raises(ModelError, match=rf"has no layer {lacking}; its linear layers are down_proj, .*q_proj"):
        Shape.of(tiny).check_targets(recipe, tiny.name)


def test_recomputed_activations_take_another_forward_pass(job: Job, tiny: ResolvedModel) -> None:
    shape, roomy = Shape.of(tiny), Machine(False, 8 * GIB, 1e9, 1e9)
    kept, again = (estimate(shape, job, machine) for machine in (roomy, replace(roomy, free=1)))
    assert (kept.plan.checkpointed, again.plan.checkpointed) == (False, True)
    assert again.seconds == pytest.approx(1.5 * kept.seconds)


def test_what_is_held_out_must_fit_the_memory_too(job: Job, tiny: ResolvedModel) -> None:
    machine = Machine(False, 8 * GIB, 1e9, 1e9)
    long = replace(job, held_out=(Sample("long", 1, (1,) * 500, (1,) * 500),))
    assert estimate(Shape.of(tiny), long, machine).plan.bytes > estimate(Shape.of(tiny), job, machine).plan.bytes


def test_a_measurement_that_ends_without_a_word_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for code, said, why in ((-9, "", "ended with code -9"), (1, "oops: no device\n", "oops: no device")):
        done = subprocess.CompletedProcess([], code, "", said)
        monkeypatch.setattr(subprocess, "run", lambda *given, done=done, **more: done)
        with pytest.raises(ModelError, match=f"speed and memory failed: {why}; see what else runs"):
            Machine.measured()


def test_the_disk_holds_trained_weights_and_a_checkpoint_with_two_moments(job: Job) -> None:
    weights, checkpoint = LARGE.disk_bytes(replace(job.recipe, method="full"))
    assert (weights, checkpoint) == (32 * 10**9, 96 * 10**9)
    assert LARGE.disk_bytes(replace(job.recipe, rank=16))[0] < 10**9
