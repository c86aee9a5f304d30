"""The report of a study: one list of sections, which the terminal, MLflow and the page of HTML render."""
