"""The store: completions and judgments by content key, and what each study is made of, in SQL.

Knows neither models nor judges: keys come from `completion_key` and `judgment_key`. It is the record;
Optuna's and MLflow's databases are views that can be rebuilt from it.
"""

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ablations.core.condition import DecodingParams, content_hash
from ablations.core.errors import StorageError, one_line, redacted
from ablations.core.jsonl import JsonObject
from ablations.core.records import Completion, Judgment, PaidReply, Prompt, Query, TrialRecord, Usage
from ablations.storage.database import Database
from ablations.storage.tables import (
    AUDITS,
    COMPLETIONS,
    JUDGMENTS,
    NOTES,
    REPLIES,
    RESULTS,
    STUDIES,
    TRIALS,
    TUNINGS,
    VECTORS,
    checksum,
    is_sound,
    make_tables,
)

_BY_KEY = {
    table: sa.select(table.c.record, table.c.checksum).where(table.c.key == sa.bindparam("key"))
    for table in (COMPLETIONS, JUDGMENTS)
}
_AT_ONCE = 500
"""Keys in one query: databases limit the number of bound parameters."""


def completion_key(model: str, prompt: Prompt, decoding: DecodingParams, seed: int) -> str:
    """Return the content key of a completion: model identity, prompt text, effective parameters, seed."""
    templated = ["templated"] if prompt.templated else []  # the same text, but no token is put before it
    return content_hash([model, prompt.text, asdict(decoding), seed, *templated], length=32)


def judgment_key(judge: str, query: Query, completions: Sequence[Completion], against: Sequence[str] = ()) -> str:
    """Return the content key of a judgment: judge identity, query with references and checks, the answers so far.

    `against` are the answers that the judge compares them with.
    """
    shown = [[completion.text, completion.finish_reason] for completion in completions]
    content: list[object] = [judge, query.turns, query.references, query.category, shown]
    content += [[[check.to_dict() for check in turn] for turn in query.checks]] if any(query.checks) else []
    return content_hash([*content, list(against)] if against else content, length=32)


@dataclass(frozen=True)
class StoredRequest:
    """A request to the model for a turn of a trial, with its completion and judgment.

    `decoding` is as it took effect, stop strings spelled out.
    """

    query_id: str
    turn: int
    prompt: Prompt
    decoding: DecodingParams
    completion: Completion
    judgment: Judgment


@dataclass(frozen=True)
class StoredResult:
    """One judged completion of a trial, as exported: who it belongs to and what was found."""

    trial: int
    query_id: str
    turn: int
    judge: str
    completion: Completion
    judgment: Judgment


class ResultKeys(NamedTuple):
    """Where the answer to a query's turn is stored, and what a judge made of it."""

    query_id: str
    turn: int
    judge: str
    completion_key: str
    judgment_key: str


class _ResultRow(NamedTuple):
    trial: int
    query_id: str
    turn: int
    judge: str
    completion: str
    judgment: str
    sound: bool


