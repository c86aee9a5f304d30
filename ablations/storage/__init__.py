"""Storage: SQL databases, folders and versions of what a study keeps."""
