"""A simulated N-MNIST."""
