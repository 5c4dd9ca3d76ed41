"""What the gate asks: an engine's session (subject.py), slices of an ONNX file, compiled C, each behind the same interface."""
