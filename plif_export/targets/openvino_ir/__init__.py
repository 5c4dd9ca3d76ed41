"""The target --to openvino."""
