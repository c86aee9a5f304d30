"""The formats of URIAL prompts: which headings and fences stand around each text.

Byte for byte what URIAL, Zhao et al. and Han send. Knows no query.
"""

from ablations.core.errors import ConditionError, nearest
from ablations.core.prompt import Template

_HASH_STOPS = ("# Query", "# User")

URIAL = Template(
    name="urial",
    query="# Query:",
    answer="# Answer:",
    before="\n",
    fence="```",
    fence_lines=True,
    stop=_HASH_STOPS,
)
"""`# Query:` and `# Answer:` with fences: the format of the paper's main results."""

URIAL_V5 = Template(
    name="urial-v5",
    query="# User:",
    answer="# Assistant:",
    before="\n",
    fence="",
    fence_lines=True,
    stop=_HASH_STOPS,
)
"""`# User:` and `# Assistant:`; the fence is empty but keeps its lines."""

URIAL_V6 = Template(
    name="urial-v6",
    query="# User:",
    answer="# Assistant:",
    before="\n\n",
    fence="",
    fence_lines=False,
    stop=_HASH_STOPS,
)
"""`# User:` and `# Assistant:` with an empty line before each and no empty line inside."""

USER_ASSISTANT = Template(
    name="user-assistant",
    query="User:",
    answer="Assistant:",
    before="\n\n",
    fence="",
    fence_lines=False,
    stop=("\nUser:",),
)
"""`User:` and `Assistant:` without a hash, laid out as version 6."""

QUESTION = Template(
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

CHAT = Template(
    name="chat", query="user", answer="assistant", before="", fence="", fence_lines=False, stop=(), chat=True
)
"""The model's own chat template: the system prompt as the system message, demonstrations as former turns."""

TEMPLATES = {template.name: template for template in (URIAL, URIAL_V5, URIAL_V6, USER_ASSISTANT, QUESTION, CHAT)}


def find_template(name: str) -> Template:
    """Return the format called `name`; raise `ConditionError` for an unknown one."""
    if name not in TEMPLATES:
        raise ConditionError(f"template = {name!r} is not a known template; {nearest(name, TEMPLATES)}")
    return TEMPLATES[name]
