"""Claims about a study's configuration: flags over the file, whose key a flag is, and how mistakes are named."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import pytest

from ablations.core.errors import SearchSpaceError, UsageError, UserError
from ablations.studies.alignment.config import AlignmentConfig
from ablations.studies.conditions.config import ConditionsConfig, SearchConfig
from ablations.studies.config.config import KindConfig, Override, StudyConfig, load_config
from ablations.studies.config.file import find_study_file
from ablations.studies.config.keys import Key, table_fields
from ablations.studies.config.tables import JudgeTable, PoolTable, StudyTable
from ablations.studies.greedy.config import GreedyConfig
from ablations.studies.registry import configs

SPACE = "[study.baseline]\ntemperature = 0.0\n[parameters.temperature]\nchoices = [0.0, 1.0]\n"
LISTED = SPACE + "[[study.conditions]]\ntemperature = 1.0\n"
RENAMED = {"rules": "system_prompt", "headings": "template", "demonstrations": "shots"}


def read(
    folder: Path, text: str, *overrides: Override, kinds: Mapping[str, type[KindConfig]] | None = None
) -> StudyConfig[KindConfig]:
    path = folder / "mine.toml"
    path.write_text(text)
    return load_config(path, overrides, kinds or configs())


def test_flags_go_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    text = '[study]\nseed = 3\nlimit = 8\n[judge]\nmodel = "m"\n' + SPACE
    config = read(tmp_path, text, Override("study.seed", 7, "--seed"), Override("name", "ours", "--name"))
    assert (config.name, config.file, config.mode) == ("ours", "mine", "ablation")
    assert (config.study.seed, config.study.limit, config.study.concurrency) == (7, 8, 4)
    assert (config.judge, config.pool) == (JudgeTable(model="m"), PoolTable())
    assert config.flags == {"study.seed": "--seed", "name": "--name"}


def test_what_is_in_force_has_the_names_that_records_have(tmp_path: Path) -> None:
    effective = read(tmp_path, SPACE).effective()
    names = "name mode sampler design trials levels seed concurrency model backend judge min_coverage queries limit"
    assert set(effective) == {*names.split(), "confirm", "held_back"}
    assert (effective["model"], effective["confirm"]) == ("gemma-3-270m", 0)
    assert read(tmp_path, '[study]\nmode = "search"\ntrials = 40\n' + SPACE).effective()["confirm"] == 3


def test_a_configuration_is_frozen_and_checked_when_it_is_changed(tmp_path: Path) -> None:
    config = read(tmp_path, SPACE)
    with pytest.raises(FrozenInstanceError):
        config.study.seed = 1  # type: ignore[misc]
    with pytest.raises(UsageError, match=r"study\.seed = -1 is out of range; give 0 or more"):
        replace(config.study, seed=-1)
    with pytest.raises(UsageError, match="has other characters"):
        replace(config, name="../outside")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (Override("study.trials", 0, "--trials"), "--trials 0 is out of range; give 1 or more"),
        (Override("study.levels", 1, "--levels"), "--levels 1 is out of range; give 2 or more"),
        (Override("study.sampler", "tpee", "--sampler"), "--sampler 'tpee' is not known; did you mean tpe?"),
        (Override("study.mode", "serch", "--mode"), "--mode 'serch' is not known; did you mean search?"),
        (Override("study.seed", -1, "--seed"), "--seed -1 is out of range; give 0 or more"),
        (Override("judge.max_cost", float("inf"), "--max-cost"), "--max-cost inf is out of range"),
        (
            Override("study.min_coverage", 2.0, "--min-coverage"),
            "--min-coverage 2 is out of range; give a number above 0",
        ),
        (Override("pool.encoder", 3, "--encoder"), "--encoder 3 is of the wrong type; give a text"),
        (Override("study.design", "factoriel", "--design"), "did you mean factorial?"),
        (Override("study.held_back", 3, "--held-back"), "--held-back belongs to a confirmation; add --confirm K"),
        (
            Override("study.backend", "openai", "--backend"),
            "--backend openai needs the server's address; give --base-url",
        ),
        (Override("study.design", "listed", "--design"), "belong together; add [[study.conditions]] to"),
        (Override("study.design", "add-one-in", "--design"), "needs the bare prompt; add a table [study.bare] to"),
    ],
)
def test_a_value_that_a_flag_gave_is_named_by_its_flag(tmp_path: Path, override: Override, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, SPACE, override)
    assert message in str(caught.value)
    assert str(caught.value).startswith(override.flag)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[judge]\nmodle = 1\n", "unknown key 'modle' in [judge]; did you mean model?"),
        ("[judge]\nrpm = 0\n", "judge.rpm = 0 is out of range; give a number above 0"),
        ("[pool]\nallow_overlap = 1\n", "pool.allow_overlap = 1 is of the wrong type; give true or false"),
        ('[study]\njudge = "referense"\n', "study.judge = 'referense' is not known; did you mean reference? known: "),
        ("[study]\nmin_coverage = nan\n", "study.min_coverage = nan is out of range"),
        ('[study]\nseed = "1"\n', "study.seed = '1' is of the wrong type; give a whole number"),
        ("[study]\nconditions = 3\n", "study.conditions = 3 is of the wrong type; give a list"),
        ("[study]\nconditions = [3]\n", "study.conditions = [3] is of the wrong type; give a list, each item a table"),
        ('[study]\nsampler = "gp"\n', "study.sampler = 'gp' adapts to results"),
        ("[study]\nrounds = 3\n", "unknown key 'rounds' in [study]"),
        ("[study]\nracing = false\n", 'study.racing belongs to a search; write mode = "search", or drop it'),
        ('[study]\nmodels = ["a", "b"]\n', 'study.models belongs to a comparison of models; write mode = "alignment"'),
        ("[search]\nrounds = 3\n", '[search] belongs to a greedy search; write mode = "greedy-search" in [study]'),
        ("[tuning]\ndraws = 3\n", '[tuning] belongs to a comparison with fine-tuning; write mode = "icl-vs-ift"'),
        ('[study]\nmode = "greedy-search"\n', "a greedy search varies the demonstrations alone; drop [parameters.…]"),
        ('[study]\nmode = "search"\ndesign = "factorial"\n', "study.design = 'factorial' is for an ablation; drop it"),
    ],
)
def test_a_value_of_the_file_is_named_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SearchSpaceError) as caught:
        read(tmp_path, text + SPACE)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    assert message in str(caught.value)


def test_a_whole_number_is_a_number_and_a_truth_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, "[study]\nmin_coverage = 1\n" + SPACE).study.min_coverage == 1.0
    for text in ("min_coverage = true", "limit = 8.0", "limit = true"):
        with pytest.raises(SearchSpaceError, match="is of the wrong type"):
            read(tmp_path, f"[study]\n{text}\n{SPACE}")


@pytest.mark.parametrize(("before", "now"), RENAMED.items())
@pytest.mark.parametrize(
    "text",
    [
        "[study.baseline]\ntemperature = 0.0\nNAME = 1\n[parameters.temperature]\nchoices = [0.0, 1.0]\n",
        SPACE + "[parameters.NAME]\nchoices = [1, 2]\n",
        SPACE + '[parameters.top_p]\nlow = 0.5\nhigh = 1.0\nstep = 0.5\nrequires = "NAME > 0"\n',
        SPACE + "[study.bare]\nNAME = 1\n",
        '[study]\ndesign = "listed"\n' + SPACE + "[[study.conditions]]\nNAME = 1\n",
        '[study]\nmode = "icl-vs-ift"\n[tuning.icl]\nNAME = 1\n',
    ],
)
def test_an_old_name_of_a_parameter_is_answered_with_the_new_one(
    tmp_path: Path, text: str, before: str, now: str
) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text.replace("NAME", before))
    assert f"{before} is called {now} now" in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")


@pytest.mark.parametrize(
    ("study", "flag", "why"),
    [
        ("decoding", "--rounds", "run a study of the mode greedy-search"),
        ("decoding", "--sizes", "run a study of the mode icl-vs-ift"),
        ("decoding", "--models", "run a study of the mode alignment"),
        ("decoding", "--no-racing", "an ablation evaluates every condition to the end"),
        ("greedy-search", "--trials", "which takes --rounds, --candidates, --no-racing"),
        ("greedy-search", "--confirm", "confirms its prompt on its own held-back half"),
        ("icl-vs-ift", "--design", "(mode icl-vs-ift), which takes --tuning, --sizes"),
        ("alignment", "--confirm", "(mode alignment), which takes --models"),
    ],
)
def test_a_flag_of_another_kind_is_refused_and_the_studys_own_are_named(study: str, flag: str, why: str) -> None:
    (key,) = {
        f"{kind.table}.{field.name}"
        for kind in configs().values()
        for field in table_fields(kind).values()
        if field.key.flag == flag and not (flag == "--no-racing" and kind is GreedyConfig)
    }
    with pytest.raises(UsageError) as caught:
        load_config(find_study_file(study), [Override(key, 3, flag)], configs())
    assert str(caught.value).startswith(f"{flag}: of no use to ")
    assert why in str(caught.value)


def test_a_flag_that_several_kinds_share_sets_the_studys_own_key() -> None:
    racing = Override("study.racing", False, "--no-racing")
    kind = load_config(find_study_file("greedy-search"), [racing], configs()).kind
    assert isinstance(kind, GreedyConfig)
    assert not kind.racing


def test_a_search_is_another_kind_than_an_ablation(tmp_path: Path) -> None:
    mode = Override("study.mode", "search", "--mode")
    assert isinstance(read(tmp_path, SPACE).kind, ConditionsConfig)
    assert isinstance(read(tmp_path, SPACE, mode, Override("study.sampler", "tpe", "--sampler")).kind, SearchConfig)
    with pytest.raises(SearchSpaceError, match=r"the space has no parameter; .* or drop --mode ablation"):
        load_config(find_study_file("greedy-search"), [Override("study.mode", "ablation", "--mode")], configs())


def test_servers_imply_their_backend_and_no_model(tmp_path: Path) -> None:
    server = Override("server", ["http://one/v1", "http://two/v1"], "--base-url")
    config = read(tmp_path, "[engine]\nseed = 1\n" + SPACE, server)
    assert (config.study.backend, config.study.model, config.server) == (
        "openai",
        None,
        ("http://one/v1", "http://two/v1"),
    )
    with pytest.raises(UsageError, match="--base-url names a server, --backend vllm"):
        read(tmp_path, SPACE, server, Override("study.backend", "vllm", "--backend"))
    with pytest.raises(UsageError, match="--engine sets arguments of the engine in this process"):
        read(tmp_path, SPACE, server, Override("engine.dtype", "auto", "--engine"))


def test_engine_arguments_of_flags_go_over_the_files(tmp_path: Path) -> None:
    text = "[engine]\nmax_model_len = 512\nseed = 1\n" + SPACE
    assert read(tmp_path, text, Override("engine.seed", 2, "--engine")).engine == {"max_model_len": 512, "seed": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = []", "study.models = [] names no model"),
        ('models = ["a", "a"]', "names a model twice"),
        ('models = ["a", ""]', "has an empty name"),
        ('models = ["a", 3]', "study.models = ['a', 3] is of the wrong type; give a list, each item a text"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SearchSpaceError) as caught:
        read(tmp_path, f'[study]\nmode = "alignment"\n{text}\n{LISTED}')
    assert message in str(caught.value)


def test_models_are_asked_in_the_ways_that_the_file_lists(tmp_path: Path) -> None:
    config = read(tmp_path, f'[study]\nmode = "alignment"\nmodels = ["a", "b"]\n{LISTED}')
    assert config.kind == AlignmentConfig(models=("a", "b"), conditions=({"temperature": 1.0},))
    with pytest.raises(SearchSpaceError, match=r"names no way of asking; add \[\[study.conditions\]\]"):
        read(tmp_path, f'[study]\nmode = "alignment"\nmodels = ["a"]\n{SPACE}')


@dataclass(frozen=True)
class ToyConfig(KindConfig):
    """A kind that only this test knows."""

    table: ClassVar[str] = "toy"
    noun: ClassVar[str] = "a toy"
    about: ClassVar[str] = "plays"
    throws: Annotated[int, Key("of the die", "--throws", "N", least=1)] = 6


def test_a_kind_that_nothing_else_knows_has_its_own_table_and_flags(tmp_path: Path) -> None:
    kinds = {**configs(), "toy": ToyConfig}
    text = '[study]\nmode = "toy"\n[toy]\nthrows = 3\n'
    assert read(tmp_path, text, kinds=kinds).kind == ToyConfig(throws=3)
    assert read(tmp_path, text, Override("toy.throws", 4, "--throws"), kinds=kinds).kind == ToyConfig(throws=4)
    with pytest.raises(UsageError, match="--throws 0 is out of range; give 1 or more"):
        read(tmp_path, text, Override("toy.throws", 0, "--throws"), kinds=kinds)
    with pytest.raises(SearchSpaceError, match=r"unknown key 'trows' in \[toy\]; did you mean throws"):
        read(tmp_path, text.replace("throws", "trows"), kinds=kinds)
    with pytest.raises(
        UsageError,
        match=r"--trials: of no use to a toy \(mode toy\), which takes --throws; drop it, or run .* mode ablation or",
    ):
        read(tmp_path, text, Override("study.trials", 3, "--trials"), kinds=kinds)


@pytest.mark.parametrize(
    "table", [StudyTable, PoolTable, JudgeTable, *configs().values()], ids=lambda one: one.__name__
)
def test_every_default_fits_its_own_key(table: type[KindConfig]) -> None:
    made = table()
    assert {name: getattr(made, name) for name in table_fields(table)} == {
        name: field.default for name, field in table_fields(table).items()
    }


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ({}, False),
        ({"confirm": 2}, True),
        ({"mode": "search"}, True),
        ({"mode": "search", "confirm": 0}, True),
        ({"mode": "greedy-search"}, True),
    ],
)
def test_a_score_that_pays_for_ending_may_not_choose(tmp_path: Path, keys: dict[str, object], refused: bool) -> None:
    text = '[study]\njudge = "checks"\n[judge]\nchecks_score = "share"\n'
    path = tmp_path / "own.toml"
    path.write_text(text + (SPACE if keys.get("mode") != "greedy-search" else ""))
    overrides = [Override(f"study.{key}", value, f"--{key}") for key, value in keys.items()]
    if not refused:
        assert load_config(path, overrides, configs()).judge.checks_score == "share"
        return
    with pytest.raises(
        SearchSpaceError, match=r"own.toml: judge.checks_score = 'share' may not choose a best condition"
    ):
        load_config(path, overrides, configs())
    flag = Override("judge.checks_score", "strict", "--checks-score")
    assert load_config(path, [*overrides, flag], configs()).judge.checks_score == "strict"


@pytest.mark.parametrize(
    ("flags", "judges"),
    [
        ({}, ("checks", ("reference",))),
        ({"judge": "rubric"}, ("rubric", ())),
        ({"judge": "rubric", "also_judge": ("checks", "pairwise")}, ("rubric", ("checks", "pairwise"))),
        ({"also_judge": ("rubric",)}, ("checks", ("rubric",))),
    ],
)
def test_another_judge_leaves_the_files_further_judges_out(
    tmp_path: Path, flags: dict[str, object], judges: tuple[str, tuple[str, ...]]
) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[study]\njudge = "checks"\nalso_judge = ["reference"]\n' + SPACE)
    overrides = [Override(f"study.{key}", value, f"--{key.replace('_', '-')}") for key, value in flags.items()]
    study = load_config(path, overrides, configs()).study
    assert (study.judge, study.also_judge) == judges


def test_an_unknown_further_judge_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[study]\nalso_judge = ["refrence"]\n' + SPACE)
    with pytest.raises(UserError, match=r"also_judge.*did you mean reference"):
        load_config(path, [], configs())
