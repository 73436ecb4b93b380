"""Training an adapter: batches, the loop, checkpoints, the run's folder."""
