"""Cards: what the store keeps of a study beside its results, so that its views can be made anew without its files.

Knows what a study is made from; neither Optuna nor MLflow nor what the study found.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ablations.core.condition import plain_value
from ablations.core.prompt import Value
from ablations.core.records import Price, Query
from ablations.storage.provenance import environment
from ablations.studies.config.space import SearchSpace, typed_value
from ablations.studies.spec import StudySpec
from ablations.tracking.inputs import DataInput

CARD_NOTE = "card"
"""The kind of note that holds a card."""
SPACE_FILE, POOL_FILE, ENVIRONMENT_FILE = "search_space.toml", "pool.txt", "environment.json"


@dataclass(frozen=True)
class StudyCard:
    """What the views of a study show beside its results.

    Attributes:
        experiment: the study file's name.
        about: what the study file says that it studies.
        mode: as in the spec.
        parameters: what was in force, by name.
        files: texts that belong to the study, by file name.
        queries: the evaluation set.
        inputs: the data sets that it reads.
        price: of the judge's model, or None.
        space: the varied parameters; None where that is not known.
        design: the values of the planned trials, in their order.
        trials: how many the study has when it is done; None where that is not known.
    """

    experiment: str
    about: str
    mode: str
    parameters: Mapping[str, Any]
    files: Mapping[str, str]
    queries: tuple[Query, ...]
    inputs: tuple[DataInput, ...] = ()
    price: Price | None = None
    space: SearchSpace | None = None
    design: tuple[Mapping[str, Value], ...] = field(default=(), hash=False)
    trials: int | None = None

    @classmethod
    def of(
        cls,
        spec: StudySpec,
        options: Mapping[str, Any],
        identity: Mapping[str, Any],
        price: Price | None,
        trials: int | None = None,
    ) -> "StudyCard":
        """Return the card of a study.

        Args:
            spec: of the study.
            options: those in force.
            identity: the spec's.
            price: of the judge's model, or None.
            trials: how many it has when it is done, where its design does not say so.
        """
        parameters = {
            **options,
            "model": identity["model"],
            "asked_model": options.get("model"),
            "engine": identity["engine"],
            "queries_hash": identity["queries"],
            **{f"judge.{name}": value for name, value in identity["judge"].items() if name != "judge"},
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
        varies = spec.config.kind.varies
        return cls(
            experiment=spec.config.file,
            about=spec.config.study.description,
            mode=spec.mode,
            parameters=parameters,
            files=files,
            queries=spec.queries,
            inputs=tuple(inputs),
            price=price,
            space=spec.space if varies else None,
            design=tuple(point.values for point in spec.design) if varies else (),
            trials=spec.total_trials if varies else trials,
        )

    def to_dict(self) -> dict[str, Any]:
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
            "space": None if self.space is None else self.space.to_dict(),
            "design": [{name: plain_value(value) for name, value in values.items()} for values in self.design],
            "trials": self.trials,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "StudyCard":
        """Build the card from what `to_dict` returned."""
        price, space = fields["price"], fields["space"]
        return cls(
            **{name: fields[name] for name in ("experiment", "about", "mode", "parameters", "files", "trials")},
            queries=tuple(Query.from_dict(query) for query in fields["queries"]),
            inputs=tuple(DataInput.from_dict(one) for one in fields["inputs"]),
            price=None if price is None else Price(**price),
            space=None if space is None else SearchSpace.from_dict(space),
            design=tuple(typed_values(values) for values in fields["design"]),
        )


def query_input(options: Mapping[str, Any], identity: Mapping[str, Any], queries: Sequence[Query]) -> DataInput:
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


def typed_values(values: Mapping[str, Any]) -> dict[str, Value]:
    """Return parameter values that went through JSON as a condition has them."""
    return {name: typed_value(name, value) for name, value in values.items()}


def _file_name(source: str) -> str:
    return Path(source).name or source
