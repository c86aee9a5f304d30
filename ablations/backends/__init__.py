"""Backends: what generates the completions of a study."""

from ablations.backends.adapted import Adapter
from ablations.backends.base import Backend, BackendIdentity, refuse_unsupported, refuse_varied

BACKENDS = ("vllm", "openai")

__all__ = ["BACKENDS", "Adapter", "Backend", "BackendIdentity", "refuse_unsupported", "refuse_varied"]
