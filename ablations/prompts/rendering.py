"""Query + PromptParts -> Prompt: the exact text sent to the model.

Knows neither where the parts come from nor the model; the beginning-of-text token is the backend's.

The layout follows URIAL (Lin et al. 2023) as Zhao et al. use it: the rules as they are, then every
turn as `before + role + line + fence + line + text + line + fence + line`, then an open answer. Han's template puts
the text on the role's line instead.
"""

from collections.abc import Sequence

from ablations.conditions import Headings, PromptParts
from ablations.errors import PromptError
from ablations.records import Prompt, Query


def render_prompt(query: Query, parts: PromptParts, answers: Sequence[str] = ()) -> Prompt:
    """Return the prompt for the turn after `answers`.

    Args:
        query: what is asked.
        parts: rules, format and demonstrations.
        answers: the model's own cleaned answers to the earlier turns; empty for turn 1.

    Raises:
        PromptError: there are as many answers as turns, so nothing is left to ask.
    """
    turn = len(answers) + 1
    if turn > len(query.turns):
        raise PromptError(f"query {query.id!r} has {len(query.turns)} turns; turn {turn} cannot be asked")
    headings = parts.headings
    pieces = [parts.rules]
    for demonstration in parts.demonstrations:
        pieces.append(_message(headings, headings.query, demonstration.query))
        if demonstration.answer is not None:
            pieces.append(_message(headings, headings.answer, demonstration.answer))
    for asked, answer in zip(query.turns, answers, strict=False):
        pieces += [_message(headings, headings.query, asked), _message(headings, headings.answer, answer)]
    pieces += [_message(headings, headings.query, query.turns[turn - 1]), _opening(headings, headings.answer)]
    return Prompt(query_id=query.id, turn=turn, text="".join(pieces))


def _opening(headings: Headings, role: str) -> str:
    if headings.inline:
        return role
    fence = f"{headings.fence}\n" if headings.fence_lines else ""
    return f"{headings.before}{role}\n{fence}"


def _message(headings: Headings, role: str, text: str) -> str:
    if headings.inline:
        return f"{role} {text.strip()}\n\n"
    if headings.fence_lines:
        return f"{_opening(headings, role)}{text}\n{headings.fence}\n"
    stripped = text.strip("\n")
    return f"{_opening(headings, role)}{stripped}\n"
