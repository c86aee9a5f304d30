"""What the flags say, over the study file, over the defaults.

Knows names and numbers; opens and starts nothing.
"""

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.core.errors import UsageError, nearest
from ablations.datasets.prepare import PoolSettings
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import Limits
from ablations.models.registry import BACKENDS
from ablations.studies.config.file import FIXED_MODES, StudyFile, find_study_file, read_study_file
from ablations.studies.icl_vs_ift.options import RECIPE_KEYS, TUNED_WAYS, TuningOptions
from ablations.studies.spec import DEFAULTS

LIMITS = ("max_tokens_each", "max_tokens_total")
TUNING_FLAGS = ("tuning", "sizes", "draws", "pools", "aligned", "decoding_from", "tune_learning_rate")
"""Flags of a comparison with fine-tuning."""


def study_file(flags: argparse.Namespace) -> StudyFile:
    """Return the study file that the flags name."""
    if flags.search_space is not None:
        return read_study_file(flags.search_space)
    if flags.study is None:
        raise UsageError("say what to study: --study NAME (see --list) or --search-space PATH")
    return read_study_file(find_study_file(flags.study))


def options_in_force(flags: argparse.Namespace, file: StudyFile) -> dict[str, Any]:
    """Return what is in force: flags over the study file over the defaults."""
    given = {name: getattr(flags, name) for name in DEFAULTS if getattr(flags, name, None) is not None}
    options = {**DEFAULTS, **{name: file.options[name] for name in DEFAULTS if name in file.options}, **given}
    if options["confirm"] is None:
        options["confirm"] = _confirmed_by_default(options["mode"], options["trials"])
    if flags.base_url is not None:
        if flags.backend == "vllm":
            raise UsageError("--base-url names a server, --backend vllm runs in this process; drop one of them")
        options["backend"] = "openai"
    if options["backend"] not in BACKENDS:
        raise UsageError(
            f"--backend {options['backend']!r} is not a known backend; {nearest(options['backend'], BACKENDS)}"
        )
    if options["backend"] == "openai" and flags.base_url is None:
        raise UsageError("--backend openai needs the server's address; give --base-url URL")
    if options["backend"] == "openai" and flags.model is None:
        options["model"] = file.options.get("model")  # the default is a packaged model, which no server has
    return options


