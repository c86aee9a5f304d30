"""Claims about the store: nothing is lost, nothing is paid for twice, and no password is shown."""

import multiprocessing
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ablations.core.condition import DecodingParams
from ablations.core.errors import StorageError
from ablations.core.records import (
    Completion,
    Judgment,
    PaidReply,
    Prompt,
    Query,
    Role,
    Score,
    TrialRecord,
    TrialState,
    Usage,
)
from ablations.storage.store import ResultKeys, Store, StoredResult, completion_key, judgment_key
from tests.support.rows import row_counts

COMPLETION = Completion("Päris.\n```", 12, 3, "stop", 7)
JUDGMENT = Judgment("reference", Score(6.5), ("raw",), {"similarity": 0.25})
PROMPT = Prompt("q1", 1, "# Query:\nCapital?")
QUERY = Query("q1", "stem", ("Capital?", "And Italy?"), ("Paris.", None))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    server = request.param == "postgresql"
    return request.getfixturevalue("postgres").database() if server else f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url)
    yield opened
    opened.close()


TRIAL = TrialRecord(0, "abc", "t", "t", Role.BASELINE, TrialState.COMPLETE, {"stop": ("a",)}, {}, 6.5)
REPLY = PaidReply("judge-1", "0123", "Rating: [[7]]", Usage(1, 30, 4))


def fill(store: Store, study: str = "s") -> None:
    store.add_study(study, {"model": "m", "levels": 3})
    store.add_trial(study, TRIAL)
    store.add_completion("c", {"prompt": "p"}, COMPLETION)
    store.add_judgment("j", JUDGMENT)
    store.add_audit("judge", {"verdict": "passed"})
    store.add_reply("account", REPLY)
    store.add_results(study, 0, [ResultKeys("q1", 1, "reference", "c", "j")])
    store.add_vectors({"v": b"1234"})
    store.add_note(study, "card", {"about": "this"})
    store.add_tuning("t", {"weights": "w"})


def test_records_come_back_as_they_were_stored(store: Store) -> None:
    fill(store)
    assert store.find_completion("c") == COMPLETION
    assert store.find_judgment("j") == JUDGMENT
    assert store.find_study("s") == {"model": "m", "levels": 3}
    assert store.trials("s") == {0: TRIAL}
    assert (store.find_tuning("t"), store.find_tuning("another")) == ({"weights": "w"}, None)
    assert store.results("s") == [StoredResult(0, "q1", 1, "reference", COMPLETION, JUDGMENT)]


def test_every_paid_reply_counts_once_on_its_payers_account(store: Store) -> None:
    store.add_reply("one", REPLY)
    store.add_reply("one", REPLY)
    store.add_reply("other", REPLY)
    assert store.paid("one") == Usage(2, 60, 8)
    assert store.paid("nobody") == Usage()


def test_a_comparison_with_another_answer_is_another_judgment() -> None:
    query = Query("q", "", ("Why?",))
    keys = {judgment_key("j", query, [COMPLETION], against) for against in ((), ("one",), ("other",))}
    assert len(keys) == 3


def test_what_was_never_stored_is_none_or_empty(store: Store) -> None:
    assert (store.find_completion("c"), store.find_judgment("j"), store.find_study("s")) == (None, None, None)
    assert (store.results("s"), store.trials("s")) == ([], {})


def test_the_first_write_under_a_key_stays(store: Store) -> None:
    fill(store)
    store.add_completion("c", {}, replace(COMPLETION, text="other"))
    store.add_judgment("j", replace(JUDGMENT, replies=("other",)))
    store.add_study("s", {"model": "other"})
    store.add_trial("s", replace(TRIAL, condition_id="other"))
    store.add_results("s", 0, [ResultKeys("q1", 1, "reference", "c", "j")])
    assert store.find_completion("c") == COMPLETION
    assert store.find_judgment("j") == JUDGMENT
    assert store.find_study("s") == {"model": "m", "levels": 3}
    assert store.trials("s")[0].condition_id == "abc"
    assert len(store.results("s")) == 1


def test_a_judgment_that_got_no_reply_may_be_replaced_and_the_newest_audit_counts(store: Store) -> None:
    fill(store)
    store.add_judgment("j", replace(JUDGMENT, replies=("other",)), replace=True)
    judgment = store.find_judgment("j")
    assert judgment is not None
    assert judgment.replies == ("other",)
    store.add_audit("judge", {"verdict": "too weak"})
    assert store.find_audit("judge") == {"verdict": "too weak"}
    assert store.find_audit("another") is None


def test_results_are_ordered_by_trial_query_and_turn_and_belong_to_one_study(store: Store) -> None:
    fill(store)
    fill(store, "other")
    for trial, places in {10: [("q1", 1)], 2: [("q2", 1), ("q1", 2), ("q1", 1)]}.items():
        store.add_results("s", trial, [ResultKeys(*place, "reference", "c", "j") for place in places])
    found = [(result.trial, result.query_id, result.turn) for result in store.results("s")]
    assert found == [(0, "q1", 1), (2, "q1", 1), (2, "q1", 2), (2, "q2", 1), (10, "q1", 1)]


