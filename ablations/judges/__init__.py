"""Judges: completion -> score, or the reason why there is none."""
