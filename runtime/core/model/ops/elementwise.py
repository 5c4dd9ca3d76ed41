"""What works element by element.

Affine     x * scale + shift, one number each, or one for each channel or each neuron
BatchNorm  (x - mean) * (weight / sqrt(var + eps)) + bias, with running statistics
Dropout    nothing, after training
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.core.model.ops.operation import (
    Backend,
    Counts,
    NewNode,
    Node,
    Params,
    Shape,
    Value,
    first,
    names,
    register,
)
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall
from runtime.core.model.refusals import require


def _batch_norm(m: Backend, node: Node, p: Params, x: Value) -> Value:
    eps = node.attrs["eps"]
    scale = m.once(lambda weight, var: weight / np.sqrt(var + var.dtype.type(eps)), p["weight"], p["var"])
    return (x - m.beside(p["mean"], node.shape)) * m.beside(scale, node.shape) + m.beside(p["bias"], node.shape)


def _affine(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return x * m.beside(p["scale"], node.shape) + m.beside(p["shift"], node.shape)


# --- counts -------------------------------------------------------------------------------------------------------------


def _negated(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts | None:
    """1 - s, with which SEW-ResNet joins by "and not"."""
    turned = np.all(node.params["scale"] == -1) and np.all(node.params["shift"] == 1)
    return of[0] if turned and of[0] == Counts() else None


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def _affine_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    scale, shift = (e.beside(f"{node.name}.{key}", node.params[key], node.shape) for key in ("scale", "shift"))
    return str(e.op("Add", [e.op("Mul", [x, scale], f"{node.name}.scaled"), shift], node.name))


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _read_batch_norm(c: TorchCall) -> NewNode:
    require(
        not c.get(5) and c.get(3) is not None,
        "it has no running statistics, so that a sample depends on its batch",
        "train with track_running_stats=True",
    )
    mean, var = c.array(3), c.array(4)
    weight = np.ones_like(mean) if c.get(1) is None else c.array(1)
    bias = np.zeros_like(mean) if c.get(2) is None else c.array(2)
    params = {"weight": weight, "bias": bias, "mean": mean, "var": var}
    return NewNode("BatchNorm", (c.tensor(0),), {"eps": float(c.get(7, 1e-5))}, params)


register(
    "BatchNorm",
    _batch_norm,
    attrs=("eps",),
    params=("weight", "bias", "mean", "var"),
    torch=names("batch_norm", _read_batch_norm),
    layer=("batch_norm", "weight bias running_mean running_var in_training momentum eps"),
)
register(
    "Affine",
    _affine,
    params=("scale", "shift"),
    onnx=_affine_onnx,
    counts=_negated,
)
register("Dropout", lambda m, node, p, x: x, attrs=("p",), counts=first)
