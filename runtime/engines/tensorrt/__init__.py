"""TensorRT and TensorRT-RTX: plan checks a file before it is opened, cuda is the driver, engine runs the plan."""
