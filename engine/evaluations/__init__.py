"""Evaluations of finished trials: one file each, exporting ``Config``; rows of their own in the ledger."""
