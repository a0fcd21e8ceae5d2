"""Data sets: read once, kept as memory-mapped Arrow, batched by index on the device."""
