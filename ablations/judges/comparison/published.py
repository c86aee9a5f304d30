"""Published replies of a judge that gave two scores: Han's `*_autoeval.jsonl`, read by the rule of `parsing`.

Knows the file's form; computes no rate.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from ablations.core.errors import UsageError
from ablations.core.jsonl import read_rows
from ablations.judges.llm.parsing import UnscoredError, parse_two_scores

REPLIES = "autoeval_text_list"
SCALE = (1.0, 10.0)


def holds_two_scores(path: Path) -> bool:
    """Whether a file's first row is one of Han's; whatever else is wrong with it is said by its reader."""
    try:
        first = next(itertools.islice(read_rows(path, str(path), UsageError), 1), None)
    except UsageError:
        return False
    return first is not None and REPLIES in first[1]


def read_two_scores(path: Path) -> list[Sequence[str | None]]:
    """Return the verdicts on each prompt's answers: `FIRST` (the model), `SECOND` (the baseline), `TIE`, or None.

    Raises:
        UsageError: the file cannot be read, or a row is none of Han's.
    """
    prompts: list[Sequence[str | None]] = []
    for where, row in read_rows(path, str(path), UsageError):
        replies = row.get(REPLIES)
        if not isinstance(replies, list) or not all(isinstance(reply, str) for reply in replies):
            raise UsageError(f"{where}: {REPLIES} must be a list of the judge's replies")
        prompts.append([_verdict(reply) for reply in replies])
    return prompts


def _verdict(reply: str) -> str | None:
    try:
        return parse_two_scores(reply, *SCALE)
    except UnscoredError:
        return None
