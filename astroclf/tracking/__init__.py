"""The record of a run, in MLflow or nowhere. Importing this room imports no MLflow."""
