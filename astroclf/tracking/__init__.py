"""MLflow runs, the model as others load it, and the registry. Importing this package imports no MLflow."""
