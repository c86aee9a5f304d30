"""vLLM: the engine in this process, its settings, adapters and sampler."""
