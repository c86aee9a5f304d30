"""The formats of URIAL prompts: which headings and fences stand around each text.

Byte for byte what URIAL and Zhao et al. send, by the name of their version. Knows no query.
"""

from ablations.conditions import Headings
from ablations.errors import ConditionError, nearest

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

FORMATS = {headings.name: headings for headings in (URIAL, URIAL_V5, URIAL_V6)}


def find_headings(name: str) -> Headings:
    """Return the format called `name`; raise `ConditionError` for an unknown one."""
    if name not in FORMATS:
        raise ConditionError(f"headings = {name!r} is not a known format; {nearest(name, FORMATS)}")
    return FORMATS[name]
