"""The formats of URIAL prompts: which headings and fences stand around each text.

Byte for byte what URIAL, Zhao et al. and Han send. Knows no query.
"""

from ablations.core.condition import Headings
from ablations.core.errors import ConditionError, nearest

_HASH_STOPS = ("# Query", "# User")

URIAL = Headings(
    name="urial",
    query="# Query:",
    answer="# Answer:",
    before="\n",
    fence="```",
    fence_lines=True,
    stop=_HASH_STOPS,
)
"""`# Query:` and `# Answer:` with fences: the format of the paper's main results."""

URIAL_V5 = Headings(
    name="urial-v5",
    query="# User:",
    answer="# Assistant:",
    before="\n",
    fence="",
    fence_lines=True,
    stop=_HASH_STOPS,
)
"""`# User:` and `# Assistant:`; the fence is empty but keeps its lines."""

URIAL_V6 = Headings(
    name="urial-v6",
    query="# User:",
    answer="# Assistant:",
    before="\n\n",
    fence="",
    fence_lines=False,
    stop=_HASH_STOPS,
)
"""`# User:` and `# Assistant:` with an empty line before each and no empty line inside."""

USER_ASSISTANT = Headings(
    name="user-assistant",
    query="User:",
    answer="Assistant:",
    before="\n\n",
    fence="",
    fence_lines=False,
    stop=("\nUser:",),
)
"""`User:` and `Assistant:` without a hash, laid out as version 6."""

QUESTION = Headings(
    name="question",
    query="Question:",
    answer="Here’s an example answer:",
    before="",
    fence="",
    fence_lines=False,
    stop=("\nQuestion:",),
    inline=True,
)
"""Han's template: `Question: …`, `Here’s an example answer: …`, an empty line after each."""

CHAT = Headings(
    name="chat", query="user", answer="assistant", before="", fence="", fence_lines=False, stop=(), chat=True
)
"""The model's own chat template: rules as the system message, demonstrations as earlier turns."""

FORMATS = {headings.name: headings for headings in (URIAL, URIAL_V5, URIAL_V6, USER_ASSISTANT, QUESTION, CHAT)}


def find_headings(name: str) -> Headings:
    """Return the format called `name`; raise `ConditionError` for an unknown one."""
    if name not in FORMATS:
        raise ConditionError(f"headings = {name!r} is not a known format; {nearest(name, FORMATS)}")
    return FORMATS[name]
