"""Judges that ask a language model for a rating."""
