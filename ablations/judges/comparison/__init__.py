"""Judges that compare an answer with another one."""
