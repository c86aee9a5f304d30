"""Checks of verifiable instructions, and the judge that scores by them."""
