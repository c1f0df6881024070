"""Training runs: configuration, the loop, checkpoints, metrics, the run folder."""
