"""A neuron's expression (runtime/model/symbol.py) as ONNX nodes, each shared part as one node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from runtime.model.symbol import Symbol

OnnxOp = Callable[..., str]  # Emitter.op
Weight = Callable[[str, Any], str]  # Emitter.weight


def write(values: Mapping[str, Symbol], op: OnnxOp, weight: Weight, prefix: str, tag: str) -> None:
    """Emits each value under the tensor name that it is given; inner results are called `<prefix>.<op><n><tag>`."""
    count = 0

    def emit(value: Symbol | float, name: str | None = None) -> str:
        nonlocal count
        if not isinstance(value, Symbol):
            short = f"{float(value):g}"
            return weight(f"number.{short if float(short) == value else repr(float(value))}", np.float32(value))
        if value.name is not None:
            return value.name if name is None else op("Identity", [value.name], name)
        inputs = [emit(part) for part in value.inputs]
        if name is None:
            count += 1
            name = f"{prefix}.{str(value.op).lower()}{count}{tag}"
        attrs = {"to": TensorProto.FLOAT} if value.op == "Cast" else {}
        value.name = op(str(value.op), inputs, name, **attrs)
        return value.name

    for name, value in values.items():
        emit(value, name)
