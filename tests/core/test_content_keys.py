"""Claims about content keys: what is stored once is found again, whatever becomes of the code around it.

A value here may change only together with a reason to ask for every stored answer again.
"""

import pytest

from ablations.core.condition import Condition, DecodingParams, content_hash
from ablations.core.prompt import Demonstration, PromptParts
from ablations.core.records import Completion, Prompt, Query
from ablations.datasets.queries import load_queries
from ablations.judges.base import audit_key, judgment_identity
from ablations.models.resolve import ResolvedModel
from ablations.models.training.jobs import Job
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import Sample
from ablations.prompts.components import build_parts
from ablations.prompts.render import render_prompt
from ablations.prompts.templates import URIAL
from ablations.storage.store import completion_key, judgment_key
from ablations.studies.engine.evaluator import request_seed

SAMPLING = DecodingParams(
    temperature=0.7,
    top_p=0.9,
    top_k=50,
    min_p=0.05,
    repetition_penalty=1.1,
    presence_penalty=0.5,
    frequency_penalty=-0.5,
    max_tokens=40,
    stop=("b", "a"),
)
CONVERSATION = Demonstration("d1", "q", "a", (("q2", None),))
CONDITIONS = {
    "plain": Condition(DecodingParams(), build_parts()),
    "sampling": Condition(SAMPLING, build_parts("short", "user-assistant", 2)),
    "bare": Condition(DecodingParams(stop="none"), build_parts("none", "question", 0)),
    "arranged": Condition(
        DecodingParams(stop="fence"),
        build_parts("full", "urial", 5, style="terse", order="reversed", matching="shifted"),
    ),
    "weights": Condition(DecodingParams(), build_parts("none", "chat", 0), weights="abc"),
    "by query": Condition(
        DecodingParams(temperature=1.0),
        PromptParts("rules\n", URIAL, (CONVERSATION,), by_query=(("id", (CONVERSATION, CONVERSATION)),)),
    ),
}
QUERY = Query("7", "math", ("one?", "two?"), ("1", None))
FIRST, SECOND = Completion("text", 10, 4, "stop", 3), Completion("more", 20, 5, "length", 4)


def test_the_hash_of_content() -> None:
    assert content_hash({"b": [1, 2.5, "ä"], "a": None}) == "dd6328f7173f8040"


@pytest.mark.parametrize(
    ("name", "condition_id", "prompt"),
    [
        ("plain", "d232b0ca6d60", "bd67cc62c8769270"),
        ("sampling", "a4610eb14995", "891146300d058933"),
        ("bare", "5018b404cee6", "cd543322178268fe"),
        ("arranged", "3deab728f2f4", "b1213969683fbe3c"),
        ("weights", "8d00f505c189", "30fa6a92d8b7523f"),
        ("by query", "7538e2df73e1", "3333b9b7cf25df9b"),
    ],
)
def test_the_id_of_a_condition_and_the_hash_of_its_prompt(name: str, condition_id: str, prompt: str) -> None:
    condition = CONDITIONS[name]
    assert (condition.condition_id, content_hash(condition.prompt.content())) == (condition_id, prompt)


def test_the_keys_of_completions() -> None:
    sampled = completion_key("model", Prompt("7", 1, "prompt"), CONDITIONS["sampling"].effective, 5)
    templated = completion_key("model", Prompt("7", 1, "prompt", True), CONDITIONS["plain"].effective, 0)
    assert sampled == "b2714fe7bc0375286c294fd5de48b555"
    assert templated == "289e9a1a99e8f457cf94fbcd1f523d08"


def test_the_keys_of_judgments() -> None:
    assert judgment_key("judge", QUERY, [FIRST]) == "abfa633aa0c42c54004d8918e21c36a2"
    assert judgment_key("judge", QUERY, [FIRST, SECOND], ["other"]) == "ec7663b618585d2f982187a47ec1bac2"


def test_the_identities_of_a_judge() -> None:
    identity = {"judge": "reference", "x": 1}
    assert judgment_identity(identity) == "7f02f5d56d404741"
    assert audit_key(identity) == "7f02f5d56d404741c8eba19fa923e03a"


def test_the_seeds_of_requests() -> None:
    assert [request_seed(0, "7", 1, 0), request_seed(3, "7", 2, 1)] == [73357937, 475786599]


def test_the_built_in_queries_and_a_rendered_prompt() -> None:
    assert content_hash([query.to_dict() for query in load_queries("instructions")]) == "8e46bd15895c6800"
    assert content_hash(render_prompt(QUERY, CONDITIONS["plain"].prompt, ["first"]).text) == "3191df026ed6c9fd"


def test_the_key_of_a_training() -> None:
    recipe = Recipe("lora", 2, 1e-4, 4, target_modules=("q_proj",))
    job = Job(ResolvedModel("m", "/somewhere", "sha"), recipe, (Sample("e", 1, (1, 2), (3,)),), trusted=False)
    assert job.key == "c89757c9d64bfe0630ca2a85683211f8"
