"""Tracking: MLflow, and the only package that imports it. A parent run is a study, a child run is a trial."""
