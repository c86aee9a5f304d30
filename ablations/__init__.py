"""Ablations of decoding parameters and prompt components for base language models."""

__version__ = "0.1.0"
