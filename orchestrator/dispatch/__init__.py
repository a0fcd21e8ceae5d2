"""Jobs to workers and back: Ray Tune, gangs, draining, progress."""
