"""Every check of IFEval and IFBench against what a careful reader says, and what the official code answers.

`tests/fixtures/checks.jsonl` was written for this project. Its `official` is what lm-evaluation-harness 0.4.13 (IFEval)
and lighteval 0.13.0 (IFBench) answer, over ten draws where they draw at random; `note` says why a reader disagrees.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from ablations.core.records import Check
from ablations.judges.checks.base import KNOWN, Answer
from ablations.judges.checks.ifbench import NOT_CHECKED
from ablations.judges.checks.registry import bind
from tests.conftest import ROOT

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (ROOT / "tests" / "fixtures" / "checks.jsonl").read_text(encoding="utf-8").splitlines()
]
PUBLISHED = {name for name in KNOWN if ":" in name and not name.startswith("answer:")}
DEBATABLE = {"Wait... what?"}
"""Responses of the shared cases that are noted as debatable, where Punkt's reading is kept."""


def verdict(case: dict[str, Any]) -> bool:
    return bind(Check(case["id"], case["kwargs"])).holds(Answer(case["response"]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['response'][:20]!r}")
def test_a_case_is_decided_as_a_careful_reader_decides(case: dict[str, Any]) -> None:
    assert verdict(case) == case["right"], case


def test_the_differences_from_the_official_code_are_those_with_a_note() -> None:
    assert [case for case in CASES if (verdict(case) != case["official"]) != bool(case["note"])] == []


def test_every_published_check_has_a_case_that_passes_and_one_that_fails() -> None:
    seen = defaultdict(set)
    for case in CASES:
        seen[case["id"]].add(case["right"])
    assert {name: right for name, right in seen.items() if len(right) < 2} == {}
    assert set(seen) == PUBLISHED
    assert len(CASES) >= 150


def test_all_ids_of_both_sets_are_known_or_named_with_a_reason() -> None:
    kinds = {"count", "ratio", "words", "sentence", "format", "custom", "repeat"}
    bench = {name for name in PUBLISHED if name.partition(":")[0] in kinds}
    assert len(PUBLISHED - bench) == 25
    assert len(bench) + len(NOT_CHECKED) == 58
    assert not bench & NOT_CHECKED.keys()


@pytest.mark.parametrize("blank", ["", " \n", "\u200b"])
def test_a_blank_answer_follows_no_instruction(blank: str) -> None:
    passed = {case["id"] for case in CASES if bind(Check(case["id"], case["kwargs"])).holds(Answer(blank))}
    assert passed == set()


def test_line_ends_of_windows_change_no_verdict() -> None:
    changed = [
        case
        for case in CASES
        if verdict({**case, "response": case["response"].replace("\r\n", "\n").replace("\n", "\r\n")}) != case["right"]
    ]
    assert changed == []


def test_the_shared_cases_are_decided_as_their_reader_decides(shared_data: Path) -> None:
    path = shared_data / "checks" / "cases.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    differing = {case["response"] for case in cases if verdict(case) != case["right"]}
    assert differing == DEBATABLE
