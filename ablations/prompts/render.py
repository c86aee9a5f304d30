"""Query + PromptParts -> Prompt: the exact text sent to the model.

Knows neither where the parts come from nor the model; the beginning-of-text token is the backend's, and so is the chat
template.

The layout follows URIAL (Lin et al. 2023) as Zhao et al. use it: the system prompt as it is, then every
turn as `before + role + line + fence + line + text + line + fence + line`, then an open answer. Han's template puts
the text on the role's line instead.
"""

from collections.abc import Sequence

from ablations.core.errors import PromptError
from ablations.core.prompt import ChatTemplate, Exchange, PromptParts, Template
from ablations.core.records import Prompt, Query


def render_prompt(
    query: Query, parts: PromptParts, answers: Sequence[str] = (), chat_template: ChatTemplate | None = None
) -> Prompt:
    """Return the prompt for the turn after `answers`.

    Args:
        query: what is asked.
        parts: system prompt, format and demonstrations.
        answers: the model's own cleaned answers to the earlier turns; empty for turn 1.
        chat_template: the model's, which the template `chat` need.

    Raises:
        PromptError: there are as many answers as turns, so nothing is left to ask; or there is no chat template.
    """
    turn = len(answers) + 1
    if turn > len(query.turns):
        raise PromptError(f"query {query.id!r} has {len(query.turns)} turns; turn {turn} cannot be asked")
    template, shown = parts.template, parts.shown_to(query.id)
    said: list[Exchange] = [exchange for one in shown for exchange in one.exchanges]
    said += [*zip(query.turns, answers, strict=False), (query.turns[turn - 1], None)]
    if not template.chat:
        return Prompt(query.id, turn, opened_answer(parts, said))
    messages = _messages(said)
    if chat_template is None:
        raise PromptError(
            "template = 'chat' needs a model with a chat template; choose another template or a chat model"
        )
    system = [{"role": "system", "content": parts.system_prompt.strip()}] if parts.system_prompt.strip() else []
    text = chat_template([*system, *({"role": getattr(template, role), "content": text} for role, text in messages)])
    return Prompt(query.id, turn, text, templated=True)


def render_demonstrations(parts: PromptParts) -> str:
    """Return the prompt up to where a query begins: system prompt and demonstrations, as URIAL's files hold them."""
    return _laid_out(parts, [exchange for one in parts.shots for exchange in one.exchanges])


def opened_answer(parts: PromptParts, said: Sequence[Exchange]) -> str:
    """Return the prompt whose answer comes next: the system prompt, what was said, and the opening of an answer.

    The last of `said` has no answer. Not for the template `chat`, whose layout is the model's.
    """
    return f"{_laid_out(parts, said)}{_opening(parts.template, parts.template.answer)}"


def answer_after_opening(parts: PromptParts, answer: str) -> str:
    """Return an answer as it stands in a prompt after its opening, with what closes it."""
    template = parts.template
    return _message(template, template.answer, answer).removeprefix(_opening(template, template.answer))


def _laid_out(parts: PromptParts, said: Sequence[Exchange]) -> str:
    template = parts.template
    shown = (_message(template, getattr(template, role), text) for role, text in _messages(said))
    return parts.system_prompt + "".join(shown)


def _messages(said: Sequence[Exchange]) -> list[tuple[str, str]]:
    """Return the messages of queries and answers, each with its role; a query without an answer stands alone."""
    messages = []
    for query, answer in said:
        messages.append(("query", query))
        if answer is not None:
            messages.append(("answer", answer))
    return messages


def _opening(template: Template, role: str) -> str:
    if template.inline:
        return role
    fence = f"{template.fence}\n" if template.fence_lines else ""
    return f"{template.before}{role}\n{fence}"


def _message(template: Template, role: str, text: str) -> str:
    if template.inline:
        return f"{role} {text.strip()}\n\n"
    if template.fence_lines:
        return f"{_opening(template, role)}{text}\n{template.fence}\n"
    stripped = text.strip("\n")
    return f"{_opening(template, role)}{stripped}\n"
