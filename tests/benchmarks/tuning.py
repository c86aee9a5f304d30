"""Training's tokens per second against a plain loop with transformers and PEFT, on the same examples in one run.

All learn the same answers with the same recipe, one after the other and back again: ours, as many answers at once as
it plans; the plain loop once with the whole step in one padded batch, as people write it, and once answer by answer.
The plain loop computes logits at every place, as models do where nothing is said; ours at the learned ones.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from ablations.core.prompt import PromptParts
from ablations.datasets.pools import load_pool
from ablations.models.resolve import resolve_model
from ablations.models.tokenizer import Tokens
from ablations.models.training.jobs import Job
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import Collator, make_samples, ordered
from ablations.models.training.sizing import Machine, Shape, estimate, has_gpu
from ablations.models.training.train import train
from ablations.prompts.templates import find_template

EXAMPLES, STEP = 8, 4
PLAIN = {f"plain loop, {STEP} at once": STEP, "plain loop, one by one": 1}
ORDER = ("ours", *PLAIN, *reversed(PLAIN), "ours")


async def measure(model: str, folder: Path) -> dict[str, float]:
    """Return tokens per second of each, their ratio, and the estimate of a plan beside what it came to."""
    return await asyncio.to_thread(_measure, model, folder)


def _measure(model: str, folder: Path) -> dict[str, float]:
    resolved = resolve_model(model)
    parts = PromptParts("", find_template("urial"))
    examples = load_pool("examples", whole=True).demonstrations[:EXAMPLES]
    samples = tuple(make_samples(examples, parts, Tokens(resolved)))
    job = Job(resolved, Recipe("lora", epochs=1, learning_rate=1e-4, batch=STEP), samples)
    expected = estimate(Shape.of(resolved), job, Machine.measured())
    plan = expected.plan
    seconds: dict[str, list[float]] = {way: [] for way in ORDER}
    for number, way in enumerate(ORDER):
        if way == "ours":
            own = folder / str(number)
            own.mkdir()
            seconds[way].append(train(job, own, own / "result", lambda _: None, plan=plan).seconds)
        else:
            seconds[way].append(_plain(job, PLAIN[way]))
    tokens = sum(len(one.tokens) for one in samples)
    means = {way: sum(each) / len(each) for way, each in seconds.items()}
    return {
        **{f"{way}, tokens/s": tokens / mean for way, mean in means.items()},
        **{f"ours / {way}": means[way] / means["ours"] for way in PLAIN},
        "answers at once": plan.at_once,
        "tokens": tokens,
        "estimated seconds / ours": expected.seconds / means["ours"],
    }


def _plain(job: Job, at_once: int) -> float:
    """Return the seconds of one pass as people write it."""
    recipe, device = job.recipe, "cuda" if has_gpu() else "cpu"
    kind = torch.bfloat16 if has_gpu() else torch.float32
    base = AutoModelForCausalLM.from_pretrained(job.model.location, dtype=kind)
    settings = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model: Any = get_peft_model(base, settings).to(device)
    model.train()
    optimizer = torch.optim.AdamW((one for one in model.parameters() if one.requires_grad), lr=recipe.learning_rate)
    batches = ordered(job.samples, recipe)
    begun = time.perf_counter()
    for start in range(0, len(batches), recipe.batch):
        step = batches[start : start + recipe.batch]
        for first in range(0, len(step), at_once):
            some = step[first : first + at_once]
            batch = Collator(keeps=False)(some)
            labels = torch.full_like(batch["input_ids"], -100)
            for row, one in enumerate(some):
                labels[row, : len(one.tokens)] = torch.tensor(one.labels)
            given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
            loss = model(**{name: one.to(device) for name, one in given.items()}).loss
            (loss * len(some) / len(step)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - begun
