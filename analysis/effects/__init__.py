"""Effects: paired differences of conditions, one family at a time."""
