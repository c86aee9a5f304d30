"""The reference judge: a proxy without an LLM."""
