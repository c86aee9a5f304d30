"""Learning in context against fine-tuning on the same examples."""
