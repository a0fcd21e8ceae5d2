"""What is kept: the store, the ledger and its rows, where a number came from."""
