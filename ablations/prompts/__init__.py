"""Prompts: Query + PromptParts -> the exact text sent to the model."""

from ablations.prompts.formats import FORMATS, find_headings
from ablations.prompts.parts import build_parts, built_in_demonstrations, read_prompt_file
from ablations.prompts.prompt_file import read_urial
from ablations.prompts.rendering import render_prompt

__all__ = [
    "FORMATS",
    "build_parts",
    "built_in_demonstrations",
    "find_headings",
    "read_prompt_file",
    "read_urial",
    "render_prompt",
]
