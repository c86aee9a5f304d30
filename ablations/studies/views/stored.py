"""Kept studies: all that the results of record say of a study, whatever version kept them.

Knows the store and `results.parquet`; neither Optuna nor MLflow. What an older store does not hold is taken from the
frame as far as that has it, and named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ablations.core.condition import content_hash
from ablations.core.errors import StorageError
from ablations.core.records import Completion, JudgedTurn, Judgment, Query, Role, Score, Usage
from ablations.core.schema import ARM_PREFIX, PARAMETER_PREFIX, RESULT_SCHEMA
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.conditions.confirmation import follow_up_account
from ablations.studies.engine.results import results_frame
from ablations.studies.engine.trial import readable_name
from ablations.studies.greedy.search import FOUND_NOTE, ROUND_NOTE, Found
from ablations.studies.manifest import CARD_NOTE, StudyCard, query_input
from ablations.studies.views.pages import Judging, Recorded, recorded_in
from ablations.tracking.tracker import RoundPage
from analysis.demonstrations.ways import ARM_WAY

_SEARCHED = (Role.CANDIDATE, Role.HELD_BACK)
"""Roles of a greedy search, whose trials have names of their own."""
_NEEDED = {"trial", "condition_id", "role", "label", "state", "query_id", "turn", "query", "answer", "judge", "score"}
_NEEDED |= {"unscored", "prompt_tokens", "completion_tokens", "truncated", "seed"}
"""Columns without which a frame is no study's."""
_DESCRIBED = ("condition_id", "role", "replicate", "varied", "reference", "label", "state", "failed_because", "active")


@dataclass(frozen=True)
class KeptStudy:
    """A study as its results of record hold it.

    Attributes:
        name, study_id: of the study.
        card: what it is made from, as far as that is known.
        recorded: its trials.
        frame: its results.
        judging: what judging took.
        rounds, found: of a greedy search.
        confirms: the study whose confirmation it is, or None.
        finished: whether it came to its end.
        lacking: what is not known, in words.
    """

    name: str
    study_id: str
    card: StudyCard
    recorded: Recorded
    frame: pl.DataFrame
    judging: Judging
    rounds: tuple[RoundPage, ...]
    found: Found | None
    finished: bool
    lacking: tuple[str, ...]
    confirms: str | None = None


def stored_study(store: Store, name: str, study_id: str, places: Places) -> KeptStudy:
    """Return a study of the store; raise `StorageError` where too little of it is left."""
    identity, notes, path = store.find_study(name) or {}, store.notes(name), places.results(name)
    lacking = []
    if CARD_NOTE in notes:
        card = StudyCard.from_dict(notes[CARD_NOTE])
    elif path.is_file():
        card = _card_without_note(name, identity, _queries(_loaded(path)))
        lacking.append(
            "an older version kept it, without study file, options and search space: its experiment has its own name"
        )
    else:
        raise StorageError(f"an older version kept it without its queries, and {path} does not exist")
    recorded = recorded_in(store, name, card.queries)
    complete = _named({n: one for n, one in recorded.trials.items() if n in recorded.turns or "arm" in one})
    rounds = [RoundPage.from_dict(note) for kind, note in notes.items() if kind.startswith(ROUND_NOTE)]
    found = Found.from_dict(notes[FOUND_NOTE]) if FOUND_NOTE in notes else None
    searches = card.mode == "greedy-search"
    if searches and found is None:
        lacking.append("its rounds are not kept: the command that ran it looks them up and shows them again")
    planned = path.is_file() if card.trials is None else len(complete) >= card.trials
    return KeptStudy(
        name=name,
        study_id=study_id,
        card=card,
        recorded=Recorded(complete, recorded.turns, recorded.prompts),
        frame=results_frame(store, name, card.queries),
        judging=Judging.of(store, _account(store, study_id, identity), identity["judge"], card.price),
        rounds=tuple(sorted(rounds, key=lambda page: page.number)),
        found=found,
        finished=found is not None if searches else planned and bool(complete),
        lacking=tuple(lacking),
        confirms=identity.get("confirms"),
    )


def _account(store: Store, study_id: str, identity: Mapping[str, Any]) -> str:
    """Return what a study's judging was paid from: a confirmation pays from one that belongs to its study."""
    confirmed = dict(store.studies()).get(str(identity.get("confirms")))
    return study_id if confirmed is None else follow_up_account(confirmed)


