"""Rounded weights of layers that read spikes.

passes.py rounds them, whole_numbers.py finds weights that are already on a grid, onnx_form.py writes them as ONNX,
and flips.py counts the spikes that change.
"""
