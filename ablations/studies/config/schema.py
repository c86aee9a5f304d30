"""The JSON Schema of a study file, and the tables of its reference, which are drawn from it.

Knows tables by their keys; which kinds of studies there are is an argument.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path

from ablations.core.condition import DECODING_PARAMETERS, PARAMETERS, STOP_NAMES
from ablations.core.jsonl import JsonObject
from ablations.prompts.components import SOURCES, STYLES, SYSTEM_PROMPTS
from ablations.prompts.ordering import MATCHINGS, ORDERS
from ablations.prompts.templates import TEMPLATES
from ablations.studies.config.config import KindConfig
from ablations.studies.config.file import PARAMETER_KEYS
from ablations.studies.config.keys import Field, Key, table_fields
from ablations.studies.config.tables import SHARED, StudyTable

Kinds = Mapping[str, type[KindConfig]]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Mapping[object, str] = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean"}
_FINITE: JsonObject = {"type": "number"}
_WHOLE: JsonObject = {"type": "integer", "minimum": 0}
_TEXTS: JsonObject = {"type": "array", "items": {"type": "string", "minLength": 1}}


def _number(low: float, high: float, said: str, *, above: bool = False) -> JsonObject:
    return _FINITE | {"exclusiveMinimum" if above else "minimum": low, "maximum": high, "description": said}


def _one_of(known: Iterable[str], said: str) -> JsonObject:
    return {"enum": list(known), "description": said}


_VALUES: Mapping[str, JsonObject] = {
    "temperature": _number(0, 2, "0 (greedy), or 0.01 to 2"),
    "top_p": _number(0, 1, "above 0 to 1", above=True),
    "top_k": {"type": "integer", "minimum": -1, "description": "whole; 0 for all tokens"},
    "min_p": _number(0, 1, "0 to 1"),
    "repetition_penalty": _number(0, 2, "above 0 to 2; 1 is neutral", above=True),
    "presence_penalty": _number(-2, 2, "-2 to 2"),
    "frequency_penalty": _number(-2, 2, "-2 to 2"),
    "max_tokens": {"type": "integer", "minimum": 1, "description": "whole, per turn"},
    "stop": {
        "anyOf": [{"enum": list(STOP_NAMES)}, _TEXTS],
        "description": "`headings` (`# Query`, `# User`), `fence` (the closing fence), `none`, or a list of strings",
    },
    "system_prompt": {
        "anyOf": [{"enum": list(SYSTEM_PROMPTS)}, {"type": "string", "pattern": r"\.txt$"}],
        "description": "`full`, `short`, `none`, or a text file (`*.txt`), such as `import urial FILE --system-prompt` "
        "writes",
    },
    "template": _one_of(
        TEMPLATES,
        "`urial` (`# Query:`, `# Answer:`, fences), `urial-v5` and `urial-v6` (`# User:`, `# Assistant:`, with and "
        "without empty lines), `user-assistant` (no hash), `question` (Han's `Question:`), `chat` (the model's own "
        "chat template)",
    ),
    "shots": _WHOLE | {"description": "how many demonstrations: whole, from 0 to what the pool holds"},
    "source": _one_of(
        SOURCES,
        "which ones: `first` (the pool's order), `random`, `diverse` (nearest to the middles of clusters of "
        "embeddings), `greedy` (what a greedy search had found at that number), `retrieved` (for each query the "
        "nearest, most similar last), `random-per-query` (for each query as many random ones as `retrieved` shows it, "
        "whatever they take together)",
    ),
    "draw": _WHOLE | {"description": "whole, from 0: which of several random draws; requires a random source"},
    "style": _one_of(
        STYLES,
        "how they are written: `warm` (URIAL's way), `steps` (its structure alone), `plain` (prose), `terse` (one "
        "line)",
    ),
    "order": _one_of(ORDERS, "`given`, `reversed`, `by-length` (shortest first), `shuffled`"),
    "matching": _one_of(
        MATCHINGS,
        "the answer under each query: `correct`, `shifted` (the next query's), `pool` (a random other query's), "
        "`outside` (to none of them), `none`",
    ),
}
"""Possible values of each parameter of a condition. The texts are those of the reference."""


def study_schema(kinds: Kinds, only: str | None = None) -> JsonObject:
    """Return the JSON Schema (draft 2020-12) of a study file of one of these kinds.

    Args:
        kinds: the kinds by mode; a file that names no mode is of the first.
        only: the one mode that the schema is for; None for all.
    """
    default = next(iter(kinds))
    kinds = kinds if only is None else {only: kinds[only]}
    named: JsonObject = {} if default in kinds else {"required": ["mode"]}
    tables = {name: _table(name, kinds) for name in dict.fromkeys([*SHARED, *(one.table for one in kinds.values())])}
    study = tables["study"]["properties"]
    about = "; ".join(f"`{mode}`: {kind.about}" for mode, kind in kinds.items())
    study["mode"] = {"enum": list(kinds), "description": f"the kind of study. {about}"}
    study["mode"] |= {} if named else {"default": default}
    tables["study"] |= named
    study["baseline"] = _parameters("the condition that effects are measured against")
    return {
        "$schema": DIALECT,
        "title": "A study file of ablations",
        "type": "object",
        "additionalProperties": False,
        **({"required": ["study"]} if named else {}),
        "properties": tables
        | {
            "parameters": {
                "type": "object",
                "description": "the varied parameters",
                "additionalProperties": False,
                "properties": {name: _domain(name) for name in PARAMETERS},
            },
            "engine": {"type": "object", "description": "arguments of vLLM's engine, as they are"},
        },
        "$defs": {name: dict(_VALUES[name]) for name in PARAMETERS},
        "allOf": [_rule(mode, kinds, mode == default) for mode in kinds],
    }


def _table(name: str, kinds: Kinds) -> JsonObject:
    owners = [kind for kind in kinds.values() if kind.table == name]
    found: JsonObject = {}
    for table in (*([SHARED[name]] if name in SHARED else []), *owners):
        for field in table_fields(table).values():
            found.setdefault(field.name, _schema(field))
    return {"type": "object", "additionalProperties": False, "properties": found}


def _schema(field: Field) -> JsonObject:
    """Return the schema of a key."""
    key, one = field.key, _parameters("") if field.type is dict else {"type": _TYPES[field.type]}
    bounds = {"minimum": key.least, "exclusiveMinimum": key.above, "maximum": key.most}
    one |= {name: bound for name, bound in bounds.items() if bound is not None}
    one |= {"enum": list(key.choices)} if key.choices else {}
    if field.many and field.type is str:
        one |= {"minLength": 1}
    schema = {"type": "array", "items": one} if field.many else one
    schema["description"] = _text(key)
    if key.default:
        return schema | {"$comment": f"default: {key.default}"}
    if field.default in (None, MISSING, "", ()):
        return schema
    return schema | {"default": list(field.default) if isinstance(field.default, tuple) else field.default}


def _parameters(said: str) -> JsonObject:
    properties = {name: {"$ref": f"#/$defs/{name}"} for name in PARAMETERS}
    return {"type": "object", "description": said, "additionalProperties": False, "properties": properties}


def _domain(name: str) -> JsonObject:
    """Return the schema of `[parameters.NAME]`."""
    types: Mapping[str, JsonObject] = {
        **dict.fromkeys(("low", "high"), _FINITE),
        "step": {"type": "number", "exclusiveMinimum": 0},
        "log": {"type": "boolean", "default": False},
        "choices": {"type": "array", "minItems": 2, "items": {"$ref": f"#/$defs/{name}"}},
        "requires": {"type": "string", "pattern": r"^\s*\w+\s*(>=|<=|==|!=|>|<)\s*.+$"},
    }
    ranged = name in DECODING_PARAMETERS or name in ("shots", "draw")
    ends: list[JsonObject] = [{"required": ["low", "high"], "not": {"required": ["choices"]}}] if ranged else []
    choices: JsonObject = {"required": ["choices"], "not": {"anyOf": [{"required": [key]} for key in list(types)[:4]]}}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: types[key] | {"description": _text(said)} for key, said in PARAMETER_KEYS.items()},
        "oneOf": [*ends, choices],
    }


def _text(key: Key) -> str:
    return f"{key.help}. {key.more}" if key.more else key.help


def _rule(mode: str, kinds: Kinds, default: bool) -> JsonObject:
    """Return what a file of one mode may hold, as a conditional schema."""
    kind = kinds[mode]
    own = {"mode", "baseline", *table_fields(StudyTable)}
    own |= set(table_fields(kind)) if kind.table == "study" else set()
    asked: JsonObject = {"properties": {"study": {"properties": {"mode": {"const": mode}}}}}
    if not default:
        asked = asked | {"required": ["study"]}
        asked["properties"]["study"]["required"] = ["mode"]
    foreign = {one.table for one in kinds.values()} - {kind.table, *SHARED}
    may = {"study": {"propertyNames": {"enum": sorted(own)}}} | dict.fromkeys(sorted(foreign), False)
    varied: JsonObject = {"minProperties": 1} if kind.varies else {"maxProperties": 0}
    needed: JsonObject = {"required": ["parameters"]} if kind.varies else {}
    return {"if": asked, "then": {"properties": {**may, "parameters": varied}} | needed}


def readme_tables(kinds: Kinds) -> dict[str, str]:
    """Return the reference's tables in Markdown by name: each table of a study file, "parameters" and "values"."""
    schema = study_schema(kinds)
    tables = {
        name: _markdown(("key", "meaning", "default"), _rows(name, table["properties"], kinds))
        for name, table in schema["properties"].items()
        if name not in ("parameters", "engine")
    }
    domain = next(iter(schema["properties"]["parameters"]["properties"].values()))["properties"]
    keys = [(f"`{key}`", str(one["description"])) for key, one in domain.items()]
    tables["parameters"] = _markdown(("key", "meaning"), keys)
    values = [(f"`{name}`", one["description"]) for name, one in schema["$defs"].items()]
    return tables | {"values": _markdown(("NAME", "values"), values)}


def fill_tables(text: str, kinds: Kinds) -> str:
    """Return a page with the tables between its marks `<!-- table NAME -->` and `<!-- end -->` drawn again."""
    tables = readme_tables(kinds)
    marks = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}{tables[found[2]]}{found[3]}", text)


def _rows(name: str, properties: Mapping[str, JsonObject], kinds: Kinds) -> Iterator[tuple[str, str, str]]:
    """Yield key, meaning and default; a key that only some kinds have says which."""
    for key, one in properties.items():
        owners = [mode for mode, kind in kinds.items() if kind.table == name and key in table_fields(kind)]
        some = name in SHARED and owners and key not in table_fields(SHARED[name])
        of = f" ({', '.join(f'`{mode}`' for mode in owners)})" if some else ""
        comment = str(one.get("$comment", "")).removeprefix("default: ")
        default = comment or (_toml(one["default"]) if "default" in one else "")
        yield f"`{key}`", f"{one['description']}{of}", default


def _toml(value: object) -> str:
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
