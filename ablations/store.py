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
            self._engine = sa.create_engine(url, pool_pre_ping=True)
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            make_tables(self._engine)

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
        self._insert(COMPLETIONS, key=key, **values, created=_now())

    def find_judgment(self, key: str) -> Judgment | None:
        """Return the judgment stored under `key`, or None; a damaged one is dropped."""
        record = self._sound_record(JUDGMENTS, key)
        return Judgment.from_json(record) if record is not None else None

    def add_judgment(self, key: str, judgment: Judgment, replace: bool = False) -> None:
        """Keep a judgment; the first one stored under a key stays, unless it is to be replaced."""
        if replace:
            with _storage_errors(self._url), self._engine.begin() as connection:
                connection.execute(JUDGMENTS.delete().where(JUDGMENTS.c.key == key))
        record = judgment.to_json()
        self._insert(JUDGMENTS, key=key, record=record, checksum=checksum(record), created=_now())

    def add_reply(self, payer: str, reply: PaidReply) -> None:
        """Keep a judge's reply and what it took, on the account of a study's or an audit's id."""
        values = {"payer": payer, "model": reply.model, "request": reply.request, "text": reply.text}
        self._insert(REPLIES, **values, **asdict(reply.usage), created=_now())

    def paid(self, payer: str) -> Usage:
        """Return what all replies on this account took."""
        columns = (REPLIES.c.calls, REPLIES.c.prompt_tokens, REPLIES.c.completion_tokens)
        query = sa.select(*map(sa.func.sum, columns)).where(REPLIES.c.payer == payer)
        with _storage_errors(self._url), self._engine.connect() as connection:
            return Usage(*(int(total or 0) for total in connection.execute(query).one()))

    def add_result(self, study: str, trial: int, query_id: str, turn: int, judge: str, keys: tuple[str, str]) -> None:
        """Record that a trial's answer to a query and turn is the completion and judgment under `keys`."""
        self._insert(
            RESULTS,
            study=study,
            trial=trial,
            query_id=query_id,
            turn=turn,
            judge=judge,
            completion_key=keys[0],
            judgment_key=keys[1],
        )

    def results(self, study: str, without: Collection[int] = ()) -> list[StoredResult]:
        """Return every judged completion of a study but of the trials in `without`, ordered by trial, query and turn.

        Raises:
            StorageError: one of them is damaged or lost, as by a failing disk.
        """
        rows = [row for row in self._result_rows(study) if row.trial not in without]
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
        rows = self._result_rows(study)
        found: dict[int, set[str]] = {row.trial: set() for row in rows if not row.sound}
        for row in rows:
            if row.trial in found:
                found[row.trial].add(row.query_id)
        return found

    def _result_rows(self, study: str) -> "list[_ResultRow]":
        joined = RESULTS.join(COMPLETIONS, RESULTS.c.completion_key == COMPLETIONS.c.key, isouter=True).join(
            JUDGMENTS, RESULTS.c.judgment_key == JUDGMENTS.c.key, isouter=True
        )
        order = (RESULTS.c.trial, RESULTS.c.query_id, RESULTS.c.turn, RESULTS.c.judge)
        records = (COMPLETIONS.c.record, COMPLETIONS.c.checksum, JUDGMENTS.c.record, JUDGMENTS.c.checksum)
        query = sa.select(*order, *records).select_from(joined).where(RESULTS.c.study == study).order_by(*order)
        with _storage_errors(self._url), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        found = []
        for *place, completion, its_checksum, judgment, own_checksum in rows:
            known = completion is not None and judgment is not None
            sound = known and is_sound(completion, its_checksum) and is_sound(judgment, own_checksum)
            found.append(_ResultRow(*place, completion or "", judgment or "", sound))  # type: ignore[call-arg]
        return found

    def prompts(self, study: str, trial: int) -> dict[tuple[str, int], str]:
        """Return the exact prompts of a trial by query id and turn."""
        joined = RESULTS.join(COMPLETIONS, RESULTS.c.completion_key == COMPLETIONS.c.key)
        of_trial = sa.and_(RESULTS.c.study == study, RESULTS.c.trial == trial)
        query = sa.select(RESULTS.c.query_id, RESULTS.c.turn, COMPLETIONS.c.request).select_from(joined)
        with _storage_errors(self._url), self._engine.connect() as connection:
            rows = connection.execute(query.where(of_trial)).all()
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
        with _storage_errors(self._url), self._engine.connect() as connection:
            rows = connection.execute(query).all()
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
        with _storage_errors(self._url), self._engine.connect() as connection:
            return {row.name: row.id for row in connection.execute(query)}

    def add_note(self, study: str, kind: str, record: Mapping[str, Any]) -> None:
        """Keep the newest record of its kind about a study, for views that are made anew."""
        with _storage_errors(self._url), self._engine.begin() as connection:
            same = sa.and_(NOTES.c.study == study, NOTES.c.kind == kind)
            connection.execute(NOTES.delete().where(same))
            text = json.dumps(record, ensure_ascii=False)
            connection.execute(NOTES.insert().values(study=study, kind=kind, record=text))

    def notes(self, study: str) -> dict[str, dict[str, Any]]:
        """Return the records about a study by kind."""
        query = sa.select(NOTES.c.kind, NOTES.c.record).where(NOTES.c.study == study)
        with _storage_errors(self._url), self._engine.connect() as connection:
            return {kind: json.loads(record) for kind, record in connection.execute(query)}

    def find_study(self, name: str) -> dict[str, Any] | None:
        """Return what the study of this name was made from, or None."""
        record = self._scalar(sa.select(STUDIES.c.identity).where(STUDIES.c.name == name))
        return None if record is None else dict(json.loads(record))

    def add_study(self, name: str, identity: Mapping[str, Any]) -> str:
        """Record what a study is made from, unless that is known; return its id, which no other study has."""
        text = json.dumps(identity, ensure_ascii=False)
        self._insert(STUDIES, name=name, id=uuid.uuid4().hex, identity=text, created=_now())
        return str(self._scalar(sa.select(STUDIES.c.id).where(STUDIES.c.name == name)))

    def add_trial(self, study: str, number: int, record: Mapping[str, Any]) -> None:
        """Record what a trial evaluates."""
        self._insert(TRIALS, study=study, number=number, record=json.dumps(record, ensure_ascii=False))

    def trials(self, study: str) -> dict[int, dict[str, Any]]:
        """Return what each trial of a study evaluates, by number."""
        query = sa.select(TRIALS.c.number, TRIALS.c.record).where(TRIALS.c.study == study).order_by(TRIALS.c.number)
        with _storage_errors(self._url), self._engine.connect() as connection:
            return {number: json.loads(record) for number, record in connection.execute(query)}

    def add_audit(self, judge: str, record: Mapping[str, Any]) -> None:
        """Keep the newest audit of a judge, by the hash of its identity."""
        with _storage_errors(self._url), self._engine.begin() as connection:
            connection.execute(AUDITS.delete().where(AUDITS.c.judge == judge))
            text = json.dumps(record, ensure_ascii=False)
            connection.execute(AUDITS.insert().values(judge=judge, record=text, created=_now()))

    def find_audit(self, judge: str) -> dict[str, Any] | None:
        """Return the newest audit of a judge, or None."""
        record = self._scalar(sa.select(AUDITS.c.record).where(AUDITS.c.judge == judge))
        return None if record is None else dict(json.loads(record))

    def audits(self) -> list[dict[str, Any]]:
        """Return the newest audit of every judge, oldest first."""
        query = sa.select(AUDITS.c.record).order_by(AUDITS.c.created)
        with _storage_errors(self._url), self._engine.connect() as connection:
            return [json.loads(record) for record in connection.execute(query).scalars()]

    def find_vectors(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the embeddings that are kept under these keys."""
        found: dict[str, bytes] = {}
        with _storage_errors(self._url), self._engine.connect() as connection:
            for start in range(0, len(keys), _AT_ONCE):
                some = VECTORS.c.key.in_(keys[start : start + _AT_ONCE])
                query = sa.select(VECTORS.c.key, VECTORS.c.vector).where(some)
                found |= {row.key: row.vector for row in connection.execute(query)}
        return found

    def add_vectors(self, vectors: Mapping[str, bytes]) -> None:
        """Keep embeddings by key; those that are kept already stay."""
        rows = [{"key": key, "vector": vector} for key, vector in vectors.items()]
        try:
            with _storage_errors(self._url), self._engine.begin() as connection:
                connection.execute(VECTORS.insert(), rows)
        except sa.exc.IntegrityError:  # another process keeps some of them already
            for row in rows:
                self._insert(VECTORS, **row)

    def forget_study(self, name: str) -> None:
        """Drop a study and its trials; completions and judgments stay, so that nothing is paid for again."""
        with _storage_errors(self._url), self._engine.begin() as connection:
            connection.execute(STUDIES.delete().where(STUDIES.c.name == name))
            connection.execute(TRIALS.delete().where(TRIALS.c.study == name))
            connection.execute(RESULTS.delete().where(RESULTS.c.study == name))
            connection.execute(NOTES.delete().where(NOTES.c.study == name))

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        with _storage_errors(self._url), self._engine.connect() as connection:
            return {
                table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in METADATA.sorted_tables
            }

    def _sound_record(self, table: sa.Table, key: str) -> str | None:
        """Return the record under a key; drop it where it is not what was written."""
        query = sa.select(table.c.record, table.c.checksum).where(table.c.key == key)
        with _storage_errors(self._url), self._engine.connect() as connection:
            found = connection.execute(query).one_or_none()
        if found is None or is_sound(*found):
            return None if found is None else str(found.record)
        with _storage_errors(self._url), self._engine.begin() as connection:
            connection.execute(table.delete().where(table.c.key == key))
        return None

    def _scalar(self, query: sa.Select[Any]) -> str | None:
        with _storage_errors(self._url), self._engine.connect() as connection:
            record: str | None = connection.execute(query).scalars().one_or_none()
        return record

    def _insert(self, table: sa.Table, **values: Any) -> None:
        """Insert a row unless its key exists: content keys make both rows the same."""
        with _storage_errors(self._url):
            try:
                with self._engine.begin() as connection:
                    connection.execute(table.insert().values(**values))
            except sa.exc.IntegrityError:
                return


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # WAL survives a killed process and lets a notebook read while a study writes.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=30000")
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
