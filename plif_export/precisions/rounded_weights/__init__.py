"""Weights of layers that read spikes, rounded: how (passes.py), which are so already (whole_numbers.py), how ONNX has them
(onnx_form.py), and what that changes (flips.py)."""
