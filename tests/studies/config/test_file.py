"""Claims about study files: what ships loads, and every mistake is named by file, key, value and remedy."""

from pathlib import Path

import pytest

from ablations.core.condition import DECODING_PARAMETERS, Condition, DecodingParams
from ablations.core.errors import SearchSpaceError
from ablations.prompts.components import build_parts
from ablations.studies.conditions.config import ConditionsConfig
from ablations.studies.config.config import KindConfig, StudyConfig
from ablations.studies.config.file import SEARCH_SPACES, find_study_file
from ablations.studies.config.space import Choices, Range
from tests.support.specs import inside, load

SHIPPED = sorted(SEARCH_SPACES.glob("*.toml"))
BASELINE = "[study.baseline]\ntemperature = 0.0\ntop_p = 1.0\n"
TEMPERATURE = "[parameters.temperature]\nlow = 0.0\nhigh = 1.0\nstep = 0.5\n"
TOP_P = '[parameters.top_p]\nlow = 0.5\nhigh = 1.0\nrequires = "temperature > 0"\n'


def read(tmp_path: Path, text: str) -> StudyConfig[KindConfig]:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_a_file_becomes_space_baseline_engine_and_tables(tmp_path: Path) -> None:
    study = read(tmp_path, f"[study]\ntrials = 7\n{BASELINE}{TEMPERATURE}{TOP_P}[engine]\nmax_model_len = 512\n")
    assert study.name == "mine"
    assert study.space.names == ("temperature", "top_p")
    assert study.space["temperature"].domain == Range(0.0, 1.0, 0.5)
    assert str(study.space["top_p"].requires) == "temperature > 0"
    assert (study.baseline, study.engine) == ({"temperature": 0.0, "top_p": 1.0}, {"max_model_len": 512})
    assert isinstance(study.kind, ConditionsConfig)
    assert (study.kind.trials, study.kind.levels, study.mode) == (7, 3, "ablation")
    assert study.text == study.path.read_text()


def test_lists_of_stop_strings_are_one_choice_each(tmp_path: Path) -> None:
    study = read(tmp_path, '[study.baseline]\nstop = ["b", "a"]\n[parameters.stop]\nchoices = ["none", ["b", "a"]]\n')
    assert study.space["stop"].domain == Choices(("none", ("b", "a")))
    assert study.baseline["stop"] == ("b", "a")


def test_a_parameter_without_effect_at_the_baseline_is_neutral_there_where_it_is_left_out(tmp_path: Path) -> None:
    study = read(tmp_path, f"[study.baseline]\ntemperature = 0.0\n{TEMPERATURE}{TOP_P}")
    assert study.baseline == {"temperature": 0.0, "top_p": 1.0}


