"""Claims about records: their JSON round trip, and what they refuse to hold."""

import json
import math
from typing import Any

import pytest

from ablations.core.errors import QueryError
from ablations.core.jsonl import Record
from ablations.core.records import (
    Check,
    Completion,
    Judgment,
    Prompt,
    Query,
    Role,
    Score,
    Stop,
    TrialRecord,
    TrialState,
    Usage,
)
from ablations.core.statistics import Scale
from ablations.models.training.jobs import Failure, Outcome, StepSeen
from ablations.models.training.recipe import Recipe
from ablations.tracking.inputs import DataInput
from ablations.tracking.tracker import ChildPage

STOP = Stop(12, 40, 0, 4.25)
RECORDS: list[Record] = [
    Query("q1", "math", ("2 + 2?", "And doubled?"), ("4", None)),
    Query("q2", "", ("Say “hi”\u2028in German.",)),
    Query("q3", "", ("How many?",), ("3",), ((Check("answer:number", {"value": 3, "tolerance": 0.5}),),)),
    Check("keywords:existence", {"keywords": ["cat", "dog"]}),
    Prompt("q1", 2, "# Query:\n```\n2 + 2?\n```\n"),
    Completion("4\n```\n# Query:", 12, 3, "stop", 2**31 - 1),
    Score(6.25),
    Score(None, "no number in the reply"),
    Judgment("reference", Score(7.0), ("first", "raw reply\n[[7]]"), {"similarity": 0.5}, Usage(2, 30, 4)),
    Judgment("reference", Score(None, "no reference")),
    Usage(3, 100, 20),
    DataInput("instructions", "3e3adf5e3782e808", "evaluation", {"id": "string"}, {"rows": 6}),
    Recipe("lora", 3, 1e-3, 4, target_modules=("q_proj", "v_proj")),
    StepSeen(1, 20, 2.5, 1e-3, 120, 3.5),
    Outcome("0a1b", 240, 60, 7.5, 1_000, 10_000, 1 << 30, ((1, 2.5, 1e-3, 120), (2, 2.25, 5e-4, 240)), 2.125),
    Failure("loss", "the loss of step 3 of 20 is nan"),
    ChildPage("round", 1, "round 1", 1.5, 2.5, {"added": True}, {"gain": None}, {"candidates.json": {"mean": [1.0]}}),
    STOP,
    Scale(0.0, 1.0, 0.06, "no", 0.0),
    TrialRecord(0, "0a1b", "t=0", "baseline", Role.BASELINE, TrialState.COMPLETE, {"stop": ("a", "b")}, {}, 5.0),
    TrialRecord(7, "0a1b", "t=1", "t=1", Role.SAMPLED, TrialState.FAILED, {}, {}, None, "no score"),
    TrialRecord(
        8, "2c", "t=2", "t=2", Role.CANDIDATE, TrialState.STOPPED, {"top_p": 0.5}, {"top_p": 0.5}, 4.5, stopped=STOP
    ),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_the_way_through_json(record: Record) -> None:
    again = type(record).from_json(record.to_json())
    assert again == record
    assert type(again) is type(record)


def test_every_record_type_has_a_round_trip_here() -> None:
    assert {type(record) for record in RECORDS} == set(Record.__subclasses__())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_one_line_of_plain_json(record: Record) -> None:
    line = record.to_json()
    assert "\n" not in line
    assert json.loads(line) == json.loads(json.dumps(record.to_dict()))


def test_a_restored_judgment_holds_a_score_and_not_a_dict() -> None:
    again = Judgment.from_json(Judgment("j", Score(None, "why")).to_json())
    assert again.score.reason == "why"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("  Paris.\n", "Paris."),
        ("Paris.\n```\n", "Paris."),
        ("```python\nprint(1)\n```\nDone.", "python\nprint(1)\n\nDone."),
        ("``` ``` ```", ""),
        ("a `b` c", "a `b` c"),
        ("", ""),
    ],
)
def test_an_answer_has_no_fences_and_no_outer_space(text: str, answer: str) -> None:
    assert Completion(text, 1, 1, "stop", 0).answer == answer


@pytest.mark.parametrize(("reason", "truncated"), [("length", True), ("stop", False)])
def test_only_an_answer_cut_at_max_tokens_is_truncated(reason: str, truncated: bool) -> None:
    assert Completion("x", 1, 1, reason, 0).truncated is truncated


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (None, None, "a number or a reason"),
        (3.0, "because", "a number or a reason"),
        (math.nan, None, "finite"),
        (math.inf, None, "finite"),
    ],
)
def test_a_score_is_a_finite_number_or_a_reason(value: Any, reason: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Score(value, reason)


def test_a_score_of_zero_is_a_number() -> None:
    assert Score(0.0).reason is None


def test_missing_references_are_padded_to_the_turns() -> None:
    assert Query("q", "", ("a", "b"), ("x",)).references == ("x", None)
    assert Query("q", "", ("a", "b")).references == (None, None)


@pytest.mark.parametrize(
    ("turns", "references", "message"),
    [
        ((), (), "has 0 turns"),
        (("a", "b", "c"), (), "has 3 turns"),
        (("a",), ("x", "y"), "1 turns and 2 references"),
        (("a", " \n"), (), "empty turn"),
        (("a", None), (), "empty turn"),
    ],
)
def test_a_query_refuses_impossible_turns_by_its_id(turns: Any, references: Any, message: str) -> None:
    with pytest.raises(QueryError, match=f"'q7'.*{message}"):
        Query("q7", "", turns, references)


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Prompt("q", 1, "text").text = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": None}, "a completion holds a text, not None"),
        ({"prompt_tokens": -1}, "prompt_tokens of a completion is a whole number from 0 on, not -1"),
        ({"completion_tokens": 1.5}, "completion_tokens of a completion .* not 1.5"),
        ({"seed": True}, "seed of a completion .* not True"),
        ({"finish_reason": "abort"}, "not by 'abort'"),
    ],
)
def test_a_completion_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"text": "x", "prompt_tokens": 1, "completion_tokens": 1, "finish_reason": "stop"}
    with pytest.raises(ValueError, match=message):
        Completion(**(given | {"seed": 0} | fields))


@pytest.mark.parametrize(
    ("state", "mean", "reason", "message"),
    [
        (TrialState.COMPLETE, None, None, "trial 3 is complete and has no mean"),
        (TrialState.COMPLETE, 5.0, "no score", "trial 3 is complete and failed because of 'no score'"),
        (TrialState.FAILED, None, None, "trial 3 is failed and failed because of None"),
        (TrialState.STOPPED, math.nan, None, "the mean of trial 3 is a finite number or None, not nan"),
    ],
)
def test_a_trial_that_cannot_be_is_refused(state: TrialState, mean: Any, reason: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrialRecord(3, "0a1b", "t", "t", Role.SAMPLED, state, {}, {}, mean, reason)


def test_a_restored_trial_has_its_types() -> None:
    record = TrialRecord(8, "2c", "t", "t", Role.CANDIDATE, TrialState.STOPPED, {"stop": ("a",)}, {}, 4.5, stopped=STOP)
    again = TrialRecord.from_json(record.to_json())
    assert (again.role, again.state) == (Role.CANDIDATE, TrialState.STOPPED)
    assert isinstance(again.role, Role)
    assert isinstance(again.state, TrialState)
    assert (again.stopped, again.values) == (STOP, {"stop": ("a",)})