def test_everything_survives_closing_and_opening(store: Store, url: str) -> None:
    fill(store)
    before = row_counts(store)
    store.close()
    again = Store(url)
    tables = ("completions", "judgments", "studies", "results", "trials", "audits", "replies", "vectors", "notes")
    assert row_counts(again) == before == dict.fromkeys((*tables, "tunings"), 1)
    assert again.results("s") == [StoredResult(0, "q1", 1, "reference", COMPLETION, JUDGMENT)]
    again.close()


def test_forgetting_a_study_keeps_what_was_paid_for_and_other_studies(store: Store) -> None:
    fill(store)
    fill(store, "other")
    store.forget_study("s")
    assert (store.find_study("s"), store.trials("s"), store.results("s")) == (None, {}, [])
    assert (store.find_completion("c"), store.find_judgment("j")) == (COMPLETION, JUDGMENT)
    assert len(store.results("other")) == len(store.trials("other")) == 1


BASE: dict[str, Any] = {"model": "m@1", "prompt": PROMPT, "decoding": DecodingParams(temperature=0.5), "seed": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "m@2"},
        {"prompt": replace(PROMPT, text="# Query:\nCapital? ")},
        {"seed": 2},
        *[
            {"decoding": replace(BASE["decoding"], **{name: value})}
            for name, value in {
                "temperature": 0.6,
                "top_p": 0.9,
                "top_k": 5,
                "min_p": 0.1,
                "repetition_penalty": 1.1,
                "presence_penalty": 0.1,
                "frequency_penalty": 0.1,
                "max_tokens": 9,
                "stop": ("x",),
            }.items()
        ],
    ],
)
def test_the_key_of_a_completion_differs_when_a_part_does(change: dict[str, Any]) -> None:
    assert completion_key(**(BASE | change)) != completion_key(**BASE)


def test_the_key_of_a_completion_knows_the_text_and_not_whose_query_it_is() -> None:
    same_text = replace(PROMPT, query_id="other", turn=2)
    assert completion_key(**(BASE | {"prompt": same_text})) == completion_key(**BASE)


@pytest.mark.parametrize(
    ("judge", "query", "completions"),
    [
        ("reference@2", QUERY, [COMPLETION]),
        ("reference@1", replace(QUERY, turns=("Capital?", "And Spain?")), [COMPLETION]),
        ("reference@1", replace(QUERY, references=("Paris!", None)), [COMPLETION]),
        ("reference@1", replace(QUERY, category="math"), [COMPLETION]),
        ("reference@1", QUERY, [replace(COMPLETION, text="Rome.")]),
        ("reference@1", QUERY, [replace(COMPLETION, finish_reason="length")]),
        ("reference@1", QUERY, [COMPLETION, COMPLETION]),
    ],
)
def test_the_key_of_a_judgment_differs_when_a_part_does(
    judge: str, query: Query, completions: list[Completion]
) -> None:
    assert judgment_key(judge, query, completions) != judgment_key("reference@1", QUERY, [COMPLETION])


def test_the_key_of_a_judgment_is_shared_by_equal_answers_of_different_seeds() -> None:
    other_seed = replace(COMPLETION, seed=8, prompt_tokens=99)
    assert judgment_key("j", QUERY, [other_seed]) == judgment_key("j", QUERY, [COMPLETION])


def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match=r"store\.db cannot be used: .*not a database.*move a damaged file away"):
        Store(f"sqlite:///{path}")


def test_a_file_that_is_damaged_is_refused_with_what_to_do(tmp_path: Path) -> None:
    database = tmp_path / "store.db"
    store = Store(f"sqlite:///{database}")
    fill(store)
    damaged = bytes(database.read_bytes())
    store.close()
    database.write_bytes(damaged[:100] + b"\xff" * (len(damaged) - 100))
    with pytest.raises(StorageError, match="move a damaged file away, or name another with --store"):
        row_counts(store)


def test_a_store_of_another_version_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'store.db'}"
    Store(address).close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("ALTER TABLE judgments DROP COLUMN checksum")
    connection.close()
    with pytest.raises(StorageError, match=r"written by another version: its table judgments has no column checksum;"):
        Store(address)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent/store\.db cannot be used"):
        Store(f"sqlite:///{tmp_path / 'absent' / 'store.db'}")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:secret@localhost:1/x",
        "postgresql://user:secret@localhost:port/x",
        "nosuchdialect://user:secret@localhost/x",
        "no-such-dialect://user:secret@localhost/x",
        "postgresql:user:secret@localhost/x",
    ],
)
def test_an_address_that_cannot_be_used_is_shown_without_its_password(address: str) -> None:
    with pytest.raises(StorageError, match=r"localhost.* cannot be used") as caught:
        Store(address)
    assert "secret" not in str(caught.value)