class Store:
    """Completions, judgments and studies in one SQL database.

    Args:
        url: an SQLAlchemy URL, such as `sqlite:///mlruns/store.db`.

    Raises:
        StorageError: the database cannot be opened, read or written.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url, make_tables)

    def close(self) -> None:
        """Give back the connections."""
        self.database.close()

    def find_completion(self, key: str) -> Completion | None:
        """Return the completion stored under `key`, or None; a damaged one is dropped."""
        record = self._sound_record(COMPLETIONS, key)
        return Completion.from_json(record) if record is not None else None

    def add_completion(self, key: str, request: Mapping[str, object], completion: Completion) -> None:
        """Keep a completion; the first one stored under a key stays."""
        record = completion.to_json()
        values = {"request": json.dumps(request, ensure_ascii=False), "record": record, "checksum": checksum(record)}
        self.database.insert(COMPLETIONS, {"key": key, **values, "created": _now()})

    def find_judgment(self, key: str) -> Judgment | None:
        """Return the judgment stored under `key`, or None; a damaged one is dropped."""
        record = self._sound_record(JUDGMENTS, key)
        return Judgment.from_json(record) if record is not None else None

    def add_judgment(self, key: str, judgment: Judgment, replace: bool = False) -> None:
        """Keep a judgment; the first one stored under a key stays, unless it is to be replaced."""
        record = judgment.to_json()
        row = {"key": key, "record": record, "checksum": checksum(record), "created": _now()}
        self.database.insert(JUDGMENTS, row, replace=replace)

    def add_reply(self, payer: str, reply: PaidReply) -> None:
        """Keep a judge's reply and what it took, on the account of a study's or an audit's id."""
        values = {"payer": payer, "model": reply.model, "request": reply.request, "text": reply.text}
        self.database.insert(REPLIES, {**values, **asdict(reply.usage), "created": _now()})

    def paid(self, payer: str) -> Usage:
        """Return what all replies on this account took."""
        columns = (REPLIES.c.calls, REPLIES.c.prompt_tokens, REPLIES.c.completion_tokens)
        query = sa.select(*map(sa.func.sum, columns)).where(REPLIES.c.payer == payer)
        return Usage(*(int(total or 0) for total in self.database.rows(query)[0]))

    def add_results(self, study: str, trial: int, found: Sequence[ResultKeys]) -> None:
        """Record which completions and judgments are a trial's answers to queries, in place of what was recorded."""
        rows = ({"study": study, "trial": trial, **one._asdict()} for one in found)
        self.database.insert(RESULTS, *rows, replace=True)

    def results(self, study: str, only: Collection[int] | None = None) -> list[StoredResult]:
        """Return every judged completion of a study, or of these trials `only`, ordered by trial, query and turn.

        Raises:
            StorageError: one of them is damaged or lost, as by a failing disk.
        """
        found = []
        for row in self._result_rows(study, only):
            if not row.sound:
                raise StorageError(
                    f"the store {redacted(self.database.url)} holds damaged answers of trial {row.trial} of the study "
                    f"{study!r}; the study's command run again asks for them again"
                )
            answer = (Completion.from_json(row.completion), Judgment.from_json(row.judgment))
            found.append(StoredResult(row.trial, row.query_id, row.turn, row.judge, *answer))
        return found

    def answered(self, study: str) -> set[int]:
        """Return the trials that have results, damaged ones among them."""
        return {
            number
            for (number,) in self.database.rows(sa.select(RESULTS.c.trial).where(RESULTS.c.study == study).distinct())
        }

    def damaged(self, study: str) -> dict[int, set[str]]:
        """Return the trials of which a completion or judgment is damaged or lost, with the ids of their queries."""
        queries: dict[int, set[str]] = {}
        damaged = set()
        for row in self._result_rows(study, None):
            queries.setdefault(row.trial, set()).add(row.query_id)
            if not row.sound:
                damaged.add(row.trial)
        return {trial: queries[trial] for trial in damaged}

    def _result_rows(self, study: str, only: Collection[int] | None) -> "Iterator[_ResultRow]":
        """Yield the results one after another: a large study's do not fit the memory as they are."""
        joined = RESULTS.join(COMPLETIONS, RESULTS.c.completion_key == COMPLETIONS.c.key, isouter=True).join(
            JUDGMENTS, RESULTS.c.judgment_key == JUDGMENTS.c.key, isouter=True
        )
        order = (RESULTS.c.trial, RESULTS.c.query_id, RESULTS.c.turn, RESULTS.c.judge)
        records = (COMPLETIONS.c.record, COMPLETIONS.c.checksum, JUDGMENTS.c.record, JUDGMENTS.c.checksum)
        query = sa.select(*order, *records).select_from(joined).where(RESULTS.c.study == study).order_by(*order)
        if only is not None and len(only) <= _AT_ONCE:
            query = query.where(RESULTS.c.trial.in_(only))
        for *place, completion, its_checksum, judgment, own_checksum in self.database.stream(query):
            if only is not None and place[0] not in only:
                continue
            known = completion is not None and judgment is not None
            sound = known and is_sound(completion, its_checksum) and is_sound(judgment, own_checksum)
            yield _ResultRow(*place, completion or "", judgment or "", sound)  # type: ignore[call-arg]

    def prompts(self, study: str, trial: int) -> dict[tuple[str, int], str]:
        """Return the exact prompts of a trial by query id and turn."""
        joined = RESULTS.join(COMPLETIONS, RESULTS.c.completion_key == COMPLETIONS.c.key)
        of_trial = sa.and_(RESULTS.c.study == study, RESULTS.c.trial == trial)
        query = sa.select(RESULTS.c.query_id, RESULTS.c.turn, COMPLETIONS.c.request).select_from(joined)
        rows = self.database.rows(query.where(of_trial))
        return {(query_id, turn): json.loads(request)["prompt"]["text"] for query_id, turn, request in rows}

    def requests(self, study: str, trial: int, judge: str) -> list[StoredRequest]:
        """Return every request of a trial with the judgment of this judge, ordered by query and turn.

        Raises:
            StorageError: one of them is damaged or lost.
        """
        self.results(study, [trial])  # of which each is checked
        joined = RESULTS.join(COMPLETIONS, RESULTS.c.completion_key == COMPLETIONS.c.key).join(
            JUDGMENTS, RESULTS.c.judgment_key == JUDGMENTS.c.key
        )
        columns = (RESULTS.c.query_id, RESULTS.c.turn, COMPLETIONS.c.request)
        query = (
            sa.select(*columns, COMPLETIONS.c.record, JUDGMENTS.c.record)
            .select_from(joined)
            .where(RESULTS.c.study == study, RESULTS.c.trial == trial, RESULTS.c.judge == judge)
            .order_by(RESULTS.c.query_id, RESULTS.c.turn)
        )
        rows = self.database.rows(query)
        found = []
        for query_id, turn, request, completion, judgment in rows:
            try:  # it has no checksum of its own
                sent = json.loads(request)
                asked = (Prompt.from_dict(sent["prompt"]), DecodingParams(**sent["decoding"]))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise StorageError(
                    f"the store {redacted(self.database.url)} holds a request of trial {trial} of the study {study!r} "
                    f"that cannot be read (query {query_id!r}, turn {turn}: {one_line(error)}): it is damaged, or "
                    "another version wrote it; reproduce another trial"
                ) from error
            answer = (Completion.from_json(completion), Judgment.from_json(judgment))
            found.append(StoredRequest(query_id, turn, *asked, *answer))
        return found

    def studies(self) -> dict[str, str]:
        """Return the ids of all studies by name, oldest first."""
        query = sa.select(STUDIES.c.name, STUDIES.c.id).order_by(STUDIES.c.created, STUDIES.c.name)
        return {row.name: row.id for row in self.database.rows(query)}

    def add_note(self, study: str, kind: str, record: Mapping[str, object]) -> None:
        """Keep the newest record of its kind about a study, for views that are rebuilt."""
        row = {"study": study, "kind": kind, "record": json.dumps(record, ensure_ascii=False)}
        self.database.insert(NOTES, row, replace=True)

    def notes(self, study: str) -> dict[str, JsonObject]:
        """Return the records about a study by kind."""
        query = sa.select(NOTES.c.kind, NOTES.c.record).where(NOTES.c.study == study)
        return {kind: json.loads(record) for kind, record in self.database.rows(query)}

    def find_study(self, name: str) -> JsonObject | None:
        """Return what the study of this name was made from, or None."""
        record = self._scalar(sa.select(STUDIES.c.identity).where(STUDIES.c.name == name))
        return None if record is None else dict(json.loads(record))

    def add_study(self, name: str, identity: Mapping[str, object]) -> str:
        """Record what a study is made from, unless that is known; return its id, which no other study has."""
        text = json.dumps(identity, ensure_ascii=False)
        self.database.insert(STUDIES, {"name": name, "id": uuid.uuid4().hex, "identity": text, "created": _now()})
        return str(self._scalar(sa.select(STUDIES.c.id).where(STUDIES.c.name == name)))

    def add_trial(self, study: str, record: TrialRecord) -> None:
        """Keep the record of a finished trial; the first one stored under a number stays."""
        self.database.insert(TRIALS, {"study": study, "number": record.number, "record": record.to_json()})

    def trials(self, study: str) -> dict[int, TrialRecord]:
        """Return the records of a study's finished trials, by number in ascending order.

        Raises:
            StorageError: one of them is damaged, or another version of the toolkit wrote it.
        """
        query = sa.select(TRIALS.c.number, TRIALS.c.record).where(TRIALS.c.study == study).order_by(TRIALS.c.number)
        found = {}
        for number, record in self.database.rows(query):
            try:
                found[number] = TrialRecord.from_json(record)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise StorageError(
                    f"the store {redacted(self.database.url)} holds a record of trial {number} of the study {study!r} "
                    f"that cannot be read ({error}): it is damaged, or another version wrote it; use --fresh to start "
                    "the study again (stored completions are reused), or name another folder with --mlruns"
                ) from error
        return found

    def add_audit(self, judge: str, record: Mapping[str, object]) -> None:
        """Keep the newest audit of a judge, by the hash of its identity."""
        row = {"judge": judge, "record": json.dumps(record, ensure_ascii=False), "created": _now()}
        self.database.insert(AUDITS, row, replace=True)

    def find_audit(self, judge: str) -> JsonObject | None:
        """Return the newest audit of a judge, or None."""
        record = self._scalar(sa.select(AUDITS.c.record).where(AUDITS.c.judge == judge))
        return None if record is None else dict(json.loads(record))

    def audits(self) -> list[JsonObject]:
        """Return the newest audit of every judge, oldest first."""
        query = sa.select(AUDITS.c.record).order_by(AUDITS.c.created)
        return [json.loads(record) for (record,) in self.database.rows(query)]

    def find_vectors(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the embeddings that are stored under these keys."""
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = VECTORS.c.key.in_(keys[start : start + _AT_ONCE])
            found |= {
                row.key: row.vector
                for row in self.database.rows(sa.select(VECTORS.c.key, VECTORS.c.vector).where(some))
            }
        return found

    def add_vectors(self, vectors: Mapping[str, bytes]) -> None:
        """Store embeddings by key; those that are there already stay."""
        self.database.insert(VECTORS, *({"key": key, "vector": vector} for key, vector in vectors.items()))

    def add_tuning(self, key: str, record: Mapping[str, object]) -> None:
        """Keep what a training came to, by the key of its job; a later one of the same job takes its place."""
        row = {"key": key, "record": json.dumps(record, ensure_ascii=False), "created": _now()}
        self.database.insert(TUNINGS, row, replace=True)

    def find_tuning(self, key: str) -> JsonObject | None:
        """Return what the training with this key came to, or None."""
        record = self._scalar(sa.select(TUNINGS.c.record).where(TUNINGS.c.key == key))
        return None if record is None else dict(json.loads(record))

    def forget_study(self, name: str) -> None:
        """Drop a study and its trials; completions and judgments stay, so that nothing is paid for again."""
        of_study = (table.delete().where(table.c.study == name) for table in (TRIALS, RESULTS, NOTES))
        self.database.change(STUDIES.delete().where(STUDIES.c.name == name), *of_study)

    def _sound_record(self, table: sa.Table, key: str) -> str | None:
        """Return the record under a key; drop it where it is not what was written."""
        found = next(iter(self.database.rows(_BY_KEY[table], key=key)), None)
        if found is None or is_sound(*found):
            return None if found is None else str(found.record)
        self.database.change(table.delete().where(table.c.key == key))
        return None

    def _scalar(self, query: sa.Select[Any]) -> str | None:
        return next((str(record) for (record,) in self.database.rows(query)), None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
