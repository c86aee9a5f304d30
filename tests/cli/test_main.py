"""The commands as a person calls them: one message and exit code 2 for bad input, nothing written."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from ablations.cli.main import main
from ablations.tracking.client import open_client

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, str(ROOT / "ablations" / "run.py")]
MODULE = [sys.executable, "-m", "ablations"]


def call(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **environment}
    )


class Called(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Called]:
    """The command line in this process, in an empty folder: its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)

    def called(*arguments: str) -> Called:
        code = main(list(arguments))
        return Called(code, *capfd.readouterr())

    return called


def write_space(folder: Path, text: str) -> str:
    path = folder / "space.toml"
    path.write_text(text)
    return str(path)


LLM = ["--study", "decoding", "--judge-model", "some-model"]
BAD = {
    "unknown study": (["--study", "decodign"], "did you mean decoding?"),
    "nothing to study": ([], "--study NAME"),
    "unknown judge": (["--study", "decoding", "--judge", "referense"], "did you mean reference?"),
    "unknown sampler": (["--study", "decoding", "--sampler", "tpee"], "did you mean tpe?"),
    "adaptive sampler in an ablation": (["--study", "decoding", "--sampler", "tpe"], "--mode search"),
    "unknown model": (["--study", "decoding", "--model", "gemma-3-270"], "did you mean gemma-3-270m?"),
    "no such model folder": (["--study", "decoding", "--model", "./nowhere"], "no such directory"),
    "no trial": (["--study", "decoding", "--trials", "0"], "--trials 0"),
    "negative limit": (["--study", "decoding", "--limit", "-3"], "--limit -3"),
    "no number": (["--study", "decoding", "--trials", "many"], "--trials"),
    "unknown flag": (["--study", "decoding", "--temprature", "1"], "--temprature"),
    "study given as a file": (["--search-space", "decoding"], "give --study decoding"),
    "missing search space": (["--search-space", "nowhere.toml"], "nowhere.toml cannot be read"),
    "missing queries": (["--study", "decoding", "--queries", "nowhere.jsonl"], "nowhere.jsonl"),
    "missing prompt file": (["--study", "decoding", "--prompt-file", "nowhere.txt"], "nowhere.txt cannot be read"),
    "unknown pool": (["--study", "components", "--pool", "exampels"], "did you mean examples?"),
    "sampler of a greedy search": (["--study", "greedy-search", "--sampler", "tpe"], "of no use to a greedy search"),
    "models and a model": (["--study", "alignment", "--models", "a,b", "--model", "a"], "drop one of the flags"),
    "a model twice": (["--study", "alignment", "--models", "a,a"], "names a model twice"),
    "missing pool": (["--study", "components", "--pool", "pool.jsonl"], "the pool 'pool.jsonl' is neither"),
    "rounds of no search": (
        ["--study", "decoding", "--rounds", "2"],
        "--rounds: of no use to an ablation",
    ),
    "no candidate": (
        ["--study", "greedy-search", "--candidates", "0"],
        "--candidates 0 is out of range",
    ),
    "missing greedy prompt": (["--study", "many-shot", "--greedy", "nowhere.txt"], "nowhere.txt does not exist"),
    "several models of a study of one": (
        ["--study", "decoding", "--models", "a,b"],
        "--models: of no use to an ablation",
    ),
    "models without a name": (["--study", "alignment", "--models", "a,,b"], "has an empty name"),
    "unknown backend": (["--study", "decoding", "--backend", "vlm"], "did you mean vllm?"),
    "server without address": (["--study", "decoding", "--backend", "openai"], "--base-url"),
    "unreachable server": (["--study", "decoding", "--base-url", "http://127.0.0.1:9/v1"], "no completions server"),
    "judge without a model": (["--study", "decoding", "--judge", "rubric"], "--judge-model"),
    "model for a judge without one": (["--study", "decoding", "--judge-model", "x"], "--judge-model has no effect"),
    "nothing to compare with": ([*LLM, "--judge", "pairwise"], "--compare-with"),
    "missing answers to compare with": (
        [*LLM, "--judge", "pairwise", "--compare-with", "nowhere.json"],
        "nowhere.json cannot be read",
    ),
    "comparison for a judge of single answers": ([*LLM, "--judge", "rubric", "--compare-with", "x"], "has no effect"),
    "missing judge prompts": ([*LLM, "--judge", "rubric", "--judge-prompts", "nowhere"], "nowhere cannot be read"),
    "missing prices": ([*LLM, "--judge", "rubric", "--judge-prices", "nowhere"], "nowhere cannot be read"),
    "a limit without a price": ([*LLM, "--judge", "rubric", "--max-cost", "1"], "--judge-prices"),
    "no money": ([*LLM, "--judge", "rubric", "--max-cost", "0"], "--max-cost 0 is out of range; give a number above 0"),
    "no share": (
        ["--study", "decoding", "--min-coverage", "1.5"],
        "--min-coverage 1.5 is out of range",
    ),
    "no address of a judge": ([*LLM, "--judge", "rubric", "--judge-base-url", "::"], "--judge-base-url"),
    "fewer than no conditions": (
        ["--study", "decoding", "--confirm", "-1"],
        "--confirm -1 is out of range",
    ),
    "fewer than no queries": (
        ["--study", "decoding", "--confirm", "1", "--held-back", "-2"],
        "--held-back -2 is out of range; give 0 or more",
    ),
    "queries held back for nothing": (["--study", "joint", "--held-back", "4"], "add --confirm K, or drop it"),
    "confirmation of a greedy search": (["--study", "greedy-search", "--confirm", "2"], "its own held-back half"),
    "confirmation of several models": (
        ["--study", "alignment", "--models", "gemma-3-270m,smollm2-135m-instruct", "--confirm", "2"],
        "--confirm: of no use to a comparison of models (mode alignment), which takes --models",
    ),
    "a name too long for its confirmation": (
        ["--study", "decoding", "--confirm", "2", "--name", "x" * 90],
        "is longer than 100 characters; shorten --name",
    ),
    "malformed engine setting": (["--study", "decoding", "--engine", "dtype"], "KEY=VALUE"),
}


