"""Readers of container formats at the byte level, so that a card can be read without torch and without ONNX."""
