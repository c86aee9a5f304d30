"""Reproduction: a trial's requests made again as they were sent, and what comes out otherwise.

Knows the store and the backend; nothing is written. Answers of a judge that is paid are not asked for again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from ablations.core.concurrency import together
from ablations.core.errors import StorageError, UsageError
from ablations.core.jsonl import JsonObject
from ablations.core.records import Completion, Judgment, Query
from ablations.judges.base import Judge
from ablations.models.base import Backend
from ablations.models.placement import engine_backend, other_engine
from ablations.models.resolve import folder_identity
from ablations.models.training.jobs import MERGED, RESULT
from ablations.models.vllm.adapters import AdaptedBackend
from ablations.models.vllm.settings import Adapter
from ablations.storage.provenance import changes, environment
from ablations.storage.store import Store, StoredRequest
from ablations.storage.workspace import Places
from ablations.studies.manifest import ENVIRONMENT_FILE, MANIFEST_NOTE, StudyManifest
from ablations.studies.spec import differences

_NOISE = 1e-5
"""Points: embeddings of one text in two batches differ by about 1e-7."""


@dataclass(frozen=True)
class StoredTrial:
    """A finished trial as it was asked for.

    Attributes:
        study: its study's name.
        number: of the trial.
        label: what it is called.
        requests: every turn's, with what came back.
        queries: of the study, by id.
        manifest: the study's.
        identity: what the study was made from, with what answered this trial.
        arm: what the results say of what answered, where that differs from trial to trial.
        job: the key of the training that made its weights, or None.
        answered_by_other: the model that answered, where that is another one than the study's own; else None.
    """

    study: str
    number: int
    label: str
    requests: tuple[StoredRequest, ...]
    queries: Mapping[str, Query]
    manifest: StudyManifest
    identity: JsonObject
    arm: Mapping[str, str | int | float | None] = field(default_factory=dict)
    job: str | None = None
    answered_by_other: str | None = None

    @classmethod
    def read(cls, store: Store, study: str, number: int) -> "StoredTrial":
        """Return a trial of the store.

        Raises:
            StorageError: the store does not hold it, or its study's manifest.
        """
        identity, notes, records = store.find_study(study), store.notes(study), store.trials(study)
        if identity is None or number not in records:
            raise StorageError(
                f"the store holds no trial {number} of a study {study!r}; name the folder it was run in with --mlruns"
            )
        if MANIFEST_NOTE not in notes:
            raise StorageError(f"the store holds no manifest of the study {study!r}; run its command again first")
        manifest, record = StudyManifest.from_dict(notes[MANIFEST_NOTE]), records[number]
        own_model = identity["model"]
        if (by := record.answered_by) is not None:
            identity |= {"model": by["model"], "backend": by["backend"], "engine": by["settings"]}
        other = record.arm.get("model") if by is not None and by["model"] != own_model else None
        return cls(
            answered_by_other=None if other is None or record.job is not None else str(other),
            study=study,
            number=number,
            label=record.label,
            requests=tuple(store.requests(study, number, next(iter(manifest.scales)))),
            queries={query.id: query for query in manifest.queries},
            manifest=manifest,
            identity=identity,
            arm=record.arm,
            job=record.job,
        )


@dataclass(frozen=True)
class Repeated:
    """A turn's answer and score, before and now; scores are None where there is none or nobody was asked again."""

    request: StoredRequest
    completion: Completion
    score: float | None

    @property
    def same(self) -> bool:
        """Whether the answer is the same, character for character."""
        return self.request.completion.text == self.completion.text

    @property
    def same_score(self) -> bool:
        """Whether the scores are equal, but for numerical noise (`_NOISE`)."""
        then, now = self.request.judgment.score.value, self.score
        return then == now if then is None or now is None else abs(then - now) < _NOISE

    @property
    def first_difference(self) -> int:
        """How many characters agree from the beginning."""
        pairs = zip(self.request.completion.text, self.completion.text, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@dataclass(frozen=True)
class Reproduction:
    """Differences between a trial and its repetition.

    Attributes:
        turns: every turn that was asked again, in the order of queries.
        changes: what the study is made from otherwise than then, in words.
        environment: name -> (then, now); None where it was not stored.
        judged: whether the judge was asked again.
    """

    turns: tuple[Repeated, ...]
    changes: tuple[str, ...]
    environment: Mapping[str, tuple[str, str]] | None
    judged: bool

    @property
    def differing(self) -> tuple[Repeated, ...]:
        """The turns with another answer or score."""
        return tuple(turn for turn in self.turns if not turn.same or (self.judged and not turn.same_score))


async def reproduce(
    stored: StoredTrial, backend: Backend, judge: Judge | None, limit: int | None = None
) -> Reproduction:
    """Ask for a trial's completions again and compare them; `judge`, where it is one, scores them again.

    Backend and judge have started. `limit` takes the first queries alone.

    Raises:
        UsageError: there is nothing to ask for.
    """
    names = list(dict.fromkeys(request.query_id for request in stored.requests))[:limit]
    asked = [request for request in stored.requests if request.query_id in names]
    if not asked:
        raise UsageError(f"trial {stored.number} of {stored.study!r} has no stored answer; run its study again first")

    async def again(request: StoredRequest) -> Completion:
        return await backend.generate(request.prompt, request.decoding, request.completion.seed)

    made = await together(again(request) for request in asked)
    scores = await _scores(stored.queries, asked, made, judge)
    then = stored.manifest.files.get(ENVIRONMENT_FILE)
    now = {"model": backend.identity.model, "backend": backend.identity.backend, "engine": backend.identity.settings}
    return Reproduction(
        turns=tuple(Repeated(*one) for one in zip(asked, made, scores, strict=True)),
        changes=tuple(differences({name: stored.identity[name] for name in now}, json.loads(json.dumps(now)))),
        environment=None if then is None else changes(json.loads(then), environment()),
        judged=judge is not None,
    )


async def _scores(
    queries: Mapping[str, Query], asked: Sequence[StoredRequest], made: Sequence[Completion], judge: Judge | None
) -> list[float | None]:
    if judge is None:
        return [None] * len(asked)
    by_turn = {(one.query_id, one.turn): completion for one, completion in zip(asked, made, strict=True)}

    async def score(request: StoredRequest) -> Judgment:
        completions = [by_turn[request.query_id, turn] for turn in range(1, request.turn + 1)]
        return await judge.judge(queries[request.query_id], completions)

    return [judgment.score.value for judgment in await together(score(request) for request in asked)]


def backend_of(trial: StoredTrial, model: str, places: Places, say: Callable[[str], None]) -> Backend:
    """Return the engine that made a trial's answers, not started.

    Args:
        trial: a stored one.
        model: the study's own model, where it lies now.
        places: where trained weights are.
        say: tells the user what happens.

    Raises:
        StorageError: its weights are gone.
    """
    settings = {name: value for name, value in trial.identity["engine"].items() if name != "vllm"}
    log_file = places.engine_log(trial.study)
    if trial.job is None:
        other = trial.answered_by_other
        return (
            engine_backend(model, settings, log_file, say)
            if other is None
            else other_engine(other, settings, log_file, say)
        )
    full, adapts = trial.arm.get("tuning") == "full", bool(settings.get("enable_lora"))
    folder = places.tuned / trial.job / (RESULT if full or adapts else MERGED)
    if not folder.is_dir():
        raise StorageError(
            f"the tuned weights in {folder} are gone; run the study's command again with --fresh, which trains them "
            "again and finds the stored answers, then this"
        )
    if full or not adapts:
        return other_engine(str(folder), settings, log_file, say)
    adapter = Adapter("tuned", 1, folder, f"lora:{folder_identity(folder)}")
    return AdaptedBackend(engine_backend(model, settings, log_file, say), adapter, alone=True)
