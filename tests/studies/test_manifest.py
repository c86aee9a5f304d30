"""Claims about manifests: what the store keeps of a study comes back as it was, also through JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.core.errors import StorageError
from ablations.core.records import Price
from ablations.core.statistics import Scale
from ablations.studies.conditions.plan import ConditionsPlan
from ablations.studies.config.space import Choices, Parameter, Range, Requirement, SearchSpace
from ablations.studies.manifest import StudyManifest
from tests.support.fakes import FakeBackend, FakeJudge
from tests.support.specs import SPACE, changed, make_spec


def manifest_of(folder: Path) -> StudyManifest:
    spec = changed(make_spec(folder, SPACE), trials=8)
    asked = replace(spec.config.study, queries="/somewhere/else/mine.jsonl")
    plan = ConditionsPlan(replace(spec, config=replace(spec.config, study=asked)))
    identity = plan.identity(FakeBackend().identity.to_dict(), FakeJudge().identity)
    return StudyManifest.of(plan, identity, Price(1.0, 2.0), {"fake": Scale(1.0, 10.0)})


def test_a_manifest_survives_the_way_through_json(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path)
    again = StudyManifest.from_dict(json.loads(json.dumps(manifest.to_dict())))
    assert again.to_dict() == manifest.to_dict()
    assert again.space == manifest.space
    assert again.queries == manifest.queries
    assert again.inputs == manifest.inputs
    assert (again.price, again.mode, again.trials) == (Price(1.0, 2.0), "ablation", 8)


def test_the_queries_are_named_like_their_file_and_described(tmp_path: Path) -> None:
    (queries,) = manifest_of(tmp_path).inputs
    assert queries.name == "mine.jsonl"
    assert queries.profile == {
        "rows": 4,
        "turns": 8,
        "with_reference": 4,
        "category writing": 2,
        "category math": 2,
    }


@pytest.mark.parametrize("lost", ["queries", "price", "mode"])
def test_a_manifest_of_another_version_is_said_to_be_one(lost: str, tmp_path: Path) -> None:
    fields = manifest_of(tmp_path).to_dict()
    del fields[lost]
    with pytest.raises(StorageError, match=f"KeyError.'{lost}'.*another version wrote it"):
        StudyManifest.from_dict(fields)


@pytest.mark.parametrize(
    "parameter",
    [
        Parameter("temperature", Range(0.0, 1.0, step=0.1)),
        Parameter("min_p", Range(0.01, 0.5, log=True)),
        Parameter("max_tokens", Range(16, 64, step=16, integer=True)),
        Parameter("stop", Choices(("headings", ("a", "b")))),
        Parameter("top_k", Choices((0, 50))),
    ],
    ids=lambda parameter: parameter.name,
)
def test_a_search_space_survives_the_way_through_json(parameter: Parameter) -> None:
    first = Parameter("repetition_penalty", Range(1.0, 1.3))
    space = SearchSpace((first, replace(parameter, requires=Requirement("repetition_penalty", ">", 1.05))))
    again = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space
    values = again[parameter.name].domain.spread(2)
    assert list(map(type, values)) == list(map(type, parameter.domain.spread(2)))
