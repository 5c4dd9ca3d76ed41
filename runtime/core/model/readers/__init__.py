"""Readers of container formats at the byte level, which read a card without torch and without ONNX."""
