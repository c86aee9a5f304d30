"""Prompts: Query + PromptParts -> the exact text sent to the model."""
