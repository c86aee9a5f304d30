"""OpenAI-compatible servers of completions, alone or several of one model."""