MISTAKES = {
    "unknown key of the file": ("[studdy]\n" + TEMPERATURE, "unknown key 'studdy' in the file; did you mean study?"),
    "unknown key of study": ("[study]\ntrails = 3\n" + TEMPERATURE, "'trails' in [study]; did you mean trials?"),
    "unknown key of baseline": (
        f"[study.baseline]\ntemprature = 0.0\n{TEMPERATURE}",
        "'temprature' in [study.baseline]; did you mean temperature?",
    ),
    "unknown key of a parameter": (
        BASELINE + "[parameters.temperature]\nlow = 0.0\nhihg = 1.0\n",
        "'hihg' in [parameters.temperature]; did you mean high?",
    ),
    "unknown parameter": (
        BASELINE + "[parameters.repitition_penalty]\nlow = 1.0\nhigh = 1.2\n",
        "[parameters.repitition_penalty] is not a parameter; did you mean repetition_penalty?",
    ),
    "no parameter": ("[study]\n", "no parameter; add a table such as [parameters.temperature]"),
    "empty range": (
        BASELINE + "[parameters.temperature]\nlow = 1.0\nhigh = 0.5\n",
        "parameters.temperature: the range low = 1, high = 0.5 is empty; low must be below high",
    ),
    "range without an end": (
        BASELINE + "[parameters.temperature]\nlow = 1.0\n",
        "parameters.temperature: a parameter needs low and high, or choices; add them",
    ),
    "choices beside a range": (
        BASELINE + "[parameters.top_p]\nchoices = [0.5, 1.0]\nlow = 0.5\n",
        "parameters.top_p: give either choices = [...] or low and high, not low",
    ),
    "choices that are no list": (BASELINE + "[parameters.top_p]\nchoices = 0.5\n", "parameters.top_p: give either"),
    "a bound of the wrong type": (
        BASELINE + '[parameters.temperature]\nlow = "0"\nhigh = 1.0\n',
        "parameters.temperature: low = '0' is not a number; give a number",
    ),
    "a bound that is a boolean": (
        BASELINE + "[parameters.temperature]\nlow = 0.0\nhigh = true\n",
        "parameters.temperature: high = True is not a number",
    ),
    "log of the wrong type": (
        BASELINE + "[parameters.top_p]\nlow = 0.5\nhigh = 1.0\nlog = 1\n",
        "parameters.top_p: log = 1 is neither true nor false",
    ),
    "requires of the wrong type": (
        BASELINE + TEMPERATURE + "[parameters.top_p]\nlow = 0.5\nhigh = 1.0\nrequires = 5\n",
        "parameters.top_p: requires = 5 is not a comparison",
    ),
    "range of names": (
        BASELINE + "[parameters.stop]\nlow = 0\nhigh = 1\n",
        "parameters.stop: this parameter has no range; give choices = [...]",
    ),
    "range beyond the parameter's own": (
        BASELINE + "[parameters.temperature]\nlow = 0.0\nhigh = 5.0\nstep = 1.0\n",
        "parameters.temperature: temperature = 5 is out of range; allowed: 0 to 2",
    ),
    "choice of the wrong type": (
        BASELINE + "[parameters.max_tokens]\nchoices = [16, 32.5]\n",
        "parameters.max_tokens: max_tokens = 32.5 is not a whole number; give a whole number",
    ),
    "choice of an unknown template": (
        BASELINE + '[parameters.template]\nchoices = ["urial", "urial-v7"]\n',
        "parameters.template: template = 'urial-v7' is not a known template; did you mean urial-v6?",
    ),
    "range through the gap above temperature 0": (
        BASELINE + "[parameters.temperature]\nlow = 0.0\nhigh = 1.0\n",
        "parameters.temperature: the range holds temperatures between 0 and 0.01",
    ),
    "baseline outside": (
        f"[study.baseline]\ntemperature = 0.7\n{TEMPERATURE}",
        "study.baseline.temperature = 0.7 lies outside parameters.temperature (0 to 1 in steps of 0.5); choose a value",
    ),
    "baseline outside where it has no effect": (
        f"[study.baseline]\ntemperature = 0.0\ntop_p = 0.3\n{TEMPERATURE}{TOP_P}",
        "study.baseline.top_p = 0.3 lies outside parameters.top_p (0.5 to 1)",
    ),
    "baseline without a varied parameter": (
        f"[study.baseline]\ntop_p = 1.0\n{TEMPERATURE}",
        "study.baseline does not set temperature, which is varied; add temperature = ... (within 0 to 1 in",
    ),
    "baseline of an impossible value": (
        f"[study.baseline]\ntemperature = 0.0\ntop_k = -5\n{TEMPERATURE}",
        "study.baseline.top_k = -5 is out of range",
    ),
    "baseline of the wrong type": (
        f"[study.baseline]\ntemperature = 0.0\nsystem_prompt = true\n{TEMPERATURE}",
        "study.baseline.system_prompt = True is not a name; give a text",
    ),
    "requires what is varied later": (
        BASELINE + TOP_P + TEMPERATURE,
        "top_p requires temperature > 0, but temperature is not varied before it; put its table first",
    ),
    "study key of the wrong type": (
        f'[study]\ntrials = "many"\n{BASELINE}{TEMPERATURE}',
        "study.trials = 'many' is of the wrong type; give a whole number",
    ),
    "study key that is a boolean": (f"[study]\nlimit = true\n{BASELINE}{TEMPERATURE}", "study.limit = True is of"),
    "unknown mode": (f'[study]\nmode = "serch"\n{BASELINE}{TEMPERATURE}', "'serch' is not known; did you mean search?"),
    "unknown sampler": (f'[study]\nsampler = "sobol"\n{BASELINE}{TEMPERATURE}', "study.sampler = 'sobol' is not known"),
    "study that is no table": ("study = 3\n" + TEMPERATURE, "study = 3 is not a table; write [study]"),
    "parameter that is no table": (
        BASELINE + "[parameters]\ntemperature = 3\n",
        "parameters.temperature = 3 is not a table; write [parameters.temperature]",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_by_file_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SearchSpaceError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("sampler", ["grid", "brute"])
def test_a_grid_over_a_continuous_range_is_refused(tmp_path: Path, sampler: str) -> None:
    with pytest.raises(SearchSpaceError, match=r"mine\.toml: parameters\.top_p: .*continuous.*give it a step"):
        read(tmp_path, f'[study]\nsampler = "{sampler}"\n{BASELINE}{TEMPERATURE}{TOP_P}')


def test_malformed_toml_is_named_by_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(SearchSpaceError, match=r"mine\.toml is not valid TOML: .*line 2.*correct that line"):
        read(tmp_path, "[study]\ntrials = \n")


def test_a_file_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes("[study]\ndescription = 'für'\n".encode("latin-1"))
    with pytest.raises(SearchSpaceError, match=r"latin\.toml cannot be read.*give a TOML file"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SearchSpaceError, match=r"absent\.toml cannot be read.*give a TOML file"):
        load(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("name", "help_text"), [("decodng", "did you mean decoding?"), ("../search_spaces/decoding", "")]
)
def test_an_unknown_study_is_named_with_the_known_ones(name: str, help_text: str) -> None:
    with pytest.raises(SearchSpaceError, match="is not a known study") as caught:
        find_study_file(name)
    assert help_text in str(caught.value)
    assert str(caught.value).endswith("or give --search-space PATH")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_study_loads_by_its_name_and_says_what_it_asks(path: Path) -> None:
    study = load(find_study_file(path.stem))
    assert study.study.description.endswith(("?", "combination"))
    assert inside(study.space, study.baseline)


def test_the_decoding_grid_has_the_105_conditions_that_its_comment_promises() -> None:
    study = load(find_study_file("decoding_grid"))
    assert "105 conditions" in study.text
    ids = set()
    for values in study.space.grid():
        full = {**study.baseline, **values}
        decoding = DecodingParams(**{name: full[name] for name in DECODING_PARAMETERS})  # type: ignore[arg-type]
        ids.add(Condition(decoding, build_parts(shots=0)).condition_id)
    assert len(ids) == len(study.space.grid()) == 105
