"""Engine files of TensorRT and TensorRT-RTX as artifacts."""
