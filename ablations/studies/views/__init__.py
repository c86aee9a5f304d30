"""Views of stored studies: reports, MLflow's and Optuna's databases, reproduction."""
