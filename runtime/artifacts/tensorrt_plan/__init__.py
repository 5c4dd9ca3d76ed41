"""Engine files of TensorRT and TensorRT-RTX."""