def _confirmed_by_default(mode: str, trials: int) -> int:
    """Return how many conditions are confirmed where nothing is said: after a search, which flatters its best ones.

    Up to three, as many as a quarter of the search pays: each, and the baseline, is evaluated on twice the queries.
    """
    return min(3, max(1, trials // 8 - 1)) if mode == "search" else 0


def engine_settings(pairs: list[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` with TOML's values; what is none is a text."""
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.isidentifier():
            raise UsageError(f"--engine {pair!r} is not KEY=VALUE; write for example --engine dtype=bfloat16")
        try:
            typed = value.lower() if value.lower() in ("true", "false") else value
            settings[key] = tomllib.loads(f"value = {typed}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = value
    return settings


def judge_settings(flags: argparse.Namespace, seed: int) -> JudgeSettings:
    """Return what the flags say of the judge; raise `UsageError` for a number out of range."""
    numbers = {
        "--judge-in-flight": flags.judge_in_flight,
        "--judge-rpm": flags.judge_rpm,
        "--judge-tpm": flags.judge_tpm,
        "--judge-timeout": flags.judge_timeout,
        "--judge-max-tokens": flags.judge_max_tokens,
        "--max-cost": flags.max_cost,
    }
    for name, number in numbers.items():
        if number is not None and not 0 < number < float("inf"):
            raise UsageError(f"{name} {number:g} is out of range; give a number above 0")
    given = {
        "in_flight": flags.judge_in_flight,
        "requests_per_minute": flags.judge_rpm,
        "tokens_per_minute": flags.judge_tpm,
        "call_seconds": flags.judge_timeout,
    }
    return JudgeSettings(
        model=flags.judge_model,
        base_url=flags.judge_base_url,
        prompts=flags.judge_prompts,
        prices=flags.judge_prices,
        max_cost=flags.max_cost,
        limits=Limits(**{name: number for name, number in given.items() if number is not None}),
        compare_with=flags.compare_with,
        two_scores=flags.two_scores,
        reply_tokens=flags.judge_max_tokens or JudgeSettings().reply_tokens,
        seed=seed,
    )


def with_search(flags: argparse.Namespace, file: StudyFile, options: Mapping[str, Any]) -> StudyFile:
    """Return the study file with the search that the flags ask for."""
    given = {name: getattr(flags, name) for name in ("rounds", "candidates") if getattr(flags, name) is not None}
    if given and options["mode"] != "greedy-search":
        raise UsageError("--rounds and --candidates belong to a greedy search; drop them")
    tuning = [name for name in TUNING_FLAGS if getattr(flags, name)]
    if tuning and options["mode"] != "icl-vs-ift":
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in tuning)
        raise UsageError(f"{shown}: for the study icl-vs-ift alone; drop it")
    if flags.no_racing and options["mode"] == "ablation":
        raise UsageError("--no-racing belongs to a search: an ablation evaluates every condition to the end; drop it")
    unused = [name for name in ("trials", "sampler", "levels", "design") if getattr(flags, name) is not None]
    if options["mode"] in FIXED_MODES and unused:
        takes = "--rounds and --candidates" if options["mode"] == "greedy-search" else "--sizes and --draws"
        raise UsageError(f"--{', --'.join(unused)}: of no use to {FIXED_MODES[options['mode']]}, which takes {takes}")
    for name, value in given.items():
        if value < 1:
            raise UsageError(f"--{name} {value} leaves nothing to search; give 1 or more")
    return replace(file, search={**file.search, **given})


def check_confirmation(flags: argparse.Namespace, options: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a confirmation that cannot be."""
    confirm, held_back = options["confirm"], options["held_back"]
    if confirm < 0:
        raise UsageError(f"--confirm {confirm} is no number of conditions; give 1 or more, or 0 to confirm none")
    if held_back is not None and held_back < 0:
        raise UsageError(f"--held-back {held_back} is no number of queries; give 0 or more")
    if confirm and options["mode"] == "icl-vs-ift":
        raise UsageError("--confirm is for a study of conditions; this one picks no best one: drop it")
    if confirm and options["mode"] == "greedy-search":
        raise UsageError(
            "--confirm is for a study of conditions; a greedy search confirms its prompt on its own held-back half: "
            "drop it"
        )
    if flags.held_back is not None and not confirm:
        raise UsageError("--held-back belongs to a confirmation; add --confirm K, or drop it")


def pool_settings(flags: argparse.Namespace, file: StudyFile, greedy: Path | None) -> PoolSettings:
    """Return which pool is used and how; `greedy` is the prompt file of a greedy search, or None."""
    given = {name: file.pool[name] for name in ("name", "encoder", *LIMITS) if name in file.pool}
    given |= {name: value for name, value in (("name", flags.pool), ("encoder", flags.encoder)) if value is not None}
    return PoolSettings(**given, greedy=greedy, allow_overlap=flags.allow_overlap)


def tuning_options(flags: argparse.Namespace, file: StudyFile, decoding: Mapping[str, Any]) -> TuningOptions:
    """Return what is asked of a comparison with fine-tuning: flags over the file's `[tuning]` over the defaults.

    `decoding` are the decoding parameters of each way that an earlier study found best.

    Raises:
        UsageError: a number or a name that cannot be.
    """
    if flags.prompt_file is not None:
        raise UsageError(
            "--prompt-file would stand in one way's prompt alone; drop it, and set rules in the study file"
        )
    limits = [name for name in file.pool if name != "encoder"]
    if limits:
        raise UsageError(
            f"{file.path}: [pool] {', '.join(limits)}: of no use here; pools, sizes and max_tokens are in [tuning]"
        )
    if flags.pool and flags.pools:
        raise UsageError("--pool and --pools both name pools; drop --pool")
    table = dict(file.tuning)
    of_ways = {way: {**table.pop(way, {}), **decoding.get(way, {})} for way in TUNED_WAYS}
    recipe = {name: table.pop(name) for name in RECIPE_KEYS if name in table}
    given: dict[str, Any] = {
        "method": flags.tuning,
        "sizes": _numbers("--sizes", flags.sizes),
        "draws": flags.draws,
        "pools": _names("--pools", flags.pools) or ([flags.pool] if flags.pool else None),
        "aligned": flags.aligned,
        "tune_learning_rate": flags.tune_learning_rate or None,
    }
    merged = {**table, **{name: value for name, value in given.items() if value is not None}}
    if merged.get("aligned") == "none":
        del merged["aligned"]
    lists: dict[str, Any] = {
        name: tuple(merged.pop(name)) for name in ("sizes", "pools", "target_modules") if name in merged
    }
    return TuningOptions(
        **merged, **lists, recipe=recipe, decoding={way: values for way, values in of_ways.items() if values}
    )


def _names(flag: str, text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"{flag} {text!r} has an empty name; write for example {flag} one,another")
    return names


def _numbers(flag: str, text: str | None) -> list[int] | None:
    names = _names(flag, text)
    try:
        return None if names is None else [int(name) for name in names]
    except ValueError as error:
        raise UsageError(f"{flag} {text!r} is no list of whole numbers; write for example {flag} 3,8,24") from error
