"""Scores along the number of demonstrations."""
