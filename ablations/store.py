"""The store: completions and judgments by content key, and what each study is made of, in SQL.

Knows neither models nor judges: keys come from `completion_key` and `judgment_key`. It is the record;
Optuna's and MLflow's databases are views that can be made anew from it.
"""

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ablations.conditions import DecodingParams, content_hash
from ablations.databases import again_where_cut, engine_settings, wait_where_lost
from ablations.errors import StorageError
from ablations.places import redacted
from ablations.records import Completion, Judgment, PaidReply, Prompt, Query, Usage
from ablations.tables import (
    AUDITS,
    COMPLETIONS,
    JUDGMENTS,
    METADATA,
    NOTES,
    REPLIES,
    RESULTS,
    STUDIES,
    TRIALS,
    VECTORS,
    checksum,
    is_sound,
    make_tables,
)

_AT_ONCE = 500
"""Keys in one query: databases limit the number of bound parameters."""


def completion_key(model: str, prompt: Prompt, decoding: DecodingParams, seed: int) -> str:
    """Return the content key of a completion: model identity, prompt text, effective parameters, seed."""
    templated = ["templated"] if prompt.templated else []  # the same text, but no token is put before it
    return content_hash([model, prompt.text, asdict(decoding), seed, *templated], length=32)


def judgment_key(judge: str, query: Query, completions: Sequence[Completion], against: Sequence[str] = ()) -> str:
    """Return the content key of a judgment: judge identity, query with references, the answers so far.

    `against` are the answers that the judge compares them with.
    """
    shown = [[completion.text, completion.finish_reason] for completion in completions]
    content = [judge, query.turns, query.references, query.category, shown]
    return content_hash([*content, list(against)] if against else content, length=32)


