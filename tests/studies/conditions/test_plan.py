"""Claims about planning a study: what is dropped, left out or refused before anything runs."""

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablations.cli.arguments import RunArguments
from ablations.cli.parser import parse
from ablations.cli.progress import ConsoleReporter
from ablations.core.errors import ConditionError, PoolError, PromptError, SearchSpaceError, UsageError
from ablations.datasets.queries import load_queries
from ablations.prompts.components import built_in_demonstrations
from ablations.studies.conditions.plan import fitted
from ablations.studies.config.config import load_config
from ablations.studies.greedy.config import GreedyConfig
from ablations.studies.kind import Plan
from ablations.studies.planning.inputs import open_inputs
from ablations.studies.registry import configs, find_kind
from tests.support.fakes import FakeBackend, make_queries

SPACE = """
[study]
design = "factorial"
trials = 40
[study.baseline]
temperature = 0.0
shots = 0
source = "random"
draw = 0
[pool]
name = "examples"
[parameters.shots]
choices = [0, 1, 4, 9]
[parameters.source]
choices = ["random", "first", "greedy"]
requires = "shots > 0"
[parameters.draw]
choices = [0, 1]
requires = "source == random"
"""
PROMPT = "Be kind.\n\n# Query:\n```\n{query}\n```\n\n# Answer:\n```\nYes.\n```\n"


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    """Plan what the flags say, in an empty folder of results."""

    def made(*arguments: str, space: str = SPACE) -> Plan:
        path = tmp_path / "space.toml"
        path.write_text(space)
        given = ["run", "--search-space", str(path), "--mlruns", str(tmp_path / "mlruns"), "--limit", "4", *arguments]
        asked = parse(given)
        assert isinstance(asked, RunArguments)
        config = load_config(path, asked.overrides, configs())

        async def plan() -> Plan:
            reporter = ConsoleReporter(Console(file=io.StringIO()))
            async with open_inputs(config, asked.places, reporter) as inputs:
                made: Plan = await find_kind(config.mode).plan(inputs)
                return made

        return asyncio.run(plan())

    return made


def write_greedy(folder: Path, name: str = "greedy-search", selection: tuple[str, ...] = ()) -> Path:
    path = folder / "mlruns" / "results" / name / "prompt.txt"
    path.parent.mkdir(parents=True)
    path.write_text(PROMPT.format(query="Where do swifts sleep?") + PROMPT.format(query="Who was first?")[9:])
    path.with_name("selection.json").write_text(json.dumps(selection))
    return path


def notes(study: Plan) -> str:
    assert study.spec.prepared is not None
    return "\n".join(study.spec.prepared.notes)


def test_without_a_greedy_search_its_source_is_left_out_by_name(planned: Any) -> None:
    study = planned()
    assert study.spec.space["source"].domain.values() == ("random", "first")
    assert "it is left out (run --study greedy-search first)" in notes(study)


def test_a_greedy_prompt_is_found_by_its_study_and_larger_numbers_of_it_are_no_conditions(
    planned: Any, tmp_path: Path
) -> None:
    ids = tuple(query.id for query in load_queries("instructions"))
    write_greedy(tmp_path, "ours", ids)
    study = planned("--greedy", "ours")
    shown = {(point.values["shots"], point.values.get("source")) for point in study.spec.design}
    held = {(number, source) for number in (1, 4, 9) for source in ("random", "first")}
    assert shown == {(0, None), (1, "greedy")} | held
    assert "the greedy prompt was chosen by 4 of the 4 queries" in notes(study)


def test_a_greedy_search_that_is_asked_for_and_missing_is_refused(planned: Any) -> None:
    with pytest.raises(UsageError, match=r"does not exist; run --study greedy-search first, or give --greedy FILE"):
        planned("--greedy", "nowhere")


def test_a_demonstration_that_a_query_asks_is_dropped_and_named(planned: Any, tmp_path: Path) -> None:
    asked = load_queries("instructions")
    rows = [{"query": f"  {query.turns[0].upper()}", "answer": "No."} for query in asked]
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in [{"query": "Why?", "answer": "So."}, *rows]))
    space = SPACE.replace(', "greedy"', "").replace("[0, 1, 4, 9]", "[0, 1]")
    study = planned("--pool", str(pool), space=space)
    assert study.spec.prepared is not None
    assert len(study.spec.prepared.overlaps) == 4  # of the four queries that are asked
    assert "4 demonstrations equal or nearly equal an evaluation query and are dropped" in notes(study)
    kept = planned("--pool", str(pool), "--allow-overlap", space=space)
    assert kept.spec.prepared is not None
    assert len(kept.spec.prepared.chooser.everything) == 49
    backend, judge = FakeBackend().identity.to_dict(), {"judge": "fake"}
    assert kept.spec.identity(backend, judge)["pool"]["allow_overlap"] is True
    assert kept.spec.identity(backend, judge) != study.spec.identity(backend, judge)


