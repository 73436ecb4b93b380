"""Train an adapter: batches, the loop, checkpoints, the log."""
