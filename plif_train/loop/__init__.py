"""One training: its recipe, the loop, checkpoints and how it is resumed, the log, several processes."""
