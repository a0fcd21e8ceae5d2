"""Sweeps on a virtual clock: what a searcher and a scheduler would do, and what the driver costs."""