@dataclass(frozen=True)
class StoredRequest:
    """What was sent to the model for a turn of a trial, and what came back.

    `decoding` is in force, stop strings spelled out; None where an older version kept the request.
    """

    query_id: str
    turn: int
    prompt: Prompt
    decoding: DecodingParams | None
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
        self._url = url
        with _storage_errors(url):
            self._engine = sa.create_engine(url, **engine_settings(url))
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            make_tables(self._engine)
            wait_where_lost(self._engine)

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def find_completion(self, key: str) -> Completion | None:
        """Return the completion stored under `key`, or None; a damaged one is dropped."""
        record = self._sound_record(COMPLETIONS, key)
        return Completion.from_json(record) if record is not None else None

    def add_completion(self, key: str, request: Mapping[str, Any], completion: Completion) -> None:
        """Keep a completion; the first one stored under a key stays."""
        record = completion.to_json()
        values = {"request": json.dumps(request, ensure_ascii=False), "record": record, "checksum": checksum(record)}
        self.insert(COMPLETIONS, key=key, **values, created=_now())

    def find_judgment(self, key: str) -> Judgment | None:
        """Return the judgment stored under `key`, or None; a damaged one is dropped."""
        record = self._sound_record(JUDGMENTS, key)
        return Judgment.from_json(record) if record is not None else None

    def add_judgment(self, key: str, judgment: Judgment, replace: bool = False) -> None:
        """Keep a judgment; the first one stored under a key stays, unless it is to be replaced."""
        if replace:
            self.change(JUDGMENTS.delete().where(JUDGMENTS.c.key == key))
        record = judgment.to_json()
        self.insert(JUDGMENTS, key=key, record=record, checksum=checksum(record), created=_now())

    def add_reply(self, payer: str, reply: PaidReply) -> None:
        """Keep a judge's reply and what it took, on the account of a study's or an audit's id."""
        values = {"payer": payer, "model": reply.model, "request": reply.request, "text": reply.text}
        self.insert(REPLIES, **values, **asdict(reply.usage), created=_now())

    def paid(self, payer: str) -> Usage:
        """Return what all replies on this account took."""
        columns = (REPLIES.c.calls, REPLIES.c.prompt_tokens, REPLIES.c.completion_tokens)
        query = sa.select(*map(sa.func.sum, columns)).where(REPLIES.c.payer == payer)
        return Usage(*(int(total or 0) for total in self.rows(query)[0]))

    def add_results(self, study: str, trial: int, found: Sequence[ResultKeys]) -> None:
        """Record which completions and judgments are a trial's answers to queries, in place of what was recorded."""
        rows = [{"study": study, "trial": trial, **one._asdict()} for one in found]
        of_trial = sa.and_(RESULTS.c.study == study, RESULTS.c.trial == trial)
        again = RESULTS.c.query_id.in_(sorted({one.query_id for one in found}))
        self.change(RESULTS.delete().where(of_trial, again), RESULTS.insert().values(rows))

    def results(self, study: str, only: Collection[int] | None = None) -> list[StoredResult]:
        """Return every judged completion of a study, or of these trials `only`, ordered by trial, query and turn.

        Raises:
            StorageError: one of them is damaged or lost, as by a failing disk.
        """
        rows = self._result_rows(study, only)
        if any(not row.sound for row in rows):
            raise StorageError(
                f"the store {redacted(self._url)} holds damaged answers of the study {study!r}; its command run again "
                "makes them anew"
            )
        return [
            StoredResult(
                row.trial,
                row.query_id,
                row.turn,
                row.judge,
                Completion.from_json(row.completion),
                Judgment.from_json(row.judgment),
            )
            for row in rows
        ]

    def damaged(self, study: str) -> dict[int, set[str]]:
        """Return the trials of which a completion or judgment is damaged or lost, with the ids of their queries."""
        rows = self._result_rows(study, None)
        found: dict[int, set[str]] = {row.trial: set() for row in rows if not row.sound}
        for row in rows:
            if row.trial in found:
                found[row.trial].add(row.query_id)
        return found

    def _result_rows(self, study: str, only: Collection[int] | None) -> "list[_ResultRow]":
        joined = RESULTS.join(COMPLETIONS, RESULTS.c.completion_key == COMPLETIONS.c.key, isouter=True).join(
            JUDGMENTS, RESULTS.c.judgment_key == JUDGMENTS.c.key, isouter=True
        )
        order = (RESULTS.c.trial, RESULTS.c.query_id, RESULTS.c.turn, RESULTS.c.judge)
        records = (COMPLETIONS.c.record, COMPLETIONS.c.checksum, JUDGMENTS.c.record, JUDGMENTS.c.checksum)
        query = sa.select(*order, *records).select_from(joined).where(RESULTS.c.study == study).order_by(*order)
        few = only is not None and len(only) <= _AT_ONCE
        if only is not None and few:
            query = query.where(RESULTS.c.trial.in_(only))
        rows = self.rows(query)
        found = []
        for *place, completion, its_checksum, judgment, own_checksum in rows:
            if only is not None and place[0] not in only:
                continue
            known = completion is not None and judgment is not None
            sound = known and is_sound(completion, its_checksum) and is_sound(judgment, own_checksum)
            found.append(_ResultRow(*place, completion or "", judgment or "", sound))  # type: ignore[call-arg]
        return found

    def prompts(self, study: str, trial: int) -> dict[tuple[str, int], str]:
        """Return the exact prompts of a trial by query id and turn."""
        joined = RESULTS.join(COMPLETIONS, RESULTS.c.completion_key == COMPLETIONS.c.key)
        of_trial = sa.and_(RESULTS.c.study == study, RESULTS.c.trial == trial)
        query = sa.select(RESULTS.c.query_id, RESULTS.c.turn, COMPLETIONS.c.request).select_from(joined)
        rows = self.rows(query.where(of_trial))
        return {(query_id, turn): json.loads(request)["prompt"]["text"] for query_id, turn, request in rows}

    def requests(self, study: str, trial: int) -> list[StoredRequest]:
        """Return every request of a trial, ordered by query and turn."""
        joined = RESULTS.join(COMPLETIONS, RESULTS.c.completion_key == COMPLETIONS.c.key).join(
            JUDGMENTS, RESULTS.c.judgment_key == JUDGMENTS.c.key
        )
        columns = (RESULTS.c.query_id, RESULTS.c.turn, COMPLETIONS.c.request)
        query = (
            sa.select(*columns, COMPLETIONS.c.record, JUDGMENTS.c.record)
            .select_from(joined)
            .where(RESULTS.c.study == study, RESULTS.c.trial == trial)
            .order_by(RESULTS.c.query_id, RESULTS.c.turn)
        )
        rows = self.rows(query)
        found = []
        for query_id, turn, request, completion, judgment in rows:
            sent = json.loads(request)
            decoding = DecodingParams(**sent["decoding"]) if "decoding" in sent else None
            answer = (Completion.from_json(completion), Judgment.from_json(judgment))
            found.append(StoredRequest(query_id, turn, Prompt.from_dict(sent["prompt"]), decoding, *answer))
        return found

    def studies(self) -> dict[str, str]:
        """Return the ids of all studies by name, oldest first."""
        query = sa.select(STUDIES.c.name, STUDIES.c.id).order_by(STUDIES.c.created, STUDIES.c.name)
        return {row.name: row.id for row in self.rows(query)}

    def add_note(self, study: str, kind: str, record: Mapping[str, Any]) -> None:
        """Keep the newest record of its kind about a study, for views that are made anew."""
        same = sa.and_(NOTES.c.study == study, NOTES.c.kind == kind)
        text = json.dumps(record, ensure_ascii=False)
        self.change(NOTES.delete().where(same), NOTES.insert().values(study=study, kind=kind, record=text))

    def notes(self, study: str) -> dict[str, dict[str, Any]]:
        """Return the records about a study by kind."""
        query = sa.select(NOTES.c.kind, NOTES.c.record).where(NOTES.c.study == study)
        return {kind: json.loads(record) for kind, record in self.rows(query)}

    def find_study(self, name: str) -> dict[str, Any] | None:
        """Return what the study of this name was made from, or None."""
        record = self._scalar(sa.select(STUDIES.c.identity).where(STUDIES.c.name == name))
        return None if record is None else dict(json.loads(record))

    def add_study(self, name: str, identity: Mapping[str, Any]) -> str:
        """Record what a study is made from, unless that is known; return its id, which no other study has."""
        text = json.dumps(identity, ensure_ascii=False)
        self.insert(STUDIES, name=name, id=uuid.uuid4().hex, identity=text, created=_now())
        return str(self._scalar(sa.select(STUDIES.c.id).where(STUDIES.c.name == name)))

    def add_trial(self, study: str, number: int, record: Mapping[str, Any]) -> None:
        """Record what a trial evaluates."""
        self.insert(TRIALS, study=study, number=number, record=json.dumps(record, ensure_ascii=False))

    def trials(self, study: str) -> dict[int, dict[str, Any]]:
        """Return what each trial of a study evaluates, by number."""
        query = sa.select(TRIALS.c.number, TRIALS.c.record).where(TRIALS.c.study == study).order_by(TRIALS.c.number)
        return {number: json.loads(record) for number, record in self.rows(query)}

    def add_audit(self, judge: str, record: Mapping[str, Any]) -> None:
        """Keep the newest audit of a judge, by the hash of its identity."""
        text = json.dumps(record, ensure_ascii=False)
        values = {"judge": judge, "record": text, "created": _now()}
        self.change(AUDITS.delete().where(AUDITS.c.judge == judge), AUDITS.insert().values(**values))

    def find_audit(self, judge: str) -> dict[str, Any] | None:
        """Return the newest audit of a judge, or None."""
        record = self._scalar(sa.select(AUDITS.c.record).where(AUDITS.c.judge == judge))
        return None if record is None else dict(json.loads(record))

    def audits(self) -> list[dict[str, Any]]:
        """Return the newest audit of every judge, oldest first."""
        query = sa.select(AUDITS.c.record).order_by(AUDITS.c.created)
        return [json.loads(record) for (record,) in self.rows(query)]

    def find_vectors(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the embeddings that are kept under these keys."""
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = VECTORS.c.key.in_(keys[start : start + _AT_ONCE])
            found |= {row.key: row.vector for row in self.rows(sa.select(VECTORS.c.key, VECTORS.c.vector).where(some))}
        return found

    def add_vectors(self, vectors: Mapping[str, bytes]) -> None:
        """Keep embeddings by key; those that are kept already stay."""
        rows = [{"key": key, "vector": vector} for key, vector in vectors.items()]
        try:
            with _storage_errors(self._url), self._engine.begin() as connection:
                connection.execute(VECTORS.insert(), rows)
        except sa.exc.IntegrityError:  # another process keeps some of them already
            for row in rows:
                self.insert(VECTORS, **row)

    def forget_study(self, name: str) -> None:
        """Drop a study and its trials; completions and judgments stay, so that nothing is paid for again."""
        of_study = (table.delete().where(table.c.study == name) for table in (TRIALS, RESULTS, NOTES))
        self.change(STUDIES.delete().where(STUDIES.c.name == name), *of_study)

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        return {
            table.name: self.rows(sa.select(sa.func.count()).select_from(table))[0][0]
            for table in METADATA.sorted_tables
        }

    def _sound_record(self, table: sa.Table, key: str) -> str | None:
        """Return the record under a key; drop it where it is not what was written."""
        query = sa.select(table.c.record, table.c.checksum).where(table.c.key == key)
        found = next(iter(self.rows(query)), None)
        if found is None or is_sound(*found):
            return None if found is None else str(found.record)
        self.change(table.delete().where(table.c.key == key))
        return None

    def _scalar(self, query: sa.Select[Any]) -> str | None:
        return next((str(record) for (record,) in self.rows(query)), None)

    def rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        """Return what a query finds in the tables of `ablations.tables`."""

        def found() -> Sequence[Any]:
            with self._engine.connect() as connection:
                return connection.execute(query).all()

        with _storage_errors(self._url):
            return again_where_cut(found)

    def change(self, *statements: sa.Delete | sa.Update | sa.Insert) -> int:
        """Carry out statements in one transaction; return how many rows the last one changed."""

        def changed() -> int:
            with self._engine.begin() as connection:
                return [connection.execute(statement).rowcount for statement in statements][-1]

        with _storage_errors(self._url):
            return again_where_cut(changed)

    def insert(self, table: sa.Table, **values: Any) -> bool:
        """Insert a row unless its key exists: content keys make both rows the same; return whether it did not."""
        try:
            self.change(table.insert().values(**values))
        except sa.exc.IntegrityError:
            return False
        return True


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # WAL survives a killed process and lets a notebook read while a study writes.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except (SQLAlchemyError, ModuleNotFoundError, ValueError) as error:  # ValueError: a port that is no number
        cause = getattr(error, "orig", None) or error
        raise StorageError(
            f"the store {redacted(url)} cannot be used: {cause}; check the address and the file's permissions, "
            "move a damaged file away, or name another with --store"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
