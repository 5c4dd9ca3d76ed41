"""Pooling: windows over the space of a map, and what is made of each.

MaxPool   the largest of a window; kernel, stride, and perhaps padding and dilation
AvgPool   its mean; zeros of the padding count
Vote      the mean of `voters` neighbouring neurons for each class, which is what y is in most networks that decide
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from runtime.core.model.ops.operation import (
    Backend,
    Counts,
    GraphTensor,
    NewNode,
    Node,
    Params,
    Shape,
    Sizes,
    Value,
    first,
    names,
    padded,
    place_of,
    plain,
    register,
    spatial,
)
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall
from runtime.core.model.refusals import require


def _windows(m: Backend, node: Node, x: Value, fill: float) -> Value:
    dims = len(node.shape) - 1
    return m.windows(x, spatial(node.attrs["kernel"], dims), *place_of(node, dims), fill)


def _axes(dims: int) -> tuple[int, ...]:
    """Of the places in a window, behind [B, C, ...]."""
    return tuple(range(2 + dims, 2 + 2 * dims))


def _max_pool(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.max(_windows(m, node, x, -np.inf), _axes(len(node.shape) - 1))


def _avg_pool(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.mean(_windows(m, node, x, 0.0), _axes(len(node.shape) - 1))


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def _onnx(op: str) -> Callable[..., str]:
    def write(e: OnnxEmitter, node: Node, x: str) -> str:
        dims = len(node.shape) - 1
        stride, padding, dilation = place_of(node, dims)
        place: dict[str, object] = {"strides": list(stride)}
        if any(padding):
            place["pads"] = [*padding, *padding]
        if any(d != 1 for d in dilation):
            place["dilations"] = list(dilation)
        if op == "AveragePool" and "pads" in place:
            place["count_include_pad"] = 1
        return str(e.op(op, [x], node.name, kernel_shape=list(spatial(node.attrs["kernel"], dims)), **place))

    return write


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _attrs(
    kernel: Sizes, stride: Sizes | None, padding: Sizes, shape: Shape, dilation: Sizes = 1
) -> dict[str, int | list[int]]:
    """Kernel, stride, padding and dilation of a pooling."""
    dims = len(shape) - 1
    kernel, padding, dilation = (spatial(value, dims) for value in (kernel, padding, dilation))
    stride = kernel if stride in (None, ()) else spatial(stride, dims)
    attrs = {"kernel": plain(kernel, dims), "stride": plain(stride, dims)}
    if any(padding):
        attrs["padding"] = plain(padding, dims)
    if any(d != 1 for d in dilation):
        attrs["dilation"] = plain(dilation, dims)
    return attrs


def _overhang(shape: Shape, out: Shape, attrs: Mapping[str, Sizes]) -> list[int]:
    """By how many places the last windows of ceil_mode hang over the edge."""
    dims = len(shape) - 1
    kernel, stride = (spatial(attrs[key], dims) for key in ("kernel", "stride"))
    padding, dilation = (spatial(attrs.get(key, default), dims) for key, default in (("padding", 0), ("dilation", 1)))
    reach = zip(shape[1:], out[1:], kernel, stride, padding, dilation, strict=True)
    return [max((m - 1) * s + d * (k - 1) + 1 - n - 2 * p, 0) for n, m, k, s, p, d in reach]


def _read_max(c: TorchCall) -> NewNode:
    """A window that hangs over the edge has the last place in it, so that more of that place changes nothing."""
    x = c.tensor(0)
    attrs = _attrs(c.get(1), c.get(2) or c.get(1), c.get(3, 0), x.shape, c.get(4, 1))
    over = _overhang(x.shape, c.out, attrs)
    rule = "ceil_mode=True with a dilation, and a window hangs over the edge here"
    require(not any(over) or "dilation" not in attrs, rule, "use ceil_mode=False, or a size that the windows fill")
    whole = padded(x, [0] * len(x.shape), [0, *over], "edge") if any(over) else x
    return NewNode("MaxPool", (whole,), attrs)


def _read_avg(c: TorchCall) -> NewNode:
    kernel, stride = c.get(1), c.get(2) or c.get(1)
    if c.node.name == "avg_pool1d" and (vector := vector_of(c)):
        return read_vote(vector, kernel, stride)
    x = c.tensor(0)
    require(c.get(6) is None, "divisor_override is set", "scale the next layer's weights")
    attrs = _attrs(kernel, stride, c.get(3, 0), x.shape)
    require(
        not any(_overhang(x.shape, c.out, attrs)),
        "ceil_mode=True, and a window hangs over the edge here",
        "use ceil_mode=False, or an input size that the windows fill",
    )
    require(
        "padding" not in attrs or bool(c.get(5, True)),
        "padding with count_include_pad=False",
        "use count_include_pad=True, or no padding",
    )
    return NewNode("AvgPool", (x,), attrs)


def vector_of(c: TorchCall) -> GraphTensor | None:
    """The vector that is pooled as [B, n] or [B, 1, n]; None where a map is."""
    source = c.get(0)
    found: GraphTensor = c.made(source)
    return found if len(found.shape) == 1 and (len(source.shape) == 2 or source.shape[1] == 1) else None


def read_vote(x: GraphTensor, kernel: Sizes, stride: Sizes) -> NewNode:
    """Average pooling over a vector [B, n] -> [B, n / kernel]: neighbouring neurons vote."""
    k, s = (v if isinstance(v, int) else v[0] for v in (kernel, stride))
    rule = f"a vote of {k} every {s} over {x.shape[0]}"
    require(k == s and x.shape[0] % k == 0, rule, "let every class have k voters")
    return NewNode("Vote", (x,), {"voters": int(k)}, shape=(x.shape[0] // k,))


def counted(size: Callable[[Node, Sequence[Shape]], int]) -> Callable[..., Counts]:
    def counts(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts:
        area = size(node, shapes)
        return Counts(of[0].most * area, of[0].area * area)

    return counts


def _area(node: Node, shapes: Sequence[Shape]) -> int:
    return prod(spatial(node.attrs["kernel"], len(node.shape) - 1))


register(
    "MaxPool",
    _max_pool,
    attrs=("kernel", "stride"),
    onnx=_onnx("MaxPool"),
    torch=names("max_pool?d max_pool?d_with_indices", _read_max),
    layer=("max_pool2d", "kernel_size stride padding dilation ceil_mode"),
    counts=first,
)
register(
    "AvgPool",
    _avg_pool,
    attrs=("kernel", "stride"),
    onnx=_onnx("AveragePool"),
    torch=names("avg_pool?d", _read_avg),
    layer=("avg_pool2d", "kernel_size stride padding ceil_mode count_include_pad divisor_override"),
    counts=counted(_area),
)


# --- Vote ---------------------------------------------------------------------------------------------------------------


def _vote(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.mean(m.reshape(x, (node.shape[0], node.attrs["voters"])), (2,))


def _vote_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    shape = e.weight(f"{node.name}.shape", np.array([-1, node.shape[0], node.attrs["voters"]], np.int64))
    axes = e.weight(f"{node.name}.axes", np.array([2], np.int64))
    voters = e.op("Reshape", [x, shape], f"{node.name}.voters")
    return str(e.op("ReduceMean", [voters, axes], node.name, keepdims=0))


register("Vote", _vote, attrs=("voters",), onnx=_vote_onnx)
