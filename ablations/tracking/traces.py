"""Traces: what was asked, what was answered and what the judge made of it, one trace a turn.

Written through MLflow's lowest interface, in the calling thread: a trace takes a hundredth of a second on SQLite, and
nothing runs in the background. A trace's id comes from its content, so that none is written twice.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablations.core.condition import content_hash
from ablations.core.records import JudgedTurn, Judgment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Feedback

UNSCORED = "UNSCORED"
"""The error code of a judgment without a score; its message is the reason."""
STUDY_ID = "ablations.study_id"
"""The tag of runs and traces that holds the id of their study."""
_ROLE_TAG = "ablations.role"
_PREVIEW = 1_000


@dataclass(frozen=True)
class TracedTrial:
    """A trial whose turns are shown as traces.

    Attributes:
        number: of the trial.
        role: why it is shown, such as "baseline" or "best".
        name: what people call it.
        condition_id: what it evaluated.
        turns: those to show.
        prompts: the exact prompts by query id and turn; one that is not known is left out.
        ended: when the trial ended, in seconds since the epoch.
    """

    number: int
    role: str
    name: str
    condition_id: str
    turns: Sequence[JudgedTurn]
    prompts: Mapping[tuple[str, int], str]
    ended: float


def log_traces(
    client: "MlflowClient",
    uri: str,
    experiment_id: str,
    study_id: str,
    run_ids: Mapping[int, str],
    trials: Sequence[TracedTrial],
) -> None:
    """Make the study's traces these and no others; those that are there already are left as they are."""
    from mlflow.tracing.client import TracingClient

    tracing = TracingClient(uri)
    wanted = {
        trace_id: (trial, turn, trial.ended - place / 1000)  # the newest stand first on the pages
        for trial in trials
        for place, (trace_id, turn) in enumerate(_identified(study_id, run_ids[trial.number], trial))
    }
    known = set(_known(client, experiment_id, study_id))
    if outdated := sorted(known - set(wanted)):
        client.delete_traces(experiment_id, trace_ids=outdated)
    spans = []
    for trace_id, (trial, turn, when) in wanted.items():
        if trace_id not in known:
            tracing.start_trace(_info(trace_id, experiment_id, study_id, run_ids[trial.number], trial, turn, when))
            spans.append(_span(trace_id, trial, turn, when))
    if spans:
        tracing.log_spans(experiment_id, spans)


def drop_traces(client: "MlflowClient", experiment_id: str, study_id: str) -> None:
    """Delete all traces of a study."""
    if known := list(_known(client, experiment_id, study_id)):
        client.delete_traces(experiment_id, trace_ids=known)


def _identified(study_id: str, run_id: str, trial: TracedTrial) -> Iterator[tuple[str, JudgedTurn]]:
    for turn in trial.turns:
        content = [study_id, run_id, trial.role, turn.query.id, turn.turn]
        made = [turn.completion.to_dict(), turn.judgment.to_dict()]
        yield f"tr-{content_hash([*content, *made], length=32)}", turn


def _known(client: "MlflowClient", experiment_id: str, study_id: str) -> Iterator[str]:
    token = None
    while True:
        page = client.search_traces(
            locations=[experiment_id],
            filter_string=f"tags.`{STUDY_ID}` = '{study_id}'",
            max_results=500,
            page_token=token,
            include_spans=False,
        )
        yield from (trace.info.trace_id for trace in page)
        token = page.token
        if not token:
            return


def _info(
    trace_id: str, experiment_id: str, study_id: str, run_id: str, trial: TracedTrial, turn: JudgedTurn, when: float
) -> Any:
    from mlflow.entities.trace_info import TraceInfo
    from mlflow.entities.trace_location import TraceLocation
    from mlflow.entities.trace_state import TraceState

    return TraceInfo(
        trace_id,
        TraceLocation.from_experiment_id(experiment_id),
        request_time=int(when * 1000),
        state=TraceState.OK,
        request_preview=turn.query.turns[turn.turn - 1][:_PREVIEW],
        response_preview=turn.completion.answer[:_PREVIEW],
        execution_duration=0,
        trace_metadata={"mlflow.sourceRun": run_id, "mlflow.trace.tokenUsage": json.dumps(_usage(turn))},
        tags={
            "mlflow.traceName": f"{trial.role}: {turn.query.id}, turn {turn.turn}",
            STUDY_ID: study_id,
            _ROLE_TAG: trial.role,
            "ablations.condition_id": trial.condition_id,
            "ablations.trial": str(trial.number),
            "ablations.category": turn.query.category,
        },
        assessments=[_feedback(trace_id, judgment, int(when * 1000)) for judgment in turn.judgments],
    )


def _feedback(trace_id: str, judgment: Judgment, when: int) -> "Feedback":
    """Return a judge's score with its reply; a judgment without a score is an error with the reason, no number."""
    from mlflow.entities import AssessmentSource, Feedback
    from mlflow.entities.assessment_error import AssessmentError

    score = judgment.score
    return Feedback(
        name=judgment.judge,
        value=score.value,
        error=None if score.reason is None else AssessmentError(UNSCORED, score.reason),
        source=AssessmentSource("LLM_JUDGE" if judgment.usage.calls else "CODE", judgment.judge),
        trace_id=trace_id,
        rationale=judgment.replies[-1] if judgment.replies else None,
        metadata={name: f"{value:g}" for name, value in judgment.details.items()} or None,
        create_time_ms=when,
        last_update_time_ms=when,
    )


def _span(trace_id: str, trial: TracedTrial, turn: JudgedTurn, when: float) -> Any:
    from mlflow.entities.span import Span

    query, completion = turn.query, turn.completion
    inputs = {"query": query.turns[turn.turn - 1]}
    if (prompt := trial.prompts.get((query.id, turn.turn))) is not None:
        inputs["prompt"] = prompt
    attributes: dict[str, Any] = {
        "mlflow.traceRequestId": trace_id,
        "mlflow.spanType": "LLM",
        "mlflow.spanInputs": inputs,
        "mlflow.spanOutputs": completion.answer,
        "mlflow.chat.tokenUsage": _usage(turn),
        "finish_reason": completion.finish_reason,
        "seed": completion.seed,
        "condition_id": trial.condition_id,
        "condition": trial.name,
        "raw_completion": completion.text,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
    moment = int(when * 1_000_000_000)
    return Span.from_dict(
        {
            "trace_id": trace_id,
            "span_id": trace_id.removeprefix("tr-")[:16],
            "parent_span_id": None,
            "name": f"{query.id}, turn {turn.turn}",
            "start_time_unix_nano": moment,
            "end_time_unix_nano": moment,
            "events": [],
            "status": {"code": "STATUS_CODE_OK", "message": ""},
            "attributes": {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()},
            "links": [],
        }
    )


def _usage(turn: JudgedTurn) -> dict[str, int]:
    read, written = turn.completion.prompt_tokens, turn.completion.completion_tokens
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
