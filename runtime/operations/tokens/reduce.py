"""The operations Reduce, Softmax, LayerNorm and RMSNorm, which combine the values along some axes.

Reduce      how: mean, sum or max, over `axes`
Softmax     e^(x - max) / sum e^(x - max) along an axis
LayerNorm   (x - mean) / sqrt(var + eps) * weight + bias over the last `axes` axes; weight and bias have their shape
RMSNorm     x / sqrt(mean(x^2) + eps) * weight over the last `axes` axes

GroupNorm is a LayerNorm of each group of channels, then a weight and a bias for each channel.
"""

from __future__ import annotations

from math import prod

import numpy as np

from runtime.core.model.ops.operation import Backend, GraphTensor, NewNode, Node, Params, Value, names, register
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall
from runtime.core.model.refusals import require


def _reduce(m: Backend, node: Node, p: Params, x: Value) -> Value:
    function = {"mean": m.mean, "sum": m.sum, "max": m.max}[node.attrs["how"]]
    return function(x, tuple(node.attrs["axes"]), node.attrs["keepdims"])


def _softmax(m: Backend, node: Node, p: Params, x: Value) -> Value:
    axis = (node.attrs["axis"],)
    e = m.op("Exp", x - m.max(x, axis, True))
    return e / m.sum(e, axis, True)


def _last_axes(node: Node) -> tuple[int, ...]:
    rank = len(node.shape)
    return tuple(range(1 + rank - node.attrs["axes"], 1 + rank))


def _layer_norm(m: Backend, node: Node, p: Params, x: Value) -> Value:
    y = _rms_norm(m, node, p, x - m.mean(x, _last_axes(node), True))
    return y + m.broadcast_trailing(p["bias"], node.attrs["axes"]) if "bias" in p else y


def _rms_norm(m: Backend, node: Node, p: Params, x: Value) -> Value:
    square = m.mean(x * x, _last_axes(node), True)
    y = x / m.op("Sqrt", square + np.float32(node.attrs["eps"]))
    return y * m.broadcast_trailing(p["weight"], node.attrs["axes"])


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def _reduce_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    op = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax"}[node.attrs["how"]]
    axes = e.weight(f"{node.name}.axes", np.array(node.attrs["axes"], np.int64))
    return str(e.op(op, [x, axes], node.name, keepdims=int(node.attrs["keepdims"])))


def _layer_norm_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    attrs = {"axis": -node.attrs["axes"], "epsilon": float(node.attrs["eps"])}
    return str(e.op("LayerNormalization", [x, *e.parameters(node)], node.name, **attrs))


def _rms_norm_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    name, size = node.name, node.attrs["axes"]
    axes = e.weight(f"{name}.axes", np.arange(-size, 0))
    eps = e.weight(f"{name}.eps", np.array(node.attrs["eps"], np.float32))
    square = e.op("ReduceMean", [e.op("Mul", [x, x], f"{name}.squares"), axes], f"{name}.square", keepdims=1)
    root = e.op("Sqrt", [e.op("Add", [square, eps], f"{name}.shifted")], f"{name}.root")
    return str(e.op("Mul", [e.op("Div", [x, root], f"{name}.normed"), *e.parameters(node)], name))


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _read_reduce(c: TorchCall) -> NewNode | GraphTensor:
    function = {"amax": "max"}.get(c.node.name, c.node.name)
    source, dims, keep = c.get(0), c.get(1), bool(c.get(2, False))
    rank = len(source.shape)
    require(dims is not None, f"{function} over everything", f"name the axes: {function}(dim=...)")
    axes = sorted(d % rank for d in ([dims] if isinstance(dims, int) else dims)) or list(range(rank))
    require(0 not in axes, f"{function} over the batch", "keep the batch: a sample must not depend on another")
    vector = c.lower_node(source)
    if function == "mean" and len(vector.shape) == 1 and rank == 3 and axes == [2]:  # x.view(B, classes, k).mean(-1)
        k = source.shape[2]
        return NewNode("Vote", (vector,), {"voters": k}, shape=(vector.shape[0] // k,))
    x = c.tensor(0)
    if function == "mean" and axes == list(range(2, rank)) and rank >= 3:
        return NewNode("GlobalAvgPool", (x,), shape=(x.shape[0], *(1,) * (len(x.shape) - 1)))
    return NewNode("Reduce", (x,), {"how": function, "axes": axes, "keepdims": keep}, shape=c.out)


def _read_softmax(c: TorchCall) -> NewNode:
    axis = c.get(1) % len(c.node.shape)
    require(axis != 0, "softmax over the batch", "use another axis")
    return NewNode("Softmax", (c.tensor(0),), {"axis": axis})


def _read_layer_norm(c: TorchCall) -> NewNode:
    shape = tuple(c.get(1))
    params = {"weight": np.ones(shape, np.float32) if c.get(2) is None else c.array(2)}
    if c.get(3) is not None:
        params["bias"] = c.array(3)
    return NewNode("LayerNorm", (c.tensor(0),), {"eps": float(c.get(4, 1e-5)), "axes": len(shape)}, params)


def _read_rms_norm(c: TorchCall) -> NewNode:
    shape = tuple(c.get(1))
    params = {"weight": np.ones(shape, np.float32) if c.get(2) is None else c.array(2)}
    eps = np.finfo(np.float32).eps if c.get(3) is None else c.get(3)
    return NewNode("RMSNorm", (c.tensor(0),), {"eps": float(eps), "axes": len(shape)}, params)


def _read_group_norm(c: TorchCall) -> NewNode:
    x, groups = c.tensor(0), int(c.get(1))
    size = prod(x.shape) // groups
    parts = NewNode("Reshape", (x,), shape=(groups, size))
    params = {"weight": np.ones(size, np.float32)}
    normed = NewNode("LayerNorm", (parts,), {"eps": float(c.get(4, 1e-5)), "axes": 1}, params, (groups, size))
    whole = NewNode("Flatten" if len(x.shape) == 1 else "Reshape", (normed,), shape=x.shape)
    if c.get(2) is None and c.get(3) is None:
        return whole
    scale = np.ones(x.shape[0], np.float32) if c.get(2) is None else c.array(2)
    shift = np.zeros(x.shape[0], np.float32) if c.get(3) is None else c.array(3)
    return NewNode("Affine", (whole,), {}, {"scale": scale, "shift": shift})


register(
    "Reduce",
    _reduce,
    attrs=("how", "axes", "keepdims"),
    onnx=_reduce_onnx,
    torch=names("mean sum amax max", _read_reduce),
)
register(
    "Softmax",
    _softmax,
    attrs=("axis",),
    onnx=lambda e, node, x: e.op("Softmax", [x], node.name, axis=node.attrs["axis"]),
    torch=names("softmax _softmax _safe_softmax", _read_softmax),
    measured=True,
)
register(
    "LayerNorm",
    _layer_norm,
    attrs=("eps", "axes"),
    params=("weight",),
    optional=("bias",),
    onnx=_layer_norm_onnx,
    torch={**names("layer_norm", _read_layer_norm), **names("group_norm", _read_group_norm)},
    measured=True,
)
register(
    "RMSNorm",
    _rms_norm,
    attrs=("eps", "axes"),
    params=("weight",),
    onnx=_rms_norm_onnx,
    torch=names("rms_norm", _read_rms_norm),
    measured=True,
)
