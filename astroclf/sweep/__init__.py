"""Hyper-parameter search: Optuna studies whose trials are nested MLflow runs. The only room that imports optuna."""
