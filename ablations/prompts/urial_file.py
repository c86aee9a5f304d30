"""Prompt files in the manner of URIAL: read as system prompt and demonstrations, and written back byte for byte.

Knows neither queries nor engines. A message is a role line, a text, and what stands around it; every byte of the
file belongs to the system prompt or to one message.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.core.errors import PromptError, reason
from ablations.core.prompt import Demonstration

QUERY, ANSWER = "query", "answer"
FENCE = "```"

ROLE_LINES = (
    ("# Query:", "# Answer:"),
    ("# User:", "# Assistant:"),
    ("User:", "Assistant:"),
    ("Question:", "Here’s an example answer:"),
    ("Question:", "Answer:"),
)
"""Pairs of role lines, in the order in which they are tried."""
_FENCED = ROLE_LINES[0]
_FENCE_LINE = re.compile(rf"^{FENCE}[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True)
class Message:
    """One message of a prompt file.

    Attributes:
        role: `QUERY` or `ANSWER`.
        opening: everything from the role line to the text: line ends and the fence.
        text: the message itself.
        closing: everything after the text up to the next role line.
        line: number of the role line, from 1.
    """

    role: str
    opening: str
    text: str
    closing: str
    line: int

    @property
    def written(self) -> str:
        """The message as it stands in the file."""
        return f"{self.opening}{self.text}{self.closing}"


@dataclass(frozen=True)
class PromptFile:
    """A prompt file taken apart.

    Attributes:
        system_prompt: the text before the first message.
        messages: in their order.
    """

    system_prompt: str
    messages: tuple[Message, ...]

    @property
    def written(self) -> str:
        """The file's text, byte for byte."""
        return self.system_prompt + "".join(message.written for message in self.messages)

    @property
    def demonstrations(self) -> tuple[Demonstration, ...]:
        """The queries with their answers, in the queries' order; None where a query has no answer.

        An answer belongs to the last query before it that has none yet (URIAL's `inst_2k_v4` nests two pairs).
        """
        answers: dict[int, str] = {}
        unanswered: list[int] = []
        for position, message in enumerate(self.messages):
            if message.role == QUERY:
                unanswered.append(position)
            else:
                answers[unanswered.pop()] = message.text
        queries = [(at, message.text) for at, message in enumerate(self.messages) if message.role == QUERY]
        return tuple(
            Demonstration(str(number), query, answers.get(position))
            for number, (position, query) in enumerate(queries, start=1)
        )


def read_urial(path: Path) -> PromptFile:
    """Return a prompt file taken apart.

    Raises:
        PromptError: the file is no UTF-8 text, or cannot be taken apart; names line and reason.
    """
    return take_apart(read_prompt_text(path), str(path))


def read_prompt_text(path: Path) -> str:
    """Return a prompt file's text with every byte of it; raise `PromptError` where it is no UTF-8 text."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"prompt file {path} cannot be read: {reason(error)}; give a UTF-8 text file") from error


def take_apart(text: str, name: str = "prompt") -> PromptFile:
    r"""Return a prompt's text as system prompt and messages.

    Role lines are those of the first pair of `ROLE_LINES` whose query line occurs; spaces may follow them. A text
    may hold fenced code: its own fence is closed by the last fence line before the next role line.

    Raises:
        PromptError: an answer without a query before it, or a fence that is not closed before the next role line;
            names line and reason.

    >>> file = take_apart("Be kind.\n\n# Query:\n```\nHi!\n```\n\n# Answer:\n```\nHello.\n```\n")
    >>> file.demonstrations[0].query, file.demonstrations[0].answer
    ('Hi!', 'Hello.')
    """
    starts = list(_role_lines(text))
    if not starts:
        return PromptFile(text, ())
    messages = []
    for (start, role, end), following in zip(starts, [*[s for s, _, _ in starts[1:]], len(text)], strict=True):
        line = text.count("\n", 0, start) + 1
        messages.append(_message(role, text[start:end], text[end:following], line, name))
    _check_answers(messages, name)
    return PromptFile(text[: starts[0][0]], tuple(messages))


def _role_lines(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield where each role line starts, its role, and where the line after it starts."""
    for query, answer in ROLE_LINES:
        pattern = re.compile(rf"^(?:({re.escape(query)})|{re.escape(answer)})[ \t\r]*(?:\n|\Z)", re.MULTILINE)
        found = list(pattern.finditer(text))
        if any(match[1] for match in found):
            yield from ((match.start(), QUERY if match[1] else ANSWER, match.end()) for match in found)
            return


def _message(role: str, opening: str, body: str, line: int, name: str) -> Message:
    """Find the text in the lines below a role line."""
    first = body.partition("\n")[0]
    if not (opening.startswith(_FENCED) and first.startswith(FENCE)):
        begin = len(body) - len(body.lstrip("\r\n"))
        end = max(len(body.rstrip("\r\n")), begin)
    elif first.rstrip() == FENCE:
        begin = min(len(first) + 1, len(body))
        closing = [match.start() for match in _FENCE_LINE.finditer(body) if match.start() >= begin]
        if not closing:
            raise _unclosed(name, line, body)
        end = max(len(body[: closing[-1]].removesuffix("\n").removesuffix("\r")), begin)
    else:  # the text begins right behind the fence, as in URIAL's first files
        whole = body.rstrip()
        begin, end = len(FENCE), len(whole) - len(FENCE)
        if end < begin or not whole.endswith(FENCE):
            raise _unclosed(name, line, body)
    return Message(role, opening + body[:begin], body[begin:end], body[end:], line)


def _unclosed(name: str, line: int, body: str) -> PromptError:
    until = line + 1 + body.count("\n")
    return PromptError(
        f"{name} line {line + 1}: the fence that opens here is not closed before line {until}, where the next message "
        "or the end of the file is; close it with a line of three backticks"
    )


def _check_answers(messages: Sequence[Message], name: str) -> None:
    unanswered = 0
    for message in messages:
        unanswered += 1 if message.role == QUERY else -1
        if unanswered < 0:
            raise PromptError(
                f"{name} line {message.line}: an answer without a query before it; give it a query, or drop it"
            )
