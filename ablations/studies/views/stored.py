"""Stored studies: all that the results of record say of a study.

Knows the store and `results.parquet`; neither Optuna nor MLflow nor what kinds of studies there are.
"""

import json
from collections.abc import Sequence

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
from analysis.frames import deciding, judge_name, load_results, outcome_frames, scales_of


def stored_study(store: Store, name: str, study_id: str, places: Places) -> StoredStudy:
    """Return a study of the store, with the results of the study that it confirms, if there is one.

    Raises:
        StorageError: too little of it is left.
    """
    identity, notes = store.find_study(name) or {}, store.notes(name)
    if MANIFEST_NOTE not in notes:
        raise StorageError(f"the store holds no manifest of the study {name!r}, so that its queries are not known")
    manifest = StudyManifest.from_dict(notes[MANIFEST_NOTE])
    recorded = recorded_in(store, name, manifest.queries, manifest.scales)
    confirms = identity.get("confirms")
    confirmed = store.studies().get(str(confirms))
    account = study_id if confirmed is None else follow_up_account(confirmed)
    pages = (ChildPage.from_dict(note) for kind, note in notes.items() if kind.startswith(f"{PAGE_NOTE} "))
    frame = results_frame(store, name, manifest.queries, manifest.scales)
    parent = None if confirms is None else deciding(load_results(places.results(confirms)))
    return StoredStudy(
        study_id=study_id,
        identity=identity,
        manifest=manifest,
        recorded=recorded,
        record=frame,
        results=Results(
            name, deciding(frame), recorded.trials, notes, noted_tables(notes), parent, outcomes=outcome_frames(frame)
        ),
        judging=Judging.of(store, account, identity["judge"], manifest.price),
        pages=tuple(sorted(pages, key=lambda page: page.number)),
        finished=notes.get(FINISHED_NOTE, {}).get("at") is not None,
        confirms=confirmed,
    )


def exported_study(name: str, places: Places) -> StoredStudy:
    """Return a study of which its results folder alone is left; raise `StorageError` where that holds no results."""
    path = places.results(name)
    record, mode = load_results(path), mode_of(path)
    frame = deciding(record)
    queries = _queries(frame)
    by_id = {query.id: query for query in queries}
    records, turns = {}, {}
    for (number,), rows in record.group_by("trial", maintain_order=True):
        ordered = rows.drop_nulls("answer").sort("decides", descending=True, maintain_order=True)
        answered = ordered.sort("query_id", "turn", maintain_order=True).group_by(
            "query_id", "turn", maintain_order=True
        )
        turns[int(str(number))] = [_turn(own, by_id[str(query)]) for (query, _), own in answered]
        records[int(str(number))] = _record(deciding(rows), turns[int(str(number))])
    judged = (judgment for of_trial in turns.values() for turn in of_trial for judgment in turn.judgments)
    used = sum((judgment.usage for judgment in judged), Usage())
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
            scales=scales_of(record),
        ),
        recorded=Recorded(records, turns, lambda number: {}),
        record=record,
        results=Results(name, frame, records, tables=tables_beside(path), outcomes=outcome_frames(record)),
        judging=Judging(used, None, {}),
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


def _turn(rows: pl.DataFrame, query: Query) -> JudgedTurn:
    """Return a judged turn as far as its rows, one a judge, have it; the raw completion is its answer alone."""
    fields: JsonObject = rows.row(0, named=True)
    reason = "length" if fields["truncated"] else "stop"
    counts = (fields["prompt_tokens"], fields["completion_tokens"])
    completion = Completion(fields["answer"], *counts, reason, fields["seed"])
    judgments = [_judgment(row) for row in rows.iter_rows(named=True)]
    return JudgedTurn(query, fields["turn"], completion, judgments[0], tuple(judgments[1:]))


def _judgment(row: JsonObject) -> Judgment:
    used = Usage(*(row[f"judge_{name}"] for name in ("calls", "prompt_tokens", "completion_tokens")))
    details = json.loads(row["judge_details"])
    return Judgment(row["judge"], Score(row["score"], row["unscored"]), details=details, usage=used)
