"""Subjects of the gate behind one interface: an engine's session, slices of an ONNX file, compiled C."""