def test_a_prompt_file_that_shows_a_query_is_refused_unless_that_is_allowed(planned: Any, tmp_path: Path) -> None:
    space = SPACE.split("[study]")[0] + "[study.baseline]\ntemperature = 0.0\n[parameters.temperature]\n"
    space += "choices = [0.0, 1.0]\n"
    path = tmp_path / "prompt.txt"
    asked = planned(space=space).spec.queries[0]
    path.write_text(PROMPT.format(query=asked.turns[0]))
    with pytest.raises(UsageError, match=f"1 is query {asked.id} turn 1.*--allow-overlap, which is recorded"):
        planned("--prompt-file", str(path), space=space)
    study = planned("--prompt-file", str(path), "--allow-overlap", space=space)
    assert study.spec.baseline.prompt.system_prompt == path.read_text()


def test_a_greedy_search_starts_with_a_prompt_file_taken_apart_and_asks_first_turns(
    planned: Any, tmp_path: Path
) -> None:
    path = write_greedy(tmp_path)
    space = '[study]\nmode = "greedy-search"\n[study.baseline]\ntemperature = 0.0\n[pool]\nname = "examples"\n'
    study = planned("--prompt-file", str(path), "--rounds", "1", "--candidates", "5", space=space)
    parts = study.spec.baseline.prompt
    assert parts.system_prompt == "Be kind.\n"
    assert [one.query for one in parts.shots] == ["Where do swifts sleep?", "Who was first?"]
    assert all(len(query.turns) == 1 for query in study.spec.queries)
    assert study.spec.config.kind == GreedyConfig(rounds=1, candidates=5)


def test_options_of_a_greedy_search_mean_nothing_elsewhere(planned: Any) -> None:
    with pytest.raises(
        UsageError, match=r"--rounds: of no use to an ablation .*; drop it, or run a study of the mode greedy-search"
    ):
        planned("--rounds", "1")
    with pytest.raises(
        UsageError,
        match=r"--no-racing: of no use to an ablation .*every condition to the end",
    ):
        planned("--no-racing")
    assert not planned("--no-racing", "--mode", "search", "--sampler", "tpe", "--design", "one-factor").spec.prunes


def test_a_greedy_search_that_varies_parameters_is_refused(planned: Any) -> None:
    with pytest.raises(SearchSpaceError, match="a greedy search varies the demonstrations alone"):
        planned(space=SPACE.replace('design = "factorial"\ntrials = 40', 'mode = "greedy-search"'))


def test_the_style_of_a_pool_in_one_style_is_not_varied_and_that_is_said(planned: Any) -> None:
    space = '[study.baseline]\ntemperature = 0.0\nstyle = "warm"\n[parameters.style]\nchoices = ["warm", "terse"]\n'
    space += "[parameters.temperature]\nchoices = [0.0, 1.0]\n"
    study = planned("--pool", "examples", space=space)
    assert study.spec.space.names == ("temperature",)
    assert "style is left out of what is varied: the pool has its demonstrations in one style" in notes(study)


def test_an_unknown_pool_is_named_with_the_nearest_known_one(planned: Any) -> None:
    with pytest.raises(
        PoolError, match="the pool 'exampels' is neither a built-in pool nor a file; did you mean examples"
    ):
        planned("--pool", "exampels")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[pool]\n", "[pool]\nnam = 1\n"), r"unknown key 'nam' in \[pool\]; did you mean name"),
        (("[pool]\n", '[pool]\nfit = "cut"\n'), "pool.fit = 'cut' is not known"),
        (("[pool]\n", "[pool]\nmax_tokens_each = 0\n"), "pool.max_tokens_each = 0 is out of range; give 1 or more"),
        (('"first", "greedy"', '"first", "greddy"'), "source = 'greddy' is not known; did you mean greedy"),
        (("draw = 0", "draw = -1"), "draw = -1 is not a whole number from 0 on"),
        (('design = "factorial"', 'design = "listed"'), "a list of conditions and the design 'listed' belong together"),
    ],
)
def test_a_study_file_that_cannot_be_is_refused_with_key_and_remedy(
    planned: Any, change: tuple[str, str], message: str
) -> None:
    with pytest.raises((SearchSpaceError, ConditionError, UsageError), match=message):
        planned(space=SPACE.replace(*change))


