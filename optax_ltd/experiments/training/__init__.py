"""From a set-up to a run: training, tests, checkpoints, and many runs in turn."""
