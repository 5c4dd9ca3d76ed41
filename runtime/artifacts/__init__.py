"""Kinds of files beside .onnx and model.pt, a folder each; runtime/core/model/artifacts.py says what a kind is."""
