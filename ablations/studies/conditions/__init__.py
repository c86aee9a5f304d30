"""Studies of conditions: ablations and searches."""
