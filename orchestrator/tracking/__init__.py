"""MLflow beside the run and after it, always from the ledger."""
