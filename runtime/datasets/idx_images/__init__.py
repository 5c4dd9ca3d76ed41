"""MNIST and Fashion-MNIST."""
