"""Studies: what is evaluated, in which order, and what came of it."""
