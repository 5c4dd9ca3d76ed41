"""The operations that work element by element.

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
    scale = m.from_parameters(lambda weight, var: weight / np.sqrt(var + var.dtype.type(eps)), p["weight"], p["var"])
    return (x - m.broadcast_like(p["mean"], node.shape)) * m.broadcast_like(scale, node.shape) + m.broadcast_like(
        p["bias"], node.shape
    )


def _affine(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return x * m.broadcast_like(p["scale"], node.shape) + m.broadcast_like(p["shift"], node.shape)


# --- counts -------------------------------------------------------------------------------------------------------------


def _count_negated(node: Node, shapes: Sequence[Shape], inputs: Sequence[Counts]) -> Counts | None:
    """Return the range (Counts) of 1 - s, for an Affine node that computes it from spikes s; None for any other.

    SEW-ResNet joins spikes with it ("and not").
    """
    is_negation = np.all(node.params["scale"] == -1) and np.all(node.params["shift"] == 1)
    return inputs[0] if is_negation and inputs[0] == Counts() else None


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def _affine_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    scale, shift = (
        e.broadcast_weight(f"{node.name}.{key}", node.params[key], node.shape) for key in ("scale", "shift")
    )
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
    counts=_count_negated,
)
register("Dropout", lambda m, node, p, x: x, attrs=("p",), counts=first)
