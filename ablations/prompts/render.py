"""Query + PromptParts -> Prompt: the exact text sent to the model.

Knows neither where the parts come from nor the model; the beginning-of-text token is the backend's, and so is the chat
template.

The layout follows URIAL (Lin et al. 2023) as Zhao et al. use it: the rules as they are, then every
turn as `before + role + line + fence + line + text + line + fence + line`, then an open answer. Han's template puts
the text on the role's line instead.
"""

from collections.abc import Callable, Mapping, Sequence

from ablations.core.condition import Exchange, Headings, PromptParts
from ablations.core.errors import PromptError
from ablations.core.records import Prompt, Query

ChatTemplate = Callable[[Sequence[Mapping[str, str]]], str]
"""Messages, each with a role (system, user or assistant) and its content -> the text that opens the next answer."""


def render_prompt(
    query: Query, parts: PromptParts, answers: Sequence[str] = (), chat_template: ChatTemplate | None = None
) -> Prompt:
    """Return the prompt for the turn after `answers`.

    Args:
        query: what is asked.
        parts: rules, format and demonstrations.
        answers: the model's own cleaned answers to the earlier turns; empty for turn 1.
        chat_template: the model's, which the headings `chat` need.

    Raises:
        PromptError: there are as many answers as turns, so nothing is left to ask; or there is no chat template.
    """
    turn = len(answers) + 1
    if turn > len(query.turns):
        raise PromptError(f"query {query.id!r} has {len(query.turns)} turns; turn {turn} cannot be asked")
    headings, shown = parts.headings, parts.shown_to(query.id)
    said: list[Exchange] = [exchange for one in shown for exchange in one.exchanges]
    said += [*zip(query.turns, answers, strict=False), (query.turns[turn - 1], None)]
    if not headings.chat:
        return Prompt(query.id, turn, opened_answer(parts, said))
    messages = _messages(said)
    if chat_template is None:
        raise PromptError("headings = 'chat' needs a model with a chat template; choose other headings or a chat model")
    system = [{"role": "system", "content": parts.rules.strip()}] if parts.rules.strip() else []
    text = chat_template([*system, *({"role": getattr(headings, role), "content": text} for role, text in messages)])
    return Prompt(query.id, turn, text, templated=True)


def render_demonstrations(parts: PromptParts) -> str:
    """Return the prompt up to where a query begins: the rules and the demonstrations, as URIAL's files hold them."""
    return _laid_out(parts, [exchange for one in parts.demonstrations for exchange in one.exchanges])


def opened_answer(parts: PromptParts, said: Sequence[Exchange]) -> str:
    """Return the prompt whose answer comes next: the rules, what was said, and the opening of an answer.

    The last of `said` has no answer. Not for the headings `chat`, whose layout is the model's.
    """
    return f"{_laid_out(parts, said)}{_opening(parts.headings, parts.headings.answer)}"


def answer_after_opening(parts: PromptParts, answer: str) -> str:
    """Return an answer as it stands in a prompt after its opening, with what closes it."""
    headings = parts.headings
    return _message(headings, headings.answer, answer).removeprefix(_opening(headings, headings.answer))


def _laid_out(parts: PromptParts, said: Sequence[Exchange]) -> str:
    headings = parts.headings
    shown = (_message(headings, getattr(headings, role), text) for role, text in _messages(said))
    return parts.rules + "".join(shown)


def _messages(said: Sequence[Exchange]) -> list[tuple[str, str]]:
    """Return the messages of queries and answers, each with its role; a query without an answer stands alone."""
    messages = []
    for query, answer in said:
        messages.append(("query", query))
        if answer is not None:
            messages.append(("answer", answer))
    return messages


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
