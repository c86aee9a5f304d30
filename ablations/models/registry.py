"""Backends: what generates the completions of a study."""

from ablations.models.base import Backend, BackendIdentity, refuse_unsupported, refuse_varied
from ablations.models.vllm.adapters import Adapter

BACKENDS = ("vllm", "openai")

__all__ = ["BACKENDS", "Adapter", "Backend", "BackendIdentity", "refuse_unsupported", "refuse_varied"]
