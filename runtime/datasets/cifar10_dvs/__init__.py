"""The data set CIFAR10-DVS."""
