"""Claims about arguments: each command's become one typed value, and flags name the keys that they override."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.cli.arguments import AuditArguments, ImportArguments, RunArguments, SchemaArguments
from ablations.cli.parser import parse
from ablations.core.errors import UsageError
from ablations.storage.workspace import REPOSITORY
from ablations.studies.config.config import Override
from ablations.studies.config.tables import JudgeTable
from ablations.studies.registry import flagged


def overrides(*arguments: str) -> list[tuple[str, object, str]]:
    asked = parse(["run", *arguments])
    assert isinstance(asked, RunArguments)
    return [(one.key, one.value, one.flag) for one in asked.overrides]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), []),
        (("--trials", "3"), [("study.trials", 3, "--trials")]),
        (("--min-coverage", "1"), [("study.min_coverage", 1.0, "--min-coverage")]),
        (("--prompt-file", "a.txt"), [("study.prompt_file", Path("a.txt"), "--prompt-file")]),
        (("--sizes", "30, 10"), [("tuning.sizes", (30, 10), "--sizes")]),
        (("--models", "a,b"), [("study.models", ("a", "b"), "--models")]),
        (("--no-racing",), [("study.racing", False, "--no-racing")]),
        (
            ("--allow-overlap", "--two-scores"),
            [("pool.allow_overlap", True, "--allow-overlap"), ("judge.two_scores", True, "--two-scores")],
        ),
        (
            ("--decoding-from", "a", "--decoding-from", "ift=b"),
            [("tuning.decoding_from", ["a", "ift=b"], "--decoding-from")],
        ),
        (
            ("--engine", "dtype=bfloat16", "--engine", "seed=3"),
            [("engine.dtype", "bfloat16", "--engine"), ("engine.seed", 3, "--engine")],
        ),
        (("--engine", "enforce_eager=True"), [("engine.enforce_eager", True, "--engine")]),
        (
            ("--name", "n", "--base-url", "u", "--base-url", "v"),
            [("name", "n", "--name"), ("server", ["u", "v"], "--base-url")],
        ),
    ],
)
def test_a_flag_overrides_its_key(arguments: tuple[str, ...], expected: list[tuple[str, object, str]]) -> None:
    assert overrides(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("run", "--sizes", "3,eight"),
            "--sizes '3,eight' is no list of whole numbers; write for example",
        ),
        (("run", "--pools", "a,,b"), "--pools 'a,,b' has an empty name; write for example --pools one,another"),
        (("run", "--engine", "dtype"), "--engine 'dtype' is not KEY=VALUE"),
        (
            ("run", "--trials", "many"),
            "argument --trials: invalid int value: 'many'; see python",
        ),
        (("import", "urial", "a.txt", "--rules", "b.txt"), "--rules is called --system-prompt now"),
        ((), "one of run, plan, prompt, audit-judge"),
        (
            ("run", "--study", "decoding", "--judges", "rubric"),
            "did you mean --judge?; see python ablations/run.py --help",
        ),
        (("run", "--top-p", "0.9"), "--top-p is no flag: a study file says top_p, in [study.baseline] or"),
        (
            ("report", "--study", "decoding", "--output", "d"),
            "'--output' is no argument of this command; did you mean --out?",
        ),
        (
            ("report", "--study", "decoding", "more"),
            "'more' is no argument of this command; see python -m ablations report",
        ),
        (("run", "--rules", "a.txt"), "'--rules' is no argument of this command"),
        (("audit-judge", "--also-judge", "reference"), "--also-judge"),
        (("audit-judge", "--judge-rpm", "0"), "--judge-rpm 0 is out of range; give a number above 0"),
    ],
)
def test_what_cannot_be_is_one_message_that_names_the_flag(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse(arguments)


def test_other_commands_have_typed_arguments_too() -> None:
    audit = parse(["audit-judge", "--judge", "rubric", "--judge-model", "m", "--limit", "3"])
    assert isinstance(audit, AuditArguments)
    assert (audit.judge, audit.settings, audit.limit) == ("rubric", JudgeTable(model="m"), 3)
    taken = parse(["import", "urial", "a.txt", "--system-prompt", "s.txt"])
    assert taken == ImportArguments(Path("a.txt"), Path("s.txt"), None, None)
    assert parse(["schema", "--study", "decoding"]) == SchemaArguments("decoding", None, None)


def test_every_flag_is_explained_under_its_heading(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["run", "--help"])
    shown = capfd.readouterr().out
    assert "`" not in shown.partition("examples:")[0]
    for _, field in flagged():
        assert f"\n{field.key.group}:" in shown
        assert re.search(rf"^  {field.key.flag}\b", shown, flags=re.MULTILINE), field.key.flag


def test_an_override_says_where_it_comes_from() -> None:
    asked = parse(["run", "--seed", "1"])
    assert isinstance(asked, RunArguments)
    assert asked.overrides == (Override("study.seed", 1, "--seed"),)


def test_help_waits_for_nothing_that_takes_long_to_import() -> None:
    code = """import sys
from ablations.cli.parser import parse
try:
    parse(["run", "--help"])
except SystemExit:
    print([name for name in ("numpy", "polars", "torch", "vllm", "optuna", "mlflow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.splitlines()[-1] == "[]"
