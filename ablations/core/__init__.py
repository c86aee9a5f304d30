"""Core: values and pure functions that every room uses."""
