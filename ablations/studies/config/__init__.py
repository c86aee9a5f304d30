"""Configuration: a study file and its overrides as one typed value."""