def words(study: Plan, context: int) -> Any:
    """Fit a study into a context of so many words."""
    return asyncio.run(fitted(replace(study.spec, queries=make_queries()), FakeBackend(context_length=context)))


def test_numbers_that_the_context_does_not_hold_are_left_out_with_the_largest_that_fits(planned: Any) -> None:
    study = planned(
        space=SPACE.replace("max_tokens", "").replace("temperature = 0.0", "temperature = 0.0\nmax_tokens = 8")
    )
    spec = words(study, 700)
    kept = spec.space["shots"].domain.values()
    found = [note for note in spec.prepared.notes if note.startswith("the context holds 700 tokens")]
    assert kept == (0, 1, 4)
    assert len(found) == 1
    assert "9 demonstrations are left out" in found[0]
    most = int(found[0].split(", and ")[1].split()[0])
    assert 4 <= most < 9
    assert words(study, 10_000).space == study.spec.space


def test_numbers_that_the_pool_does_not_hold_are_left_out(planned: Any) -> None:
    spec = words(planned(space=SPACE.replace("[0, 1, 4, 9]", "[0, 1, 100]")), 10_000)
    assert spec.space["shots"].domain.values() == (0, 1)
    assert "the pool holds 64: 100 demonstrations are left out" in spec.prepared.notes


def test_a_context_that_holds_next_to_nothing_is_refused(planned: Any) -> None:
    with pytest.raises(PromptError, match="too little of the study is left"):
        words(planned(), 20)


def test_a_greedy_prompt_is_all_that_is_left_where_it_is_missing(planned: Any) -> None:
    with pytest.raises(UsageError, match="the source greedy needs the prompt of a greedy search"):
        planned(space=SPACE.replace('"random", "first", "greedy"', '"random", "greedy"'))


def test_numbers_that_the_pool_does_not_hold_are_refused_where_nothing_is_left_out(planned: Any) -> None:
    study = planned(space=SPACE.replace("[0, 1, 4, 9]", "[0, 1, 100]").replace(', "greedy"', ""))
    with pytest.raises(SearchSpaceError, match="shots = 100 is out of range; the pool 'examples' has 0 to 64"):
        _ = study.spec.design


def test_numbers_that_the_greedy_prompt_does_not_have_are_said(planned: Any, tmp_path: Path) -> None:
    write_greedy(tmp_path)
    assert "the greedy prompt holds 2: 4, 9 demonstrations of it are left out" in notes(planned())


def test_the_start_of_a_greedy_search_is_compared_with_the_queries_too(planned: Any, tmp_path: Path) -> None:
    asked = built_in_demonstrations()[0].query
    rows = [
        {"id": f"own{n}", "turns": [text], "references": ["So."]} for n, text in enumerate((asked, "A?", "B?", "C?"))
    ]
    queries = tmp_path / "queries.jsonl"
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    space = '[study]\nmode = "greedy-search"\n[study.baseline]\ntemperature = 0.0\n[pool]\nname = "examples"\n'
    with pytest.raises(UsageError, match=r"the prompt shows what the evaluation asks .* is query own0 turn 1"):
        planned("--queries", str(queries), space=space)
    planned("--queries", str(queries), "--allow-overlap", space=space)


def test_a_chosen_prompt_says_by_which_queries_it_was_chosen_when_it_is_used_as_it_is(
    planned: Any, tmp_path: Path
) -> None:
    path = write_greedy(tmp_path, selection=tuple(query.id for query in load_queries("instructions")))
    space = "[study.baseline]\ntemperature = 0.0\n[parameters.temperature]\nchoices = [0.0, 1.0]\n"
    study = planned("--prompt-file", str(path), space=space)
    assert "the greedy prompt was chosen by 4 of the 4 queries" in notes(study)


