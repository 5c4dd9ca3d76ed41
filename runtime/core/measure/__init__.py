"""The measurement of accuracy on a data set (evaluate), and records of benchmarks and predictions."""
