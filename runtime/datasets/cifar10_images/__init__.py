"""The data set CIFAR-10."""
