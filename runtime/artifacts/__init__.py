"""The kinds of artifacts other than .onnx and model.pt, a folder each; see runtime/core/model/artifacts.py."""