def exported_study(name: str, places: Places) -> KeptStudy:
    """Return a study of which nothing but `results.parquet` is left; raise `StorageError` where that is no results."""
    frame = _loaded(places.results(name))
    queries = _queries(frame)
    judge = str(frame.get_column("judge").drop_nulls()[0])
    searches = "candidate" in frame.get_column("role").unique()
    identity = {
        "queries": content_hash([query.to_dict() for query in queries]),
        "judge": {"judge": judge},
        "mode": "greedy-search" if searches else "icl-vs-ift" if ARM_WAY in frame.columns else "ablation",
    }
    by_id = {query.id: query for query in queries}
    trials, turns = {}, {}
    for (number,), rows in frame.group_by("trial", maintain_order=True):
        own = rows.sort("query_id", "turn")
        answered = own.drop_nulls("answer").iter_rows(named=True)
        turns[int(number)] = [_turn(row, by_id[row["query_id"]]) for row in answered]
        trials[int(number)] = _record(own)
    used = sum((turn.judgment.usage for of_trial in turns.values() for turn in of_trial), Usage())
    return KeptStudy(
        name=name,
        study_id=content_hash([name, sorted(record["condition_id"] for record in trials.values())], length=32),
        card=_card_without_note(name, identity, queries),
        recorded=Recorded(_named(trials), turns, lambda number: {}),
        frame=frame,
        judging=Judging(used, None, None),
        rounds=(),
        found=None,
        finished=not searches,
        lacking=("the store does not hold it, so that prompts, replies of the judge and options are missing",),
    )


def _named(trials: Mapping[int, Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Return the records with the names of their runs, which older versions did not keep."""
    baseline: Mapping[str, Any] = next((r["values"] for r in trials.values() if r["role"] == Role.BASELINE), {})
    named: dict[int, Mapping[str, Any]] = {}
    for number, record in trials.items():
        values = {name: value for name, value in record["values"].items() if name in record["active"]}
        mark = "A/A: " if record["replicate"] else "baseline: " if record["role"] == Role.BASELINE else ""
        own = record["label"] if record["role"] in _SEARCHED else readable_name(values, baseline, mark)
        named[number] = {"run_name": own, **record}
    return named


def _loaded(path: Path) -> pl.DataFrame:
    """Return the results in a file; columns that its version did not have yet are empty."""
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    if frame.is_empty() or not set(frame.columns) >= _NEEDED:
        raise StorageError(f"{path} holds no results of a study")
    empty = {
        "judge_details": "{}",
        **dict.fromkeys(("judge_calls", "judge_prompt_tokens", "judge_completion_tokens"), 0),
    }
    lacking = {name: kind for name, kind in RESULT_SCHEMA.items() if name not in frame.columns}
    return frame.with_columns(pl.lit(empty.get(name)).cast(kind).alias(name) for name, kind in lacking.items())


def _queries(frame: pl.DataFrame) -> tuple[Query, ...]:
    """Return the queries of a frame in its order, without the references, which it does not hold."""
    asked = frame.unique(["query_id", "turn"], maintain_order=True)
    queries = []
    for (query_id,), rows in asked.group_by("query_id", maintain_order=True):
        turns = rows.sort("turn")
        queries.append(Query(str(query_id), turns.get_column("category")[0], tuple(turns.get_column("query"))))
    return tuple(queries)


def _card_without_note(name: str, identity: Mapping[str, Any], queries: tuple[Query, ...]) -> StudyCard:
    judge = identity.get("judge", {})
    kept = ("model", "backend", "engine", "mode", "sampler", "design", "levels", "seed", "min_coverage")
    parameters = {one: identity[one] for one in kept if one in identity}
    parameters |= {"queries_hash": identity["queries"], "judge": judge["judge"]}
    parameters |= {f"judge.{one}": value for one, value in judge.items() if one != "judge"}
    return StudyCard(
        experiment=name,
        about="",
        mode=str(identity.get("mode", "ablation")),
        parameters=parameters,
        files={},
        queries=queries,
        inputs=(query_input({}, identity, queries),),
    )


def _record(rows: pl.DataFrame) -> dict[str, Any]:
    """Return what the store would keep of a trial."""
    row = rows.row(0, named=True)
    names = (name for name in rows.columns if name.startswith(PARAMETER_PREFIX) and row[name] is not None)
    arm = {name.removeprefix(ARM_PREFIX): row[name] for name in rows.columns if name.startswith(ARM_PREFIX)}
    scored = rows.drop_nulls("score").group_by("query_id").agg(pl.col("score").mean())
    return {
        **{name: row[name] for name in _DESCRIBED},
        "values": {name.removeprefix(PARAMETER_PREFIX): row[name] for name in names},
        "seconds": 0.0,
        "mean": scored.get_column("score").mean(),
        **({"arm": arm, "run_name": row["label"]} if arm else {}),
    }


def _turn(row: Mapping[str, Any], query: Query) -> JudgedTurn:
    """Return a judged turn as far as the frame has it; the raw completion is not known beyond its answer."""
    reason = "length" if row["truncated"] else "stop"
    completion = Completion(row["answer"], row["prompt_tokens"], row["completion_tokens"], reason, row["seed"])
    used = (row.get(f"judge_{name}") or 0 for name in ("calls", "prompt_tokens", "completion_tokens"))
    judgment = Judgment(row["judge"], Score(row["score"], row["unscored"]), usage=Usage(*used))
    return JudgedTurn(query, row["turn"], completion, judgment)
