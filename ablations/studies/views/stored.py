"""Stored studies: all that the results of record say of a study.

Knows the store and `results.parquet`; neither Optuna nor MLflow nor what kinds of studies there are.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from ablations.core.condition import content_hash
from ablations.core.errors import StorageError
from ablations.core.jsonl import JsonObject
from ablations.core.records import Completion, JudgedTurn, Judgment, Query, Role, Score, TrialRecord, TrialState, Usage
from ablations.core.schema import ARM_PREFIX, PARAMETER_PREFIX
from ablations.core.statistics import query_means
from ablations.storage.store import Store
from ablations.storage.workspace import Places, follow_up_account
from ablations.studies.engine.results import PAGE_NOTE, mode_of, noted_tables, results_frame
from ablations.studies.kind import Results
from ablations.studies.manifest import FINISHED_NOTE, MANIFEST_NOTE, StudyManifest, query_input
from ablations.studies.views.pages import Judging, Recorded, StoredStudy, recorded_in
from ablations.studies.views.sources import tables_beside
from ablations.tracking.tracker import ChildPage
from analysis.frames import judge_name, load_results


def stored_study(store: Store, name: str, study_id: str, places: Places) -> StoredStudy:
    """Return a study of the store, with the results of the study that it confirms, if there is one.

    Raises:
        StorageError: too little of it is left.
    """
    identity, notes = store.find_study(name) or {}, store.notes(name)
    if MANIFEST_NOTE not in notes:
        raise StorageError(f"the store holds no manifest of the study {name!r}, so that its queries are not known")
    manifest = StudyManifest.from_dict(notes[MANIFEST_NOTE])
    recorded, confirms = recorded_in(store, name, manifest.queries), identity.get("confirms")
    confirmed = store.studies().get(str(confirms))
    account = study_id if confirmed is None else follow_up_account(confirmed)
    pages = (ChildPage.from_dict(note) for kind, note in notes.items() if kind.startswith(f"{PAGE_NOTE} "))
    frame = results_frame(store, name, manifest.queries)
    parent = None if confirms is None else load_results(places.results(confirms))
    return StoredStudy(
        study_id=study_id,
        identity=identity,
        manifest=manifest,
        recorded=recorded,
        results=Results(name, frame, recorded.trials, notes, noted_tables(notes), parent),
        judging=Judging.of(store, account, identity["judge"], manifest.price),
        pages=tuple(sorted(pages, key=lambda page: page.number)),
        finished=notes.get(FINISHED_NOTE, {}).get("at") is not None,
        confirms=confirmed,
    )


def exported_study(name: str, places: Places) -> StoredStudy:
    """Return a study of which its results folder alone is left; raise `StorageError` where that holds no results."""
    path = places.results(name)
    frame, mode = load_results(path), mode_of(path)
    queries = _queries(frame)
    by_id = {query.id: query for query in queries}
    records, turns = {}, {}
    for (number,), rows in frame.group_by("trial", maintain_order=True):
        answered = rows.sort("query_id", "turn").drop_nulls("answer").iter_rows(named=True)
        turns[int(str(number))] = [_turn(row, by_id[row["query_id"]]) for row in answered]
        records[int(str(number))] = _record(rows, turns[int(str(number))])
    used = sum((turn.judgment.usage for of_trial in turns.values() for turn in of_trial), Usage())
    identity: JsonObject = {"queries": content_hash([query.to_dict() for query in queries])}
    return StoredStudy(
        study_id=content_hash([name, sorted(record.condition_id for record in records.values())], length=32),
        identity={},
        manifest=StudyManifest(
            experiment=name,
            about="",
            mode=mode,
            parameters={"judge": judge_name(frame, "none"), "queries_hash": identity["queries"]},
            files={},
            queries=queries,
            inputs=(query_input({}, identity, queries),),
        ),
        recorded=Recorded(records, turns, lambda number: {}),
        results=Results(name, frame, records, tables=tables_beside(path)),
        judging=Judging(used, None, None),
        pages=(),
        finished=True,
        lacking=("the store does not hold it, so that prompts, replies of the judge and options are missing",),
    )


def _queries(frame: pl.DataFrame) -> tuple[Query, ...]:
    """Return the queries of a frame in its order, without the references, which it does not hold."""
    asked = frame.unique(["query_id", "turn"], maintain_order=True)
    queries = []
    for (query_id,), rows in asked.group_by("query_id", maintain_order=True):
        turns = rows.sort("turn")
        queries.append(Query(str(query_id), turns.get_column("category")[0], tuple(turns.get_column("query"))))
    return tuple(queries)


def _record(rows: pl.DataFrame, turns: Sequence[JudgedTurn]) -> TrialRecord:
    """Return what the store would hold of a trial."""
    row = rows.row(0, named=True)
    values = {
        name.removeprefix(PARAMETER_PREFIX): row[name]
        for name in rows.columns
        if name.startswith(PARAMETER_PREFIX) and row[name] is not None
    }
    scores = query_means(turns)
    return TrialRecord(
        number=row["trial"],
        condition_id=row["condition_id"],
        label=row["label"],
        run_name=row["label"],
        role=Role(row["role"]),
        state=TrialState(row["state"]),
        values=values,
        point={name: values[name] for name in row["active"] if name in values},
        mean=sum(scores.values()) / len(scores) if scores else None,
        failed_because=row["failed_because"],
        replicate=row["replicate"],
        varied=row["varied"],
        reference=row["reference"],
        own_run=row["role"] != Role.CANDIDATE,
        arm={name.removeprefix(ARM_PREFIX): row[name] for name in rows.columns if name.startswith(ARM_PREFIX)},
    )


def _turn(row: Mapping[str, object], query: Query) -> JudgedTurn:
    """Return a judged turn as far as the frame has it; the raw completion is not known beyond its answer."""
    fields: JsonObject = dict(row)
    reason = "length" if fields["truncated"] else "stop"
    counts = (fields["prompt_tokens"], fields["completion_tokens"])
    completion = Completion(fields["answer"], *counts, reason, fields["seed"])
    used = Usage(*(fields[f"judge_{name}"] for name in ("calls", "prompt_tokens", "completion_tokens")))
    judgment = Judgment(fields["judge"], Score(fields["score"], fields["unscored"]), usage=used)
    return JudgedTurn(query, fields["turn"], completion, judgment)
