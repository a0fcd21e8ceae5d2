"""Models: one file each, with readable aliases for the parameters that the papers attack."""
