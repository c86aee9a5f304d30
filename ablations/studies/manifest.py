"""The manifest: what the store keeps of a study beside its results, so that its views can be rebuilt without its files.

Knows what a study is made from; neither Optuna nor MLflow nor what the study found.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ablations.core.errors import StorageError
from ablations.core.jsonl import JsonObject
from ablations.core.records import Price, Query
from ablations.core.statistics import Scale
from ablations.judges.base import ALSO
from ablations.storage.provenance import environment
from ablations.studies.config.space import SearchSpace
from ablations.studies.kind import Plan
from ablations.tracking.inputs import DataInput

MANIFEST_NOTE = "manifest"
"""The kind of note that holds a manifest."""
FINISHED_NOTE = "finished"
"""The kind of note that says when a study came to its end last."""
SPACE_FILE, POOL_FILE, ENVIRONMENT_FILE = "search_space.toml", "pool.txt", "environment.json"


@dataclass(frozen=True)
class StudyManifest:
    """Facts that the views of a study show beside its results.

    Attributes:
        experiment: the study file's name.
        about: what the study file says that it studies.
        mode: which kind of study it is of, as `registry` lists them.
        parameters: what was in force, by name.
        files: texts that belong to the study, by file name.
        queries: the evaluation set.
        inputs: the data sets that it reads.
        price: of the judge's model, or None.
        scales: what the scores of each judge are read against, by its name; the judge that decides first.
        space: the varied parameters; None where that is not known.
        trials: how many the study has when it is done; None where that is not known.
    """

    experiment: str
    about: str
    mode: str
    parameters: Mapping[str, object]
    files: Mapping[str, str]
    queries: tuple[Query, ...]
    inputs: tuple[DataInput, ...] = ()
    price: Price | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)
    space: SearchSpace | None = None
    trials: int | None = None

    @classmethod
    def of(
        cls,
        plan: Plan,
        identity: JsonObject,
        price: Price | None,
        scales: Mapping[str, Scale],
    ) -> "StudyManifest":
        """Return the manifest of a study.

        Args:
            plan: of the study.
            identity: the plan's.
            price: of the judge's model, or None.
            scales: what the scores of each judge are read against, by its name; the judge that decides first.
        """
        spec = plan.spec
        options = spec.config.effective()
        parameters = {
            **options,
            **({} if spec.confirms is None else {"confirms": spec.confirms}),
            "model": identity["model"],
            "asked_model": options.get("model"),
            "engine": identity["engine"],
            "queries_hash": identity["queries"],
            **{f"judge.{name}": value for name, value in identity["judge"].items() if name not in ("judge", ALSO)},
        }
        files = {SPACE_FILE: spec.config.text, ENVIRONMENT_FILE: json.dumps(environment(), indent=2)}
        inputs = [query_input(options, identity, spec.queries)]
        pools = [one.chooser.pool for one in spec.pools]
        if pools:
            allowed = any(one.allowed for one in spec.pools)
            parameters |= {"pool": ", ".join(pool.name for pool in pools), "allow_overlap": allowed}
            notes = [note for one in spec.pools for note in one.notes]
            files[POOL_FILE] = "".join(f"{note}\n" for note in notes) or "nothing was left out\n"
        for pool in pools:
            columns, profile = {"query": "string", "answer": "string"}, {"rows": len(pool.demonstrations)}
            inputs.append(DataInput(_file_name(pool.name), pool.identity, "demonstrations", columns, profile))
        return cls(
            experiment=spec.config.file,
            about=spec.config.study.description,
            mode=spec.config.mode,
            parameters=parameters,
            files=files,
            queries=spec.queries,
            inputs=tuple(inputs),
            price=price,
            scales=dict(scales),
            space=plan.space,
            trials=plan.trials,
        )

    def to_dict(self) -> JsonObject:
        """Return the fields as plain JSON types."""
        return {
            "experiment": self.experiment,
            "about": self.about,
            "mode": self.mode,
            "parameters": dict(self.parameters),
            "files": dict(self.files),
            "queries": [query.to_dict() for query in self.queries],
            "inputs": [one.to_dict() for one in self.inputs],
            "price": None if self.price is None else asdict(self.price),
            "scales": {name: scale.to_dict() for name, scale in self.scales.items()},
            "space": None if self.space is None else self.space.to_dict(),
            "trials": self.trials,
        }

    @classmethod
    def from_dict(cls, fields: JsonObject) -> "StudyManifest":
        """Build the manifest from what `to_dict` returned.

        Raises:
            StorageError: another version of the toolkit wrote it.
        """
        try:
            return cls._of_fields(fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(
                f"the study's manifest cannot be read ({error!r}): it is damaged, or another version wrote it; run the "
                "study's command with --fresh (stored completions are reused), or name another folder with --mlruns"
            ) from error

    @classmethod
    def _of_fields(cls, fields: JsonObject) -> "StudyManifest":
        price, space = fields["price"], fields["space"]
        return cls(
            **{name: fields[name] for name in ("experiment", "about", "mode", "parameters", "files", "trials")},
            queries=tuple(Query.from_dict(query) for query in fields["queries"]),
            inputs=tuple(DataInput.from_dict(one) for one in fields["inputs"]),
            price=None if price is None else Price(**price),
            scales={name: Scale.from_dict(scale) for name, scale in fields["scales"].items()},
            space=None if space is None else SearchSpace.from_dict(space),
        )


def query_input(options: Mapping[str, object], identity: Mapping[str, object], queries: Sequence[Query]) -> DataInput:
    """Return the evaluation set as a data set, under the name that the options give it."""
    profile = {
        "rows": len(queries),
        "turns": sum(len(query.turns) for query in queries),
        "with_reference": sum(any(query.references) for query in queries),
    }
    profile |= {f"category {name}": count for name, count in Counter(query.category for query in queries).items()}
    columns = {"id": "string", "category": "string", "turns": "string", "references": "string"}
    name = _file_name(str(options.get("queries", "queries")))
    return DataInput(name, str(identity["queries"]), "evaluation", columns, profile)


def _file_name(source: str) -> str:
    return Path(source).name or source