def test_greedy_means_nothing_to_a_study_without_that_source(planned: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--greedy is of no use to space"):
        planned("--greedy", str(write_greedy(tmp_path)), space=SPACE.replace(', "greedy"', ""))


def test_a_system_prompt_that_makes_prompts_longer_is_counted_and_a_range_keeps_its_step(planned: Any) -> None:
    space = SPACE.replace("choices = [0, 1, 4, 9]", "low = 0\nhigh = 20\nstep = 5").replace(
        "[parameters.shots]", '[parameters.system_prompt]\nchoices = ["none", "full"]\n[parameters.shots]'
    )
    space = space.replace("temperature = 0.0", 'temperature = 0.0\nmax_tokens = 8\nsystem_prompt = "none"')
    without = words(planned(space=space.replace('"none", "full"', '"none", "short"')), 900)
    spec = words(planned(space=space), 900)
    assert without.space["shots"].domain.values() == (0, 5)
    kept = spec.space["shots"].domain
    assert (kept.step, kept.high) in ((5, 5), (5, 10))
    most = [
        int(note.split(", and ")[1].split()[0])
        for one in (without, spec)
        for note in one.prepared.notes
        if "tokens:" in note
    ]
    assert most[0] > most[1]


PLAIN = "[study.baseline]\ntemperature = 0.0\n[parameters.temperature]\nchoices = [0.0, 1.0]\n"


def test_as_many_queries_are_held_back_as_the_study_has_unless_another_number_is_given(planned: Any) -> None:
    one, other = planned("--confirm", "2", space=PLAIN), planned("--confirm", "2", "--held-back", "7", space=PLAIN)
    assert [len(study.confirmation.held_back.queries) for study in (one, other)] == [4, 7]
    assert not {query.id for query in other.spec.queries} & {query.id for query in other.confirmation.held_back.queries}
    assert planned(space=PLAIN).confirmation is None


def test_the_study_itself_is_the_same_whether_it_is_confirmed_or_not(planned: Any) -> None:
    backend = FakeBackend().identity.to_dict()
    studies = [planned("--confirm", "2", space=PLAIN), planned(space=PLAIN)]
    assert len({json.dumps(study.spec.identity(backend, {"judge": "fake"})) for study in studies}) == 1


def test_queries_that_chose_the_greedy_prompt_are_not_held_back(planned: Any, tmp_path: Path) -> None:
    first = [query.id for query in planned("--confirm", "1", space=PLAIN).confirmation.held_back.queries]
    path = write_greedy(tmp_path, "ours", tuple(first[:2]))
    study = planned("--prompt-file", str(path), "--confirm", "1", space=PLAIN)
    held_back = study.confirmation.held_back
    assert len(held_back.queries) == 4
    assert not {query.id for query in held_back.queries} & set(first[:2])
    assert "2 queries are passed over" in held_back.notes[0]


def test_queries_that_the_pool_shows_are_not_held_back_unless_overlap_is_allowed(planned: Any, tmp_path: Path) -> None:
    unseen = planned("--confirm", "1", space=PLAIN).confirmation.held_back.queries
    pool = tmp_path / "pool.jsonl"
    rows = [{"query": unseen[0].turns[0], "answer": "Yes."}, {"query": "Is this mine?", "answer": "Yes."}]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    space = PLAIN.replace("temperature = 0.0\n[", "temperature = 0.0\nshots = 2\n[")
    given = ("--pool", str(pool), "--confirm", "1")
    study = planned(*given, space=space)
    assert unseen[0].id not in {query.id for query in study.confirmation.held_back.queries}
    assert unseen[0].id in study.confirmation.held_back.notes[0]
    allowed = planned(*given, "--allow-overlap", space=space)
    assert unseen[0].id in {query.id for query in allowed.confirmation.held_back.queries}


def test_held_back_queries_that_the_judge_cannot_judge_are_refused_with_the_remedy(
    planned: Any, tmp_path: Path
) -> None:
    known = planned(space=PLAIN).spec.queries
    path = tmp_path / "answers.json"
    rows = [{"question_id": query.id, "choices": [{"turns": ["a"] * len(query.turns)}]} for query in known]
    path.write_text(json.dumps(rows))
    judge = ("--judge", "pairwise", "--judge-model", "m", "--compare-with", str(path))
    planned(*judge, space=PLAIN)
    with pytest.raises(UsageError, match=r"with the held-back queries, --compare-with .*; or --held-back 0"):
        planned(*judge, "--confirm", "1", space=PLAIN)
    planned(*judge, "--confirm", "1", "--held-back", "0", space=PLAIN)
