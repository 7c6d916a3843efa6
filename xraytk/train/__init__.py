"""The training loop, optimizer, checkpoints and process launcher; knows no task."""
