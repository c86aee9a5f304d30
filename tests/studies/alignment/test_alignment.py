"""Claims about several models in one study: one is loaded at a time, and differences between them are paired."""

from pathlib import Path

import polars as pl
import pytest

from ablations.cli.main import main
from ablations.core.errors import SearchSpaceError
from ablations.datasets.queries import load_queries
from ablations.judges.checks.registry import Accepted
from ablations.studies.alignment.config import AlignmentConfig
from ablations.studies.config.file import find_study_file
from ablations.studies.views.reproduction import StoredTrial
from ablations.tracking.client import open_client
from tests.support.models import ALIGNED, Named, compare
from tests.support.specs import load
from tests.support.world import World, places_of

WAYS = {"base": ["zero-shot", "in context"], ALIGNED: ["zero-shot", "in context", "aligned (chat template)"]}


def results(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(places_of(folder).results("alignment"))


@pytest.fixture
def folder(world: World) -> Path:
    return world.folder


def test_models_are_loaded_one_after_the_other_and_each_is_asked_in_its_ways(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, made = compare(folder)
    assert code == 0
    assert [one.starts for one in made if one.requests] == [1, 1]
    frame = results(folder)
    asked = frame.unique("trial").sort("trial").select("arm.model", "arm.way").rows()
    assert asked == [(model, way) for model, ways in WAYS.items() for way in ways]
    assert frame.group_by("trial").len().get_column("len").unique().to_list() == [8]  # 4 queries of 2 turns
    for model, answer in frame.select("arm.model", "answer").iter_rows():
        assert answer.startswith(f"{model} ")
    shown = " ".join(capfd.readouterr().out.split())
    assert "base has no chat template that is known here: it is not asked as an aligned model" in shown
    assert "Models side by side" in shown
    assert "Gaps, paired over queries" in shown


def test_a_trial_says_which_model_answered_it(folder: Path) -> None:
    compare(folder)
    records = World(folder).records("alignment")
    assert [record.arm["model"] for record in records.values()] == ["base", "base", *[ALIGNED] * 3]
    assert len({record.condition_id for record in records.values()}) == 5


def test_a_comparison_that_broke_off_goes_on_where_it_was(folder: Path) -> None:
    code, broken = compare(folder, fail_after=10)
    assert code == 3
    code, made = compare(folder)
    assert code == 0
    assert sum(one.answered for one in (*broken, *made)) == 5 * 8
    code, again = compare(folder)
    assert code == 0
    assert [one for one in again if one.starts] == []


def test_other_models_are_another_study(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compare(folder)[0] == 0
    assert compare(folder, ("base", "other"))[0] == 2
    said = capfd.readouterr().err
    assert "models" in said
    assert "--fresh" in said


@pytest.mark.pages
def test_a_models_page_shows_gaps_and_trials(folder: Path) -> None:
    assert compare(folder)[0] == 0
    client = open_client(places_of(folder).tracking_uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (parent,) = (run for run in runs if run.data.tags["ablations.kind"] == "study")
    assert parent.data.tags["mlflow.note.content"].startswith("Gaps whose interval excludes 0: ")
    assert any(name.startswith("gap/") for name in parent.data.metrics)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"figures", "tables"}
    assert len(runs) == 6


def test_as_many_trials_are_in_flight_as_the_plan_says(folder: Path) -> None:
    _, made = compare(folder, ("base", ALIGNED), "--concurrency", "1")
    assert max(one.most_in_flight for one in made) == 4  # the queries of one trial
    _, made = compare(folder.with_name("wide"), ("base", ALIGNED), "--concurrency", "2")
    assert 4 < max(one.most_in_flight for one in made) <= 8


def test_a_setting_that_a_model_would_ignore_is_refused_beforehand(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Named, "honours", Named.honours - {"max_tokens"})
    code, made = compare(folder)
    assert (code, sum(one.starts for one in made)) == (2, 0)
    assert "max_tokens = 32 would have no effect" in capfd.readouterr().err


@pytest.mark.pages
def test_the_record_and_the_page_name_the_models_that_answered(folder: Path) -> None:
    compare(folder, (ALIGNED, "base"))
    store = World(folder).store
    for number, record in store.trials("alignment").items():
        trial = StoredTrial.read(store, "alignment", number)
        other = trial.answered_by_other or trial.manifest.parameters["asked_model"]
        assert other == record.arm["model"]
    (study,) = World(folder).runs(kind="study")
    assert study.data.params["models"] == f"{ALIGNED}, base"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (("base", "base"), "names a model twice; drop one"),
        (("./nowhere", "base"), "./nowhere"),
        (("no such", "base"), "no such"),
    ],
)
def test_models_that_cannot_be_are_refused_before_anything_is_written(
    models: tuple[str, ...], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--study", "alignment", "--models", ",".join(models), "--mlruns", str(tmp_path / "mlruns")]
    assert main(["run", *arguments]) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "mlruns" / "store.db").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('models = ["gemma-3-270m", "smollm2-135m-instruct"]\n', "", "names no model"),
        ("models = [", 'model = "base"\nmodels = [', "study.model = 'base' names one model and study.models several"),
        ("[[study.conditions]]", "[[study.condition]]", "condition"),
        ("shots = 3\n", "shot = 3\n", "shots"),
        ('template = "chat"', 'template = "chatt"', "chat"),
    ],
)
def test_a_file_that_names_no_comparison_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = find_study_file("alignment").read_text()
    assert old in text
    (tmp_path / "space.toml").write_text(text.replace(old, new))
    with pytest.raises(SearchSpaceError, match=message):
        load(tmp_path / "space.toml")


def test_the_packaged_study_compares_a_base_model_with_an_aligned_one() -> None:
    kind = load(find_study_file("alignment")).kind
    assert isinstance(kind, AlignmentConfig)
    assert kind.models == ("gemma-3-270m", "smollm2-135m-instruct")
    assert len(kind.conditions) == 2


@pytest.mark.slow
def test_a_model_without_a_chat_template_is_not_asked_as_an_aligned_model_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--study", "alignment", "--model", "gemma-3-270m", "--dry-run", "--mlruns", "results"]
    assert main(arguments) == 0
    shown = " ".join(capfd.readouterr().out.split())
    assert "has no chat template that is known here" in shown
    assert "shots=3" in shown
    assert "template=chat" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_real_model_is_asked_in_all_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--study", "alignment", "--models", "smollm2-135m-instruct", "--limit", "2", "--mlruns", "results"]
    assert main(["run", *arguments]) == 0
    frame = results(tmp_path / "results")
    chat = frame.filter((pl.col("param.template") == "chat") & pl.col("decides"))
    turns = load_queries("short", accept=Accepted())
    asked = {query.id: len(query.turns) for query in turns}
    assert len(chat) == sum(asked[query] for query in chat.get_column("query_id").unique())
    assert chat.get_column("query_id").n_unique() == 2
    assert not any("<|im" in answer for answer in chat.get_column("answer"))
