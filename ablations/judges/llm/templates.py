"""Judge prompts: templates in FastChat's file format, and their rendering around a query and its answers.

Knows neither servers nor scores. The project's own templates put every text that comes from elsewhere between
lines with a boundary that its author cannot have known; FastChat's files are rendered to the letter.
"""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.core.condition import content_hash
from ablations.core.errors import QueryError, UsageError
from ablations.core.jsonl import DATA, read_rows
from ablations.core.records import Query, Usage
from ablations.judges.prices import TYPICAL_BYTES, typical_usage

OWN_TEMPLATES = DATA / "judge_prompts.jsonl"
REFERENCE_CATEGORIES = frozenset({"math", "reasoning", "coding"})
"""The categories that MT-Bench grades with a reference answer."""

_SINGLE_FIELDS = {"question", "answer", "question_1", "question_2", "answer_1", "answer_2"}
_PAIR_FIELDS = {"question", "answer_a", "answer_b", "question_1", "question_2"} | {
    f"answer_{side}_{turn}" for side in "ab" for turn in (1, 2)
}
_SHARED_FIELDS = {"ref_answer_1", "ref_answer_2", "boundary"}
FIELDS = {"single": _SINGLE_FIELDS | _SHARED_FIELDS, "pairwise": _PAIR_FIELDS | _SHARED_FIELDS}

STYLES = {
    "single": ("single-v1", "single-math-v1"),
    "pairwise": ("pair-v2", "pair-math-v1"),
    "two-scores": ("two-scores-v2", "two-scores-math-v1"),
    "aspects": ("aspects-v1", "aspects-v1"),
}
"""Ways of asking: the template without and the one with a reference answer, FastChat's names where it has them."""
_SECOND = "-multi-turn"


@dataclass(frozen=True)
class Template:
    """One judge prompt; `system` and `text` hold `{placeholders}`."""

    name: str
    kind: str
    system: str
    text: str

    def render(self, fields: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the messages. A boundary is made from all texts, so none of them can contain it."""
        known = {**fields, "boundary": content_hash([self.text, dict(fields)])}
        system, text = (template.format_map(known) for template in (self.system, self.text))
        return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def read_templates(path: Path) -> Mapping[str, Template]:
    """Return the templates of a `judge_prompts.jsonl` by name.

    Raises:
        UsageError: the file cannot be read, or a line is no template; names file, line and remedy.
    """
    rows = read_rows(path, f"--judge-prompts {path}", UsageError)
    templates = [_template(where, entry) for where, entry in rows]
    return {template.name: template for template in templates}


def _template(where: str, entry: Mapping[str, Any]) -> Template:
    try:
        fields = [entry[key] for key in ("name", "type", "system_prompt", "prompt_template")]
    except KeyError as error:
        raise UsageError(
            f"{where} is no judge prompt ({error}); it needs name, type, system_prompt and prompt_template"
        ) from error
    if not all(isinstance(field, str) for field in fields):
        raise UsageError(f"{where}: name, type, system_prompt and prompt_template must be texts")
    template = Template(*fields)
    try:
        used = {name for text in fields[2:] for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise UsageError(f"{where}: {error}; write {{{{ and }}}} for braces that are no placeholder") from error
    known = FIELDS.get(template.kind)
    if known is not None and (unknown := used - known):
        raise UsageError(
            f"{where}: {template.name!r} has the unknown placeholder {sorted(unknown)[0]!r}; "
            f"known: {', '.join(sorted(known))}"
        )
    return template


def needs_reference(query: Query) -> bool:
    """Whether MT-Bench's rule shows the judge a reference answer for this query's category."""
    return query.category.lower() in REFERENCE_CATEGORIES


class Questions:
    """The questions of one style: which template asks about which query and turn.

    Args:
        path: a `judge_prompts.jsonl`, or None for the project's own.
        style: a key of `STYLES`.

    Raises:
        UsageError: the file cannot be read, or lacks a template of the style.
    """

    def __init__(self, path: Path | None, style: str) -> None:
        templates = read_templates(path or OWN_TEMPLATES)
        self._style = style
        self._templates = {}
        for name in (f"{stem}{turn}" for stem in STYLES[style] for turn in ("", _SECOND)):
            if name not in templates:
                raise UsageError(f"--judge-prompts {path} has no prompt named {name!r}; add it, or leave the flag out")
            self._templates[name] = templates[name]

    @property
    def identity(self) -> Mapping[str, str]:
        """The style, and a hash of the templates' texts."""
        content = {name: [template.system, template.text] for name, template in self._templates.items()}
        return {"style": self._style, "prompts": content_hash(content)}

    def check(self, queries: Sequence[Query]) -> None:
        """Raise `QueryError` if a query of a reference-guided category has no reference answer."""
        for query in queries:
            if needs_reference(query) and not all(query.references):
                raise QueryError(
                    f"query {query.id!r} is of the category {query.category!r}, which is judged with a reference "
                    "answer, and has none; give --reference-answers FILE, or queries with references"
                )

    def messages(self, query: Query, turn: int, answers: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the messages that ask about a turn; `answers` are the placeholders that the answers fill."""
        name = STYLES[self._style][needs_reference(query)] + (_SECOND if turn == 2 else "")
        return self._templates[name].render({**query_fields(query, turn), **answers})

    def expected_usage(self, query: Query, turn: int, answer_tokens: float, reply_tokens: int) -> Usage:
        """Return what a question about answers of so many tokens, and a reply of so many, take: an estimate."""
        answers = ["x" * round(answer_tokens * TYPICAL_BYTES)] * turn
        fields = {name: text for side in ("", "a", "b") for name, text in answer_fields(answers, side).items()}
        return typical_usage(self.messages(query, turn, fields), reply_tokens)


def query_fields(query: Query, turn: int) -> dict[str, str]:
    """Return the placeholders that the query fills: its turns and reference answers."""
    fields = {"question": query.turns[0]}
    for number in range(1, turn + 1):
        fields[f"question_{number}"] = query.turns[number - 1]
        fields[f"ref_answer_{number}"] = query.references[number - 1] or ""
    return fields


def answer_fields(answers: Sequence[str], side: str = "") -> dict[str, str]:
    """Return the placeholders that one assistant's answers fill; `side` is "a" or "b" in a comparison."""
    middle = f"_{side}" if side else ""
    return {f"answer{middle}": answers[0]} | {
        f"answer{middle}_{number}": answer for number, answer in enumerate(answers, start=1)
    }
