"""The pooling operations: a function of each window over the space of a map.

MaxPool   the largest value of a window; kernel, stride, and perhaps padding and dilation
AvgPool   its mean; zeros of the padding count
Vote      the mean of `voters` neighbouring neurons for each class: y in most networks that decide
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
    compact_sizes,
    conv_geometry,
    expand_sizes,
    first,
    make_pad_node,
    names,
    register,
)
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall
from runtime.core.model.refusals import require


def _pool_windows(m: Backend, node: Node, x: Value, fill: float) -> Value:
    dims = len(node.shape) - 1
    return m.windows(x, expand_sizes(node.attrs["kernel"], dims), *conv_geometry(node, dims), fill)


def _window_axes(dims: int) -> tuple[int, ...]:
    """Return the numbers of the axes inside a window, in pooling windows [B, C, ..., k...]."""
    return tuple(range(2 + dims, 2 + 2 * dims))


def _max_pool(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.max(_pool_windows(m, node, x, -np.inf), _window_axes(len(node.shape) - 1))


def _avg_pool(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.mean(_pool_windows(m, node, x, 0.0), _window_axes(len(node.shape) - 1))


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def _pool_onnx(op: str) -> Callable[..., str]:
    def write(e: OnnxEmitter, node: Node, x: str) -> str:
        dims = len(node.shape) - 1
        stride, padding, dilation = conv_geometry(node, dims)
        place: dict[str, object] = {"strides": list(stride)}
        if any(padding):
            place["pads"] = [*padding, *padding]
        if any(d != 1 for d in dilation):
            place["dilations"] = list(dilation)
        if op == "AveragePool" and "pads" in place:
            place["count_include_pad"] = 1
        return str(e.op(op, [x], node.name, kernel_shape=list(expand_sizes(node.attrs["kernel"], dims)), **place))

    return write


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _pool_attrs(
    kernel: Sizes, stride: Sizes | None, padding: Sizes, shape: Shape, dilation: Sizes = 1
) -> dict[str, int | list[int]]:
    """Return the attributes of a pooling node: kernel, stride, padding and dilation."""
    dims = len(shape) - 1
    kernel, padding, dilation = (expand_sizes(value, dims) for value in (kernel, padding, dilation))
    stride = kernel if stride in (None, ()) else expand_sizes(stride, dims)
    attrs = {"kernel": compact_sizes(kernel, dims), "stride": compact_sizes(stride, dims)}
    if any(padding):
        attrs["padding"] = compact_sizes(padding, dims)
    if any(d != 1 for d in dilation):
        attrs["dilation"] = compact_sizes(dilation, dims)
    return attrs


def _overhang(shape: Shape, out: Shape, attrs: Mapping[str, Sizes]) -> list[int]:
    """Return for each axis by how many cells the last pooling windows of ceil_mode extend beyond the edge."""
    dims = len(shape) - 1
    kernel, stride = (expand_sizes(attrs[key], dims) for key in ("kernel", "stride"))
    padding, dilation = (
        expand_sizes(attrs.get(key, default), dims) for key, default in (("padding", 0), ("dilation", 1))
    )
    reach = zip(shape[1:], out[1:], kernel, stride, padding, dilation, strict=True)
    return [max((m - 1) * s + d * (k - 1) + 1 - n - 2 * p, 0) for n, m, k, s, p, d in reach]


def _read_max(c: TorchCall) -> NewNode:
    """Read a PyTorch max pooling as a MaxPool node.

    A window beyond the edge contains the last place, so that repeating this place changes no maximum.
    """
    x = c.tensor(0)
    attrs = _pool_attrs(c.get(1), c.get(2) or c.get(1), c.get(3, 0), x.shape, c.get(4, 1))
    over = _overhang(x.shape, c.out, attrs)
    rule = "ceil_mode=True with a dilation, and a window hangs over the edge here"
    require(not any(over) or "dilation" not in attrs, rule, "use ceil_mode=False, or a size that the windows fill")
    source = make_pad_node(x, [0] * len(x.shape), [0, *over], "edge") if any(over) else x
    return NewNode("MaxPool", (source,), attrs)


def _read_avg(c: TorchCall) -> NewNode:
    kernel, stride = c.get(1), c.get(2) or c.get(1)
    if c.node.name == "avg_pool1d" and (vector := find_pooled_vector(c)):
        return read_vote(vector, kernel, stride)
    x = c.tensor(0)
    require(c.get(6) is None, "divisor_override is set", "scale the next layer's weights")
    attrs = _pool_attrs(kernel, stride, c.get(3, 0), x.shape)
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


def find_pooled_vector(c: TorchCall) -> GraphTensor | None:
    """Return the vector that a pooling call reads as [B, n] or [B, 1, n]; None if it pools a map."""
    source = c.get(0)
    tensor: GraphTensor = c.lower_node(source)
    return tensor if len(tensor.shape) == 1 and (len(source.shape) == 2 or source.shape[1] == 1) else None


def read_vote(x: GraphTensor, kernel: Sizes, stride: Sizes) -> NewNode:
    """Return the Vote node of an average pooling over a vector [B, n] -> [B, n / kernel]: neighbours vote."""
    k, s = (v if isinstance(v, int) else v[0] for v in (kernel, stride))
    rule = f"a vote of {k} every {s} over {x.shape[0]}"
    require(k == s and x.shape[0] % k == 0, rule, "let every class have k voters")
    return NewNode("Vote", (x,), {"voters": int(k)}, shape=(x.shape[0] // k,))


def make_pool_counts(size: Callable[[Node, Sequence[Shape]], int]) -> Callable[..., Counts]:
    def counts(node: Node, shapes: Sequence[Shape], inputs: Sequence[Counts]) -> Counts:
        area = size(node, shapes)
        return Counts(inputs[0].most * area, inputs[0].area * area)

    return counts


def _area(node: Node, shapes: Sequence[Shape]) -> int:
    return prod(expand_sizes(node.attrs["kernel"], len(node.shape) - 1))


register(
    "MaxPool",
    _max_pool,
    attrs=("kernel", "stride"),
    onnx=_pool_onnx("MaxPool"),
    torch=names("max_pool?d max_pool?d_with_indices", _read_max),
    layer=("max_pool2d", "kernel_size stride padding dilation ceil_mode"),
    counts=first,
)
register(
    "AvgPool",
    _avg_pool,
    attrs=("kernel", "stride"),
    onnx=_pool_onnx("AveragePool"),
    torch=names("avg_pool?d", _read_avg),
    layer=("avg_pool2d", "kernel_size stride padding ceil_mode count_include_pad divisor_override"),
    counts=make_pool_counts(_area),
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