def write_from_another_process(url: str, name: str, barrier: Any, seen: Any) -> None:
    barrier.wait()
    store = Store(url)
    for number in range(20):
        store.add_completion(f"key-{number}", {}, replace(COMPLETION, text=name))
    seen.put([found.text for number in range(20) if (found := store.find_completion(f"key-{number}"))])
    store.close()


def test_processes_that_open_a_new_store_and_write_the_same_keys_agree(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, seen = context.Barrier(3), context.Queue()
    names = ("one", "two", "three")
    writers = [context.Process(target=write_from_another_process, args=(url, name, barrier, seen)) for name in names]
    for writer in writers:
        writer.start()
    texts = [seen.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join(timeout=60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert texts[0] == texts[1] == texts[2]
    assert len(texts[0]) == 20
    assert set(texts[0]) <= set(names)


def open_many_from_another_process(folder: Path, barrier: Any) -> None:
    for number in range(100):
        barrier.wait(timeout=60)
        Store(f"sqlite:///{folder / f'{number}.db'}").close()


def test_processes_that_open_new_files_at_the_same_moment_do_not_find_them_locked(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    openers = [context.Process(target=open_many_from_another_process, args=(tmp_path, barrier)) for _ in range(4)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(timeout=90)
    assert [opener.exitcode for opener in openers] == [0, 0, 0, 0]


def test_vectors_are_found_by_key_and_the_first_one_stays(store: Store) -> None:
    store.add_vectors({"a": b"1", "b": b"2"})
    store.add_vectors({"b": b"other", "c": b"3"})
    assert store.find_vectors(["a", "b", "c", "d"]) == {"a": b"1", "b": b"2", "c": b"3"}
    many = {f"k{number}": b"x" for number in range(1200)}  # more than one query takes
    store.add_vectors(many)
    assert store.find_vectors(list(many)) == many


def test_the_newest_note_of_a_kind_counts_and_goes_with_its_study(store: Store) -> None:
    store.add_note("s", "card", {"about": "this"})
    store.add_note("s", "card", {"about": "that"})
    store.add_note("s", "found", {})
    store.add_note("other", "card", {"about": "another"})
    assert store.notes("s") == {"card": {"about": "that"}, "found": {}}
    store.forget_study("s")
    assert store.notes("s") == {}
    assert store.notes("other") == {"card": {"about": "another"}}


def test_a_trials_exact_prompts_are_known_by_query_and_turn(store: Store) -> None:
    prompt = Prompt("q1", 1, "exactly this")
    store.add_completion("c", {"prompt": prompt.to_dict()}, COMPLETION)
    store.add_judgment("j", JUDGMENT)
    store.add_results("s", 0, [ResultKeys("q1", 1, "reference", "c", "j")])
    store.add_results("s", 1, [ResultKeys("q2", 2, "reference", "c", "j")])
    assert store.prompts("s", 0) == {("q1", 1): "exactly this"}
    assert store.prompts("s", 1) == {("q2", 2): "exactly this"}


def test_a_trials_results_are_recorded_in_place_of_what_was_recorded(store: Store) -> None:
    fill(store)
    store.add_completion("c2", {}, replace(COMPLETION, text="another"))
    store.add_results("s", 0, [ResultKeys("q1", 1, "reference", "c2", "j"), ResultKeys("q1", 2, "reference", "c", "j")])
    assert [result.completion.text for result in store.results("s")] == ["another", COMPLETION.text]
    assert store.answered("s") == {0}


def test_studies_are_listed_with_their_ids(store: Store) -> None:
    ids = [store.add_study(name, {}) for name in ("one", "two")]
    assert store.studies() == dict(zip(("one", "two"), ids, strict=True))


def spoil(store: Store, table: str, key: str) -> None:
    """Change a stored record behind the store's back, as a failing disk does."""
    with store.database._engine.begin() as connection:
        changed = sa.text(f"UPDATE {table} SET record = replace(record, '6.5', '9.5') WHERE key = :key")
        assert connection.execute(changed, {"key": key}).rowcount == 1


def test_a_damaged_record_counts_as_missing_and_can_be_stored_again(store: Store) -> None:
    fill(store)
    assert store.damaged("s") == {}
    spoil(store, "judgments", "j")
    assert store.damaged("s") == {0: {"q1"}}
    with pytest.raises(
        StorageError, match="damaged answers of trial 0 of the study 's'; the study's command run again asks for them"
    ):
        store.results("s")
    assert store.results("s", only=[1]) == []
    assert store.find_judgment("j") is None
    store.add_judgment("j", JUDGMENT)
    assert store.find_judgment("j") == JUDGMENT
    assert store.damaged("s") == {}


def test_a_lost_record_is_damage_too(store: Store) -> None:
    fill(store)
    with store.database._engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM completions"))
    assert store.damaged("s") == {0: {"q1"}}


def test_a_record_of_which_nothing_is_left_counts_as_missing(store: Store) -> None:
    store.add_completion("d", {}, COMPLETION)
    with store.database._engine.begin() as connection:
        connection.execute(sa.text("UPDATE completions SET record = '{}' WHERE key = 'd'"))
    assert store.find_completion("d") is None
