"""Demonstrations: pools, what is chosen from them, and the search for good ones."""

from ablations.demonstrations.choosing import Chooser
from ablations.demonstrations.overlap import Overlap, find_overlaps
from ablations.demonstrations.pools import Pool, load_pool
from ablations.demonstrations.preparing import CHARACTERS_PER_TOKEN, PoolSettings, Prepared, prepare_pool

__all__ = [
    "CHARACTERS_PER_TOKEN",
    "Chooser",
    "Overlap",
    "Pool",
    "PoolSettings",
    "Prepared",
    "find_overlaps",
    "load_pool",
    "prepare_pool",
]
