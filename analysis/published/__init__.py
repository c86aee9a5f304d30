"""Win rates of published annotation files."""
