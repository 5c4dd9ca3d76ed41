"""Training data: sets in memory, windows of recordings, what varies them, mixtures of sets, frames kept on disk."""
