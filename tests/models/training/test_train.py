"""Claims about training, on a model that learns in seconds: what moves, what is kept, and what stops it."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Trainer

from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import Tokens
from ablations.models.training import train as under_test
from ablations.models.training.checkpoints import Checkpoint
from ablations.models.training.jobs import Job, Outcome, StepSeen
from ablations.models.training.samples import Collator, Sample, answer_loss, keeps_places, ordered
from ablations.models.training.sizing import Plan
from ablations.models.training.train import Stopped, rate_share, train
from tests.support.tiny import make_tiny_model


class Listener:
    """Hears what a training says."""

    def __init__(self, at: int | None = None, act: Callable[[], None] = lambda: None) -> None:
        self.steps: list[StepSeen] = []
        self.notes: list[str] = []
        self._at, self._act = at, act

    def __call__(self, what: StepSeen | str) -> None:
        if isinstance(what, str):
            self.notes.append(what)
            return
        self.steps.append(what)
        if what.step == self._at:
            self._act()


def tuned(job: Job, folder: Path, name: str = "result", say: Any = None, **more: Any) -> tuple[Outcome, Path]:
    result = folder / name
    return train(job, folder, result, say or Listener(), **more), result


def weights(result: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in sorted(result.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_learns_its_examples_and_writes_what_an_engine_loads(
    method: str, job: Job, folder: Path, tiny: ResolvedModel
) -> None:
    job = replace(job, recipe=replace(job.recipe, method=method, epochs=40))
    say = Listener()
    outcome, result = tuned(job, folder, say=say)
    reached = 0.5 if method == "full" else 3.4  # adapters of random weights cannot move the output layer
    assert outcome.losses[-1][1] < reached < outcome.losses[0][1]
    assert [seen.step for seen in say.steps] == list(range(1, 81))
    assert say.steps[-1].tokens == outcome.tokens == 40 * sum(len(one.tokens) for one in job.samples)
    assert outcome.learned == 40 * sum(len(one.target) for one in job.samples)
    files = {path.name for path in result.iterdir()}
    if method == "lora":
        assert {"adapter_config.json", "adapter_model.safetensors"} <= files
        assert outcome.trainable < outcome.parameters
    else:
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
        assert outcome.trainable == outcome.parameters
        copy = replace(tiny, location=str(result))
        assert Tokens(copy).ids("what is it") == Tokens(tiny).ids("what is it")
    assert not list(result.glob("*.bin")) + list(result.glob("*.pt"))


@pytest.mark.slow
def test_the_answers_that_were_learned_are_what_the_tuned_model_writes(job: Job, folder: Path) -> None:
    job = replace(job, recipe=replace(job.recipe, method="full", epochs=300, learning_rate=0.005))
    _, result = tuned(job, folder)
    model = AutoModelForCausalLM.from_pretrained(result)
    for sample in job.samples:
        prompt = torch.tensor([sample.prompt])
        written = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24)
        assert written[0, len(sample.prompt) :].tolist() == list(sample.target)


def test_the_first_step_learns_already(job: Job, folder: Path) -> None:
    one = replace(job, samples=job.samples[:3], recipe=replace(job.recipe, epochs=1))
    outcome, result = tuned(one, folder)
    assert len(outcome.losses) == 1
    assert outcome.losses[0][2] == job.recipe.learning_rate
    assert any(tensor.abs().max() > 0 for name, tensor in weights(result).items() if "lora_B" in name)


def test_a_rate_rises_over_a_tenth_of_the_steps_and_falls_to_nearly_nothing() -> None:
    shares = [rate_share(step, 40) for step in range(40)]
    assert shares[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert shares[4:] == sorted(shares[4:], reverse=True)
    assert 0 < shares[-1] < 0.01


def test_what_is_frozen_stays_and_what_was_held_out_is_not_learned(job: Job, folder: Path) -> None:
    held_out = replace(job, samples=job.samples[:4], held_out=job.samples[4:])
    outcome, result = tuned(held_out, folder)
    assert outcome.held_out_loss is not None
    without, other = tuned(replace(held_out, held_out=()), folder, "other")
    assert without.held_out_loss is None
    assert same(result, other)
    assert all("lora_" in name for name in weights(result))


def test_the_same_job_gives_the_same_weights_and_another_seed_others(job: Job, folder: Path) -> None:
    first, one = tuned(job, folder)
    second, again = tuned(job, folder, "again")
    assert same(one, again)
    assert (first.weights, first.losses) == (second.weights, second.losses)
    _, other = tuned(replace(job, recipe=replace(job.recipe, seed=1)), folder, "other")
    assert not same(one, other)


class Killed(BaseException):
    """Stands for a kill, which no handler sees."""


def test_a_training_that_was_killed_goes_on_and_comes_to_the_same_weights(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "PAUSE_SHARE", 0)  # a checkpoint after each step
    undisturbed, result = tuned(job, folder, "undisturbed")

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        tuned(job, folder, say=Listener(4, kill), checkpoint_seconds=0.0)
    say = Listener()
    outcome, resumed = tuned(job, folder, say=say)
    assert say.notes == ["resumes from step 3 of 6"]
    assert [seen.step for seen in say.steps] == [4, 5, 6]
    assert same(result, resumed)
    assert outcome.losses == undisturbed.losses


def test_a_loss_that_is_no_number_stops_the_training_with_the_step_and_what_to_do(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "answer_loss", lambda *given, **named: answer_loss(*given, **named) * float("nan"))
    with pytest.raises(Stopped, match="loss of step 1 of 6 is nan") as stopped:
        tuned(job, folder)
    assert stopped.value.failure.kind == "loss"
    assert "--tune-learning-rate" in stopped.value.failure.reason
    assert not (folder / "result").exists()


def test_weights_that_the_last_step_spoils_are_not_kept(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = torch.optim.AdamW.step

    def spoils(self: torch.optim.AdamW, *given: Any, **named: Any) -> Any:
        done = original(self, *given, **named)
        with torch.no_grad():
            self.param_groups[0]["params"][0][0, 0] = float("inf")
        return done

    one = replace(job, samples=job.samples[:3], recipe=replace(job.recipe, epochs=1))
    monkeypatch.setattr(torch.optim.AdamW, "step", spoils)
    with pytest.raises(Stopped, match="after the last step 1 of 28 weights hold what is no number") as stopped:
        tuned(one, folder)
    assert stopped.value.failure.kind == "loss"
    assert not (folder / "result").exists()


def test_a_full_memory_halves_what_is_computed_at_once_and_the_weights_are_nearly_the_same(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "fit", lambda *given: Plan(4, False, 0, 0))
    _, whole = tuned(job, folder, "whole")
    original, seen = Trainer.training_step, list[int]()

    def full(self: Trainer, model: Any, inputs: dict[str, torch.Tensor], *rest: Any) -> torch.Tensor:
        seen.append(len(inputs["input_ids"]))
        if len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, model, inputs, *rest)

    monkeypatch.setattr(Trainer, "training_step", full)
    say = Listener()
    outcome, result = tuned(job, folder, say=say)
    assert seen[:3] == [4, 2, 1]
    assert say.notes == [
        f"the memory is full: {n} of a step's answers at once from the last checkpoint on" for n in (2, 1)
    ]
    assert len(outcome.losses) == 6
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, weights(result)[name], atol=1e-3, rtol=1e-2)


def test_a_memory_that_holds_no_answer_is_a_failure_that_says_what_to_lower(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "training_step", full)
    say = Listener()
    with pytest.raises(Stopped, match=r"lower tuning\.max_tokens, use --tuning lora") as stopped:
        tuned(job, folder, say=say)
    assert stopped.value.failure.kind == "memory"
    (note,) = say.notes
    assert note.endswith("1 of a step's answers at once, activations computed again, from the last checkpoint on")


def test_answers_one_after_the_other_make_the_steps_that_they_make_together(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = replace(job, samples=job.samples[:3], recipe=replace(job.recipe, epochs=2))  # a step of four, one of two
    found = {}
    for at_once in (1, 2, 4):
        plan = Plan(at_once, False, 0, 0)
        monkeypatch.setattr(under_test, "fit", lambda *given, plan=plan: plan)
        found[at_once], _ = tuned(some, folder, str(at_once))
    losses = {at_once: [loss for _, loss, _, _ in outcome.losses] for at_once, outcome in found.items()}
    assert len(losses[1]) == 2
    assert losses[1] == pytest.approx(losses[4], rel=1e-4)
    assert losses[2] == pytest.approx(losses[4], rel=1e-4)


def test_recomputed_activations_give_the_same_weights(job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "fit", lambda *given: Plan(4, False, 0, 0))
    _, kept = tuned(job, folder, "kept")
    monkeypatch.setattr(under_test, "fit", lambda *given: Plan(4, True, 0, 0))
    _, recomputed = tuned(job, folder)
    for name, tensor in weights(kept).items():
        torch.testing.assert_close(tensor, weights(recomputed)[name])


def test_layers_that_a_model_lacks_are_named_with_those_that_it_has(job: Job, folder: Path) -> None:
    job = replace(job, recipe=replace(job.recipe, target_modules=("query_key_value",)))
    with pytest.raises(Stopped, match="no layer that adapters could be put on") as stopped:
        tuned(job, folder)
    assert stopped.value.failure.kind == "modules"
    assert "q_proj" in stopped.value.failure.reason


def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_old_one_and_the_training_goes_on(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "PAUSE_SHARE", 0)
    kept: list[bytes] = []

    def fill() -> None:
        kept.append((folder / "checkpoint.safetensors").read_bytes())
        monkeypatch.setattr("ablations.models.training.checkpoints.save_file", no_space)

    def no_space(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    say = Listener(3, fill)
    outcome, _ = tuned(job, folder, say=say, checkpoint_seconds=0.0)
    assert len(outcome.losses) == 6
    assert [note for note in say.notes if "no space left on the disk" in note and "the last one stays" in note]
    assert (folder / "checkpoint.safetensors").read_bytes() == kept[0]
    assert not (folder / "checkpoint.part").exists()


def test_a_disk_that_is_full_at_the_end_is_a_failure_and_leaves_nothing_half_written(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*given: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("peft.PeftModel.save_pretrained", no_space)
    with pytest.raises(Stopped, match="no space left on the disk; free the disk") as stopped:
        tuned(job, folder)
    assert stopped.value.failure.kind == "disk"
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_a_damaged_checkpoint_is_not_gone_on_from(job: Job, folder: Path) -> None:
    (folder / "checkpoint.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00 half of it")
    say = Listener()
    tuned(job, folder, say=say)
    assert [seen.step for seen in say.steps] == [1, 2, 3, 4, 5, 6]


def test_the_loss_at_the_learned_places_is_that_of_the_whole_sequence(tiny: ResolvedModel, job: Job) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny.location)
    assert keeps_places(model)
    some = job.samples[:3]
    losses = []
    for keeps in (True, False):
        batch = Collator(keeps)(some)
        labels = batch.pop("labels")
        assert ("logits_to_keep" in batch) is keeps
        losses.append(float(answer_loss(model(**batch), labels).detach()))
    whole = Collator(False)(some)
    labels = torch.full_like(whole["input_ids"], -100)
    for row, one in enumerate(some):
        labels[row, : len(one.tokens)] = torch.tensor(one.labels)
    own = model(input_ids=whole["input_ids"], attention_mask=whole["attention_mask"], labels=labels).loss
    assert losses == pytest.approx([float(own.detach())] * 2, rel=1e-5)


def test_each_pass_has_every_sample_once_in_an_order_of_its_own(job: Job) -> None:
    epochs = [ordered(job.samples, job.recipe)[start : start + 8] for start in (0, 8, 16)]
    assert all(set(one) == set(job.samples) for one in epochs)
    assert len({tuple(one) for one in epochs}) == 3


def test_a_model_with_other_layers_is_tuned_too(tmp_path: Path, job: Job, folder: Path) -> None:
    other = make_tiny_model(tmp_path / "neox", "neox")
    outcome, result = tuned(replace(job, model=other), folder)
    assert outcome.losses[-1][1] < outcome.losses[0][1]
    adapted = json.loads((result / "adapter_config.json").read_text())["target_modules"]
    assert {name.rpartition(".")[2] for name in adapted} >= {"query_key_value", "dense_h_to_4h"}


def test_merged_weights_compute_what_model_and_adapter_compute(
    tiny: ResolvedModel, job: Job, folder: Path, samples: tuple[Sample, ...]
) -> None:
    from peft import PeftModel

    _, adapter = tuned(job, folder)
    under_test.merge(job, adapter, folder / "merged")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    base = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny.location), adapter)
    ids = torch.tensor([samples[0].tokens])
    torch.testing.assert_close(merged(ids).logits, base(ids).logits, atol=1e-4, rtol=1e-3)


def test_a_checkpoint_holds_weights_moments_and_steps(job: Job, folder: Path, tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 1)
    trained = dict(layer.named_parameters())
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    done = under_test.Done(3, ((1, 2.0, 0.1, 10),), 4.5)
    Checkpoint(tmp_path / "c.safetensors", trained, optimizer).save(done)
    fresh = torch.nn.Linear(2, 1)
    other = torch.optim.AdamW(fresh.parameters())
    assert Checkpoint(tmp_path / "c.safetensors", dict(fresh.named_parameters()), other).load() == done
    assert torch.equal(fresh.weight, layer.weight)
    assert torch.equal(other.state[fresh.weight]["exp_avg"], optimizer.state[layer.weight]["exp_avg"])
