"""The registry: what generates the completions of a study, and what embeds texts, by name."""

BACKENDS = ("vllm", "openai")
DEFAULT_ENCODER = "all-minilm-l6-v2"
