"""The data sets MNIST and Fashion-MNIST."""
