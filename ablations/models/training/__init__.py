"""Training: examples -> weights, in a process of its own."""
