"""Effects of parameters and components, with intervals."""
