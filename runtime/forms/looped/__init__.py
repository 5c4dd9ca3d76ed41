"""The loop form in the runtime: its file (onnx_loop.py), and calls on sequences (sequences.py)."""
