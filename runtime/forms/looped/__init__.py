"""The loop form as the runtime has it: its file (onnx_loop.py), and calls that take sequences (sequences.py)."""
