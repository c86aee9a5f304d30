"""Claims about the arms of a comparison: the same examples in the prompt and in training, and what is left out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablations.core.errors import ConditionError, PoolError, PromptError, UserError
from ablations.core.records import Query
from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import Tokens
from ablations.models.training.samples import make_samples
from ablations.studies.icl_vs_ift.config import TUNED_WAYS, TuningConfig
from ablations.studies.icl_vs_ift.plan import Arm, TuningPlan
from analysis.demonstrations.ways import ALIGNED, ICL, IFT, URIAL, ZERO_SHOT
from tests.support.arms import plan_of, spec_of
from tests.support.colours import COLOURS, write_pool
from tests.support.fakes import make_queries


@pytest.fixture
def pool(tmp_path: Path) -> str:
    return write_pool(tmp_path / "pool.jsonl")


def of_way(plan: TuningPlan, way: str) -> list[Arm]:
    return [arm for arm in plan.arms if arm.way == way]


def test_references_come_first_then_both_ways_for_each_size(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    plan = plan_of(spec_of(tmp_path, pool), tiny)
    assert [(arm.way, arm.examples) for arm in plan.arms] == [
        *((ZERO_SHOT, 0), (URIAL, 0), (ALIGNED, 0)),
        *((ICL, 1), (IFT, 1), (ICL, 2), (IFT, 2)),
    ]
    assert [arm.number for arm in plan.arms] == list(range(7))
    assert len({arm.condition.condition_id for arm in plan.arms}) == 7
    assert plan_of(spec_of(tmp_path, pool), tiny, aligned=None).arms[2].way == ICL


@pytest.mark.parametrize("draws", [1, 3])
def test_the_prompt_shows_what_training_learns_and_sizes_of_a_draw_are_nested(
    draws: int, pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, draws=draws, sizes=(1, 2, 3))
    shown = {(arm.examples, arm.draw): arm.condition.prompt.shots for arm in of_way(plan, ICL)}
    learned = {(arm.examples, arm.draw): arm.job.samples for arm in of_way(plan, IFT) if arm.job is not None}
    assert shown.keys() == learned.keys()
    assert len(shown) == 3 * draws
    for place, examples in shown.items():
        assert list(learned[place]) == make_samples(examples, spec.baseline.prompt, Tokens(tiny))
        assert len(learned[place]) == 2 * place[0]
    for draw in range(draws):
        assert shown[3, draw][:2] == shown[2, draw]
    assert len({shown[3, draw] for draw in range(draws)}) == draws


def test_the_tuned_model_is_asked_as_it_was_trained_and_by_other_weights(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, draws=2)
    for arm in of_way(plan, IFT):
        assert arm.condition.prompt == spec.baseline.prompt
    assert len({arm.condition.weights for arm in of_way(plan, IFT)}) == 4
    assert {arm.condition.weights for arm in (*of_way(plan, ICL), *of_way(plan, ZERO_SHOT))} == {""}


def test_sizes_that_the_context_does_not_hold_are_tuned_alone_and_named(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, pool)
    needs = [arm.condition for arm in of_way(plan_of(spec, tiny, sizes=(1, 2, 3, 4)), ICL)]
    assert len(needs) == 4
    plan = plan_of(spec, tiny, context_length=90, sizes=(1, 2, 3, 4))
    kept = [arm.examples for arm in of_way(plan, ICL)]
    assert kept == list(range(1, len(kept) + 1))
    assert 0 < len(kept) < 4
    assert [arm.examples for arm in of_way(plan, IFT)] == [1, 2, 3, 4]
    left_out = [note for note in plan.notes if "only fine-tuning continues" in note]
    assert len(left_out) == 1
    assert left_out[0].startswith(f"{len(kept) + 1} examples of")
    rest = ", ".join(map(str, range(len(kept) + 1, 5)))
    assert left_out[0].endswith(f"the context holds 90: only fine-tuning continues with {rest}")


def test_examples_without_answers_or_too_long_are_left_out_of_both_ways_and_named(
    tiny: ResolvedModel, tmp_path: Path
) -> None:
    long = {"id": "long-one", "turns": ["what is it"], "answers": ["it " * 100]}
    silent = {"id": "silent-one", "turns": ["what"], "answers": [""]}
    blank = {"id": "blank-one", "turns": ["what"], "answers": ["  "]}
    spec = spec_of(tmp_path, write_pool(tmp_path / "pool.jsonl", more=[long, silent, blank]))
    plan = plan_of(spec, tiny, sizes=(4,), max_tokens=100)
    notes = "\n".join(plan.notes)
    assert "1 of 7 examples of" in notes
    assert "lack an answer and are left out of both ways: silent-one, blank-one" in notes
    assert "are longer than 100 tokens and are left out of both ways: long-one" in notes
    shown = {one.id for arm in of_way(plan, ICL) for one in arm.condition.prompt.shots}
    learned = {one.example for arm in of_way(plan, IFT) if arm.job is not None for one in arm.job.samples}
    assert shown == learned == {f"example-{thing}" for thing in COLOURS}


def test_more_examples_than_the_pool_holds_are_refused(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"holds 4 examples .* asks for 5; lower --sizes"):
        plan_of(spec_of(tmp_path, pool), tiny, sizes=(1, 5))
    with pytest.raises(PoolError, match="asks for 3 and 2 held out for the learning rate"):
        plan_of(spec_of(tmp_path, pool), tiny, sizes=(3,), tune_learning_rate=True, held_out=2)


def test_what_is_held_out_for_the_learning_rate_is_learned_and_shown_in_no_draw(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    plan = plan_of(spec_of(tmp_path, pool), tiny, sizes=(1, 2), draws=3, tune_learning_rate=True, held_out=2)
    (held_out,) = {arm.held_out for arm in of_way(plan, IFT)}
    apart = {one.example for one in held_out}
    assert len(held_out) == 4
    assert not apart & {one.example for arm in plan.jobs if arm.job is not None for one in arm.job.samples}
    assert not apart & {one.id for arm in of_way(plan, ICL) for one in arm.condition.prompt.shots}
    plain = plan_of(spec_of(tmp_path, pool), tiny, sizes=(1, 2))
    assert {arm.condition.weights for arm in plan.jobs}.isdisjoint(arm.condition.weights for arm in plain.jobs)


def test_each_pool_is_a_factor_of_its_own(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, pool)
    other = spec_of(tmp_path, write_pool(tmp_path / "other.jsonl", more=[{"query": "what", "answer": "snow"}]))
    both = replace(spec, more_pools=(other.prepared,) if other.prepared else ())
    plan = plan_of(both, tiny, sizes=(2,), aligned=None)
    assert [(arm.way, arm.pool) for arm in plan.arms[2:]] == [
        *((ICL, pool), (IFT, pool)),
        *((ICL, str(tmp_path / "other.jsonl")), (IFT, str(tmp_path / "other.jsonl"))),
    ]


def test_each_way_decodes_as_it_is_told(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    decoding = {"icl": {"repetition_penalty": 1.15}, "ift": {"temperature": 0.5}}
    plan = plan_of(spec_of(tmp_path, pool), tiny, **decoding)
    for arm in plan.arms:
        params = arm.condition.decoding
        assert params.repetition_penalty == (1.15 if arm.way in (ICL, URIAL) else 1.0)
        assert params.temperature == (0.5 if arm.way == IFT else 0.0)
        assert params.max_tokens == 12


def test_urials_line_is_left_out_where_its_demonstrations_say_what_a_query_asks(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    from ablations.prompts.components import built_in_demonstrations

    asked = built_in_demonstrations()[1].query
    queries = (*make_queries(2), Query("leaking", "", (asked,)))
    plan = plan_of(spec_of(tmp_path, pool, queries=queries), tiny)
    assert of_way(plan, URIAL) == []
    assert plan.notes[0].startswith("URIAL's line is left out: demonstration demo-02")


def test_a_baseline_with_demonstrations_is_refused(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, pool)
    shown = replace(spec, config=replace(spec.config, baseline={**spec.config.baseline, "shots": 1}))
    with pytest.raises(UserError, match="set shots = 0"):
        plan_of(shown, tiny)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sizes": ()}, "no numbers of examples"),
        ({"sizes": (0, 3)}, r"tuning\.sizes = \[0, 3\] is out of range"),
        ({"sizes": (3, 3)}, "name a size twice"),
        ({"draws": 0}, r"tuning\.draws = 0 is out of range"),
        ({"max_tokens": -1}, r"tuning\.max_tokens = -1"),
        ({"pools": ("a", "a")}, "name each pool once"),
        ({"method": "qlora"}, "'qlora' is not known"),
        ({"epochs": 0}, r"tuning\.epochs = 0"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        TuningConfig(**options)


def test_what_is_set_and_has_no_effect_is_said(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    given: dict[str, Any] = {"rank": 4, "target_modules": ("q_proj",), "held_out": 2}
    of_adapters = [f"tuning.{key} is of adapters, and of no use here" for key in ("rank", "target_modules")]
    full = plan_of(spec_of(tmp_path, pool), tiny, method="full", **given)
    assert list(full.notes) == [*of_adapters, "tuning.held_out is of no use without --tune-learning-rate"]
    assert plan_of(spec_of(tmp_path, pool), tiny, tune_learning_rate=True, **given).notes == ()


def test_what_has_no_effect_changes_no_weights(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, pool)
    plain = plan_of(spec, tiny, method="full")
    given = plan_of(spec, tiny, method="full", rank=4, alpha=8, target_modules=("q_proj",))
    assert [arm.condition.weights for arm in given.jobs] == [arm.condition.weights for arm in plain.jobs]


def test_engines_are_loaded_one_after_the_other_and_adapters_share_one(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    plan = plan_of(spec_of(tmp_path, pool), tiny, aligned="whole")  # a model may be called as it likes
    loaded = {
        adapts: [(kind, [arm.number for arm in arms]) for kind, arms in plan.by_engine(plan.arms, adapts)]
        for adapts in (True, False)
    }
    assert loaded[True] == [("base", [0, 1, 3, 5]), ("adapting", [4, 6]), ("other", [2])]
    assert loaded[False] == [("base", [0, 1, 3, 5]), ("whole", [4]), ("whole", [6]), ("other", [2])]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, r"tuning\.ift: temperature = -1 is out of range"),
        ({"system_prompt": "full"}, r"tuning\.ift takes decoding parameters alone, not 'system_prompt'"),
        ({"temperatur": 0.7}, "not 'temperatur'; did you mean temperature"),
    ],
)
def test_a_ways_decoding_is_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        TuningConfig(ift=values)


def test_where_no_size_fits_the_context_there_is_nothing_to_compare(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    with pytest.raises(PromptError, match=r"nothing to compare with: 3 examples of .* raise --engine max_model_len"):
        plan_of(spec_of(tmp_path, pool), tiny, context_length=60, sizes=(3, 4))


def test_conversations_that_do_not_take_turns_are_left_out_and_counted(tiny: ResolvedModel, tmp_path: Path) -> None:
    said = [{"role": role, "content": "snow"} for role in ("assistant", "user", "user")]
    rows = [{"messages": said}, {"messages": said[1:]}]
    spec = spec_of(tmp_path, write_pool(tmp_path / "pool.jsonl", more=rows))
    assert spec.prepared is not None
    assert "2 conversations are left out: they are not of user and assistant taking turns" in spec.prepared.notes


def test_training_data_that_says_what_a_query_asks_is_dropped_from_both_ways(
    tiny: ResolvedModel, tmp_path: Path
) -> None:
    leak = {"id": "leak", "turns": ["what is it", "Question 1, turn 1!"], "answers": ["snow", "snow"]}
    pool = write_pool(tmp_path / "pool.jsonl", more=[leak])
    spec = spec_of(tmp_path, pool, queries=make_queries(3))
    plan = plan_of(spec, tiny, sizes=(4,))
    learned = {one.example for arm in plan.jobs if arm.job is not None for one in arm.job.samples}
    assert "leak" not in learned
    assert spec.prepared is not None
    assert "demonstration leak is query q1 turn 2" in spec.prepared.notes


def test_the_ways_of_the_tables_are_those_of_analysis() -> None:
    assert (ICL, IFT) == TUNED_WAYS
