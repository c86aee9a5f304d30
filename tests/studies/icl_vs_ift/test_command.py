"""Claims about how a comparison with fine-tuning is called: what is refused, and what an earlier study hands on."""

from pathlib import Path

import pytest

from ablations.cli.arguments import RunArguments
from ablations.cli.main import main
from ablations.cli.parser import parse
from ablations.core.errors import StorageError
from ablations.storage.workspace import Places
from ablations.studies.config.config import load_config
from ablations.studies.config.file import find_study_file
from ablations.studies.icl_vs_ift.config import TuningConfig
from ablations.studies.icl_vs_ift.inputs import best_decoding
from ablations.studies.registry import configs
from tests.conftest import ROOT
from tests.support.specs import load

FIXTURES = ROOT / "tests" / "fixtures" / "mlruns"
STUDY = ["--study", "icl-vs-ift"]
BAD = {
    "sizes of another study": (["--study", "decoding", "--sizes", "3,8"], "--sizes: of no use to an ablation"),
    "a rate of another study": (
        ["--study", "decoding", "--tune-learning-rate"],
        "run a study of the mode icl-vs-ift",
    ),
    "sizes that are no numbers": ([*STUDY, "--sizes", "3,eight"], "'3,eight' is no list of whole numbers"),
    "sizes that are none": ([*STUDY, "--sizes", "3,,8"], "has an empty name"),
    "a size twice": ([*STUDY, "--sizes", "3,3"], "name a size twice"),
    "no draw": ([*STUDY, "--draws", "0"], "--draws 0 is out of range; give 1 or more"),
    "another way of tuning": ([*STUDY, "--tuning", "lorra"], "did you mean lora?"),
    "a pool twice": ([*STUDY, "--pools", "examples,examples"], "name each pool once"),
    "a missing pool": ([*STUDY, "--pools", "nowhere.jsonl"], "'nowhere.jsonl' is neither a built-in pool nor a file"),
    "trials": (
        [*STUDY, "--trials", "5"],
        "of no use to a comparison with fine-tuning (mode icl-vs-ift), which takes --tuning, --sizes, --draws",
    ),
    "a confirmation": ([*STUDY, "--confirm", "2"], "it picks no best one"),
    "a prompt file": ([*STUDY, "--prompt-file", "urial.txt"], "would stand in one way's prompt alone"),
    "a server": ([*STUDY, "--base-url", "http://127.0.0.1:9/v1"], "which a server does not let it do"),
    "pools twice": ([*STUDY, "--pool", "examples", "--pools", "examples"], "--pool and --pools both set tuning.pools"),
    "an aligned model that is none": (
        [*STUDY, "--aligned", "nosuch"],
        "tuning.aligned (--aligned): unknown model 'nosuch'",
    ),
    "a way that is none": ([*STUDY, "--decoding-from", "itf=decoding"], "'itf' is no way; did you mean ift?"),
    "an earlier study that is none": ([*STUDY, "--decoding-from", "nowhere"], "No study 'nowhere' has been run yet"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_nothing_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[case]
    assert main(["run", *arguments, "--dry-run", "--mlruns", str(tmp_path / "mlruns")]) == 2
    said = capfd.readouterr().err
    assert said.count("error: ") == 1
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_an_empty_pool_is_refused_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert main(["run", *STUDY, "--dry-run", "--pools", str(tmp_path / "empty.jsonl")]) == 2
    assert "holds no demonstration" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("sizes = 3", r"tuning\.sizes = 3 is of the wrong type"),
        ("draws = true", r"tuning\.draws = True is of the wrong type"),
        ('epochs = "many"', r"tuning\.epochs = 'many' is of the wrong type"),
        ("tune_learning_rate = 1", r"tuning\.tune_learning_rate = 1 is of the wrong type"),
        ("learning_rates = 0.1", r"unknown key 'learning_rates' in \[tuning\]; did you mean learning_rate\?"),
    ],
)
def test_a_study_files_table_is_checked(table: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(f'[study]\nmode = "icl-vs-ift"\n[study.baseline]\nshots = 0\n[tuning]\n{table}\n')
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_rate_that_is_not_looked_for_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    text = '[study]\nmode = "icl-vs-ift"\n[study.baseline]\nshots = 0\n[tuning]\ntune_learning_rate = false\n'
    path.write_text(text)
    assert load(path).kind == TuningConfig()
    path.write_text(f"{text}[pool]\nmax_tokens_total = 100\n")
    assert main(["run", "--search-space", str(path), "--dry-run"]) == 2


def tuning_of(*flags: str) -> TuningConfig:
    asked = parse(["run", *flags])
    assert isinstance(asked, RunArguments)
    kind = load_config(find_study_file("icl-vs-ift"), asked.overrides, configs()).kind
    assert isinstance(kind, TuningConfig)
    return kind


def test_flags_go_over_the_file_and_the_file_over_the_defaults() -> None:
    plain = tuning_of()
    assert (plain.sizes, plain.draws, plain.method, plain.aligned) == ((3, 8, 24), 1, "lora", "smollm2-135m-instruct")
    flagged = tuning_of("--sizes", "30,10", "--draws", "2", "--tuning", "full", "--pools", "a, b", "--aligned", "none")
    assert (flagged.sizes, flagged.draws, flagged.method, flagged.aligned) == ((10, 30), 2, "full", None)
    assert flagged.pools == ("a", "b")
    assert tuning_of("--pool", "good").pools == ("good",)


def test_an_earlier_study_hands_on_the_decoding_of_its_best_condition() -> None:
    import polars as pl

    from analysis.frames import load_results

    places = Places.choose(str(FIXTURES), None, None, None)
    found = best_decoding("decoding", places)
    results = load_results(places.results("decoding"))
    best = (
        results.filter(pl.col("state") == "complete", pl.col("replicate") == 0)
        .group_by("trial", "query_id")
        .agg(pl.col("score").mean(), *(pl.col(f"param.{name}").first() for name in found))
        .group_by("trial")
        .agg(pl.col("score").mean(), *(pl.col(f"param.{name}").first() for name in found))
        .sort("score", descending=True)
        .row(0, named=True)
    )
    assert {name: best[f"param.{name}"] for name in ("max_tokens", "repetition_penalty", "temperature")} == {
        name: found[name] for name in ("max_tokens", "repetition_penalty", "temperature")
    }
    assert best_decoding(str(places.results("decoding")), places) == found


def test_a_misspelt_study_is_answered_with_the_nearest() -> None:
    with pytest.raises(StorageError, match=r"No study 'decodng' has been run yet: .* did you mean decoding"):
        best_decoding("decodng", Places.choose(str(FIXTURES), None, None, None))


@pytest.mark.slow
def test_layers_that_the_model_lacks_are_named_before_anything_is_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (
        find_study_file("icl-vs-ift").read_text().replace("[tuning]", '[tuning]\ntarget_modules = ["q_prj", "v_proj"]')
    )
    (tmp_path / "space.toml").write_text(text)
    arguments = ["run", "--search-space", str(tmp_path / "space.toml"), "--mlruns", str(tmp_path / "mlruns")]
    assert main(arguments) == 2
    said = capfd.readouterr().err
    assert "tuning.target_modules: the model 'gemma-3-270m' has no layer q_prj; its linear layers are down_proj" in said
    assert not (tmp_path / "mlruns" / "tuned").exists()


def test_an_earlier_study_without_a_complete_condition_is_refused(tmp_path: Path) -> None:
    import polars as pl

    frame = pl.read_parquet(FIXTURES / "results" / "decoding" / "results.parquet")
    path = tmp_path / "failed.parquet"
    frame.with_columns(state=pl.lit("failed")).write_parquet(path)
    with pytest.raises(StorageError, match="has no complete condition"):
        best_decoding(str(path), Places.choose(str(tmp_path), None, None, None))