@pytest.mark.parametrize(("arguments", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_message_with_exit_code_2_and_writes_nothing(
    tmp_path: Path, command: Callable[..., Called], arguments: list[str], expected: str
) -> None:
    done = command("run", *arguments, "--mlruns", "results")
    assert done.code == 2
    assert expected in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("error: ") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_script_ends_with_the_same_message_and_exit_code(tmp_path: Path) -> None:
    done = call([*RUN, "--study", "decodign", "--mlruns", "results"], tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert done.stderr.startswith("error: ")


@pytest.mark.slow
def test_an_unknown_engine_setting_is_refused_before_anything_is_written(
    tmp_path: Path, command: Callable[..., Called]
) -> None:
    done = command("run", "--study", "decoding", "--engine", "tensor_paralel_size=2", "--mlruns", "results")
    assert done.code == 2
    assert "did you mean tensor_parallel_size?" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[study\n", "space.toml is not valid TOML"),
        ("[study]\nmod = 'ablation'\n", "unknown key 'mod' in [study]; did you mean mode?"),
        (
            "[parameters.temperature]\nlow = 1\nhigh = 0\n",
            "the range low = 1, high = 0 is empty",
        ),
    ],
)
def test_a_broken_study_file_is_named_with_key_and_remedy(
    tmp_path: Path, command: Callable[..., Called], text: str, expected: str
) -> None:
    done = command("run", "--search-space", write_space(tmp_path, text), "--mlruns", "results")
    assert done.code == 2
    assert expected in done.err
    assert not (tmp_path / "results").exists()


def test_a_broken_query_is_named_by_its_line(tmp_path: Path, command: Callable[..., Called]) -> None:
    (tmp_path / "queries.jsonl").write_text('{"turns": ["a"], "references": ["b"]}\n{"turns": \n')
    done = command("run", "--study", "decoding", "--queries", "queries.jsonl", "--mlruns", "results")
    assert done.code == 2
    assert "queries.jsonl line 2" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("database", ["store.db", "optuna.db", "mlflow.db"])
def test_a_damaged_database_is_named_with_the_remedy(
    tmp_path: Path, command: Callable[..., Called], server: str, database: str
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / database).write_bytes(b"no database" * 1000)
    done = command("run", "--study", "decoding", "--base-url", server, "--mlruns", "results")
    assert done.code == 2
    assert database in done.err
    assert "move a damaged file away" in done.err
    assert (tmp_path / "results" / database).read_bytes() == b"no database" * 1000


@pytest.mark.slow
def test_a_results_folder_that_cannot_be_made_is_named(
    tmp_path: Path, command: Callable[..., Called], server: str
) -> None:
    (tmp_path / "results").write_text("a file")
    done = command("run", "--study", "decoding", "--base-url", server, "--mlruns", "results")
    assert done.code == 2
    assert "results cannot be written" in done.err


def test_dry_run_shows_conditions_requests_and_tokens_and_writes_nothing(
    tmp_path: Path, command: Callable[..., Called]
) -> None:
    done = command("run", "--study", "decoding", "--dry-run", "--mlruns", "results")
    assert done.code == 0
    for expected in ("baseline", "replicate", "one-factor", "completions", "new tokens", "gemma-3-270m"):
        assert expected in done.out
    assert list(tmp_path.iterdir()) == []


def test_dry_run_shows_what_confirming_would_take(tmp_path: Path, command: Callable[..., Called]) -> None:
    (tmp_path / "prices.toml").write_text('["some-model"]\nprompt = 100.0\ncompletion = 100.0\n')
    options = "--judge rubric --queries instructions --judge-prices prices.toml --limit 4 --trials 6 --dry-run"
    judged = (*LLM, *options.split())
    done = command("run", *judged, "--confirm", "2", "--held-back", "3")
    assert done.code == 0, done.err
    expected = "the best 2 conditions and the baseline again, on 4 queries with fresh seeds and 3 held back: at most 42"
    assert expected in done.out
    assert "its judging   about 42 calls" in done.out
    assert done.out.count(": $") == 2
    assert "confirmation" not in command("run", *judged, "--confirm", "0").out


def test_a_study_file_may_ask_for_a_confirmation_and_a_flag_may_turn_it_off(
    tmp_path: Path, command: Callable[..., Called]
) -> None:
    space = "[study]\nconfirm = 1\nheld_back = 2\nlimit = 3\n[study.baseline]\ntemperature = 0.0\n"
    path = write_space(tmp_path, space + "[parameters.temperature]\nchoices = [0.0, 1.0]\n")
    planned = command("run", "--search-space", path, "--dry-run").out
    assert "on 3 queries with fresh seeds and 2 held back" in planned
    assert "confirmation" not in command("run", "--search-space", path, "--dry-run", "--confirm", "0").out


def test_where_no_query_is_left_the_plan_says_that_fresh_seeds_alone_are_confirmed(
    command: Callable[..., Called],
) -> None:
    done = command("run", "--study", "decoding", "--limit", "112", "--dry-run")
    assert "no query is left to hold back: fresh seeds alone are confirmed; lower --limit" in done.out


def test_list_names_the_studies_with_what_they_answer(command: Callable[..., Called]) -> None:
    done = command("run", "--list")
    assert done.code == 0
    assert "decoding_grid" in done.out


def test_help_shows_examples_and_exit_codes(tmp_path: Path) -> None:
    done = call([*RUN, "--help"], tmp_path)
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "130 interrupted" in done.stdout


def test_prompt_prints_the_prompt_and_nothing_else(tmp_path: Path) -> None:
    prompt_file = tmp_path / "mine.txt"
    prompt_file.write_text("Rules.\n")
    done = call([*MODULE, "prompt", "--study", "decoding", "--query", "Why?", "--prompt-file", str(prompt_file)], ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Rules.\n\n# Query:\n```\nWhy?\n```\n\n# Answer:\n```\n"


def test_prompt_prints_the_second_turn_with_the_first_query_and_answer(tmp_path: Path) -> None:
    prompt_file = tmp_path / "mine.txt"
    prompt_file.write_text("")
    second = ["--turn-1-answer", "Because.", "--turn-2-query", "Really?", "--prompt-file", str(prompt_file)]
    done = call([*MODULE, "prompt", "--query", "Why?", *second], ROOT)
    assert done.stdout == (
        "\n# Query:\n```\nWhy?\n```\n\n# Answer:\n```\nBecause.\n```\n\n# Query:\n```\nReally?\n```\n\n# Answer:\n```\n"
    )


def test_ui_without_results_says_what_to_do(command: Callable[..., Called]) -> None:
    done = command("ui", "--mlruns", "none")
    assert done.code == 2
    assert "make decoding" in done.err


PROMPT_FILE = "Be kind.\n\n# Query:\n```\nHi?\n```\n\n# Answer:\n```\nHello.\n```\n"


def test_a_prompt_file_is_taken_apart_into_parts_that_a_study_takes(
    tmp_path: Path, command: Callable[..., Called]
) -> None:
    (tmp_path / "urial.txt").write_text(PROMPT_FILE)
    outputs = ("--system-prompt", "system_prompt.txt", "--pool", "pool.jsonl", "--write-back", "again.txt")
    done = command("import", "urial", "urial.txt", *outputs)
    assert done.code == 0
    told = json.loads(done.out)
    assert (told["demonstrations"], told["identical_when_written_back"], told["note"]) == (1, True, None)
    assert (tmp_path / "again.txt").read_text() == PROMPT_FILE
    space = '[study.baseline]\ntemperature = 0.0\nsystem_prompt = "system_prompt.txt"\nshots = 1\n'
    (tmp_path / "mine.toml").write_text(space + "[parameters.temperature]\nchoices = [0.0, 1.0]\n")
    planned = command("run", "--search-space", "mine.toml", "--pool", "pool.jsonl", "--limit", "4", "--dry-run")
    assert planned.code == 0, planned.err
    assert "system prompt system_prompt.txt, template urial, 1 shots" in planned.out
    assert "pool.jsonl, 1 demonstrations, none of them equal to a query" in planned.out


def test_an_import_writes_over_nothing(tmp_path: Path, command: Callable[..., Called]) -> None:
    (tmp_path / "urial.txt").write_text(PROMPT_FILE)
    done = command("import", "urial", "urial.txt", "--write-back", "urial.txt")
    assert (done.code, "urial.txt exists and is not written over" in done.err) == (2, True)


def test_a_text_without_headings_is_a_system_prompt_alone(tmp_path: Path, command: Callable[..., Called]) -> None:
    (tmp_path / "system_prompt.txt").write_text("Be kind.\n")
    assert "no role line was found" in json.loads(command("import", "urial", "system_prompt.txt").out)["note"]


@pytest.mark.parametrize("study", ["many-shot", "retrieval", "greedy-search", "alignment"])
def test_the_baselines_prompt_of_every_study_can_be_shown(command: Callable[..., Called], study: str) -> None:
    done = command("prompt", "--study", study, "--query", "Why?")
    assert done.code == 0, done.err
    assert "Why?" in done.out


def test_a_prompt_is_shown_with_the_studys_pool_or_another(tmp_path: Path, command: Callable[..., Called]) -> None:
    (tmp_path / "pool.jsonl").write_text('{"query": "Is this mine?", "answer": "Yes."}\n')
    space = '[study.baseline]\ntemperature = 0.0\nshots = 1\n[pool]\nname = "pool.jsonl"\n'
    (tmp_path / "mine.toml").write_text(space + "[parameters.temperature]\nchoices = [0.0, 1.0]\n")
    assert "Is this mine?" in command("prompt", "--search-space", "mine.toml", "--query", "Why?").out
    other = command("prompt", "--search-space", "mine.toml", "--query", "Why?", "--pool", "examples")
    assert (other.code, "Is this mine?" in other.out) == (0, False)


def test_a_port_that_cannot_be_used_is_one_message(tmp_path: Path, command: Callable[..., Called]) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], -1, 99_999):
            done = command("ui", "--mlruns", str(tmp_path), "--port", str(port))
            assert (done.code, done.out) == (2, "")
            assert f"--port {port} cannot be used" in done.err


@pytest.mark.slow
def test_a_dry_run_refuses_what_the_engine_would(command: Callable[..., Called]) -> None:
    done = command("run", "--study", "decoding", "--dry-run", "--engine", "foo=1")
    assert done.code == 2
    assert "engine setting 'foo' is not known to vLLM" in done.err
    assert done.out == ""  # no plan of what cannot be


@pytest.mark.slow
def test_the_page_server_ends_with_its_command(tmp_path: Path) -> None:
    open_client(f"sqlite:///{tmp_path / 'mlflow.db'}").search_experiments()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([*MODULE, "ui", "--mlruns", str(tmp_path), "--port", str(port)], cwd=ROOT) as served:
        until = time.monotonic() + 120
        while not _answers(port):
            assert served.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        processes = psutil.Process(served.pid).children(recursive=True)
        served.terminate()
        assert served.wait(60) == 0
    assert len(processes) > 1
    assert psutil.wait_procs(processes, timeout=30)[1] == []


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def test_output_that_nobody_reads_to_its_end_is_no_error() -> None:
    command = [sys.executable, "-m", "ablations", "schema"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        said = process.stderr.read().decode()
    assert (process.returncode, said) == (0, "")
