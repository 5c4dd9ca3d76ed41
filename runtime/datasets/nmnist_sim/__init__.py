"""A simulated N-MNIST data set."""
