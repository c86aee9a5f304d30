"""Prompts: Query + PromptParts -> the exact text sent to the model."""

from ablations.prompts.formats import CHAT, FORMATS, find_headings
from ablations.prompts.parts import (
    SOURCES,
    Chooses,
    Chosen,
    build_parts,
    built_in_demonstrations,
    check_component,
    read_prompt_file,
    read_prompt_parts,
)
from ablations.prompts.prompt_file import read_urial, take_apart
from ablations.prompts.rendering import (
    ChatTemplate,
    answer_after_opening,
    opened_answer,
    render_demonstrations,
    render_prompt,
)

__all__ = [
    "CHAT",
    "FORMATS",
    "SOURCES",
    "ChatTemplate",
    "Chooses",
    "Chosen",
    "answer_after_opening",
    "build_parts",
    "built_in_demonstrations",
    "check_component",
    "find_headings",
    "opened_answer",
    "read_prompt_file",
    "read_prompt_parts",
    "read_urial",
    "render_demonstrations",
    "render_prompt",
    "take_apart",
]
