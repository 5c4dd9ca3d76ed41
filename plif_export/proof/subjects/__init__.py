"""What the gate asks: an engine's session, slices of an ONNX file, compiled C, each behind the interface of subject.py."""
