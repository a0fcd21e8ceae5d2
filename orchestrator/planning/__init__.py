"""From a sweep to jobs: points, cells, keys, what is done, what Optuna asks for."""
