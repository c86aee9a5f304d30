"""Planning: what a study is put together from, and what can be seen to fail before anything runs."""
