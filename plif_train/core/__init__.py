"""The core of `plif train`: recipes, networks, training data in memory, the loop, and checkpoints."""
