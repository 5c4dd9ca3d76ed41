"""ONNX files as the exporter opens and compares them."""

from __future__ import annotations

from pathlib import Path

import onnx

from runtime.model.readers.onnx_contents import read_model
from runtime.model.readers.onnx_wire import not_onnx


def load_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX file with its weights inside. Raises PlifError for anything else."""
    data = read_model(path)
    try:
        return onnx.load_model_from_string(data)
    except Exception:  # protobuf's own exception, whose class depends on its implementation
        raise not_onnx(path, len(data)) from None


def onnx_bytes(proto: onnx.ModelProto) -> bytes:
    """The network alone, without the card in its metadata: what other compilers get, and what a proof is about."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.metadata_props[:]
    return bytes(bare.SerializeToString(deterministic=True))
