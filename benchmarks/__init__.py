"""Benchmarks: one command each, a table on the screen and a JSON file."""
