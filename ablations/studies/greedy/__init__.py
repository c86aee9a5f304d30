"""Greedy search for demonstrations."""
