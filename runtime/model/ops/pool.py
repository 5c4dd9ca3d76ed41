"""Pooling: windows over the space of a map, and what is made of each.

MaxPool          the largest of a window; kernel, stride, and perhaps padding and dilation
AvgPool          its mean; zeros of the padding count
GlobalAvgPool    the mean over all places, [C, 1, 1]
Vote             the mean of `voters` neighbouring neurons for each class, which is what y is in most networks that decide
AdaptiveAvgPool  to the node's shape, in any ratio: output i is the mean of inputs floor(i n / m) to ceil((i + 1) n / m)

Vote: the mean of `voters` neighbouring neurons for each class, which is what y is in most networks that decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from runtime.model.ops.operation import (
    Backend,
    Counts,
    GraphTensor,
    Matrix,
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
from runtime.model.ops.ports import NirReader, NirWriter, OnnxEmitter, Read, TorchCall
from runtime.model.refusals import Unsupported, require


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


def _global(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.mean(x, tuple(range(2, 1 + len(node.shape))), True)


def along(m: Backend, node: Node, x: Value, matrix: Callable[[int, int], np.ndarray]) -> Value:
    """[B, C, ...] -> [B, C, ...]: a product for each axis of space, the last first, X A^T for that one, A X along the others."""
    dims = len(node.shape) - 1
    for axis in reversed(range(dims)):
        x = m.along(x, 2 + axis, _to_size(matrix, node.shape[1 + axis]), axis)
    return x


def _to_size(matrix: Callable[[int, int], np.ndarray], size: int) -> Matrix:
    return lambda n: matrix(n, size)


def means(n: int, m: int) -> np.ndarray:
    """[m, n] float32: output i is the mean of the inputs from floor(i n / m) to ceil((i + 1) n / m)."""
    rows = np.zeros((m, n), np.float32)
    for i in range(m):
        start, stop = i * n // m, -(-(i + 1) * n // m)
        rows[i, start:stop] = 1 / (stop - start)
    return rows


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
    if c.node.name == "avg_pool1d" and (vector := _vector(c)):
        return _read_vote(vector, kernel, stride)
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


def _vector(c: TorchCall) -> GraphTensor | None:
    """The vector that is pooled as [B, n] or [B, 1, n]; None where a map is."""
    source = c.get(0)
    found: GraphTensor = c.made(source)
    return found if len(found.shape) == 1 and (len(source.shape) == 2 or source.shape[1] == 1) else None


def _read_vote(x: GraphTensor, kernel: Sizes, stride: Sizes) -> NewNode:
    """Average pooling over a vector [B, n] -> [B, n / kernel]: neighbouring neurons vote."""
    k, s = (v if isinstance(v, int) else v[0] for v in (kernel, stride))
    rule = f"a vote of {k} every {s} over {x.shape[0]}"
    require(k == s and x.shape[0] % k == 0, rule, "let every class have k voters")
    return NewNode("Vote", (x,), {"voters": int(k)}, shape=(x.shape[0] // k,))


def everywhere(x: GraphTensor) -> NewNode:
    """The mean over all places."""
    return NewNode("GlobalAvgPool", (x,), shape=(x.shape[0], *(1,) * (len(x.shape) - 1)))


def _read_adaptive(c: TorchCall) -> NewNode:
    """Windows of one size, one over everything, or any."""
    if vector := _vector(c):
        n, m = vector.shape[0], c.node.shape[-1]
        require(n % m == 0, f"it pools a vector of {n} to {m}", "let every class have as many voters")
        return _read_vote(vector, n // m, n // m)
    x = c.tensor(0)
    sizes, out = x.shape[1:], c.out[1:]
    if all(n == 1 for n in out):
        return everywhere(x)
    if any(n % o for n, o in zip(sizes, out, strict=True)):
        return NewNode("AdaptiveAvgPool", (x,))
    kernel = plain([n // o for n, o in zip(sizes, out, strict=True)], len(out))
    return NewNode("AvgPool", (x,), {"kernel": kernel, "stride": kernel})


# --- NIR ----------------------------------------------------------------------------------------------------------------


def _avg_of_nir(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    require(len(shape) == 3, f"a {type(node).__name__} over {list(shape)}", "give it an input of channels and space")
    kernel, stride, padding = (r.sizes(value, 2) for value in (node.kernel_size, node.stride, node.padding))
    attrs = {"kernel": plain(kernel, 2), "stride": plain(stride, 2)}
    if any(padding):
        attrs["padding"] = plain(padding, 2)
    return r.layer(name, "AvgPool", x, shape, attrs)


def _sum_of_nir(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    """The mean times the window's size."""
    mean, out = _avg_of_nir(r, f"{name}_mean", node, x, shape)
    size = np.array(np.prod(r.sizes(node.kernel_size, 2)), np.float32)
    return r.layer(name, "Affine", mean, out, {}, {"scale": size, "shift": np.zeros_like(size)})


def _max_to_nir(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    raise Unsupported("NIR has no max-pooling", "train with average pooling (APk2s2 in the notation), or use --to onnx")


def _avg_to_nir(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    advice = "use a strided convolution" if node.op == "AvgPool" else "use a linear layer"
    require(len(shape) == 3, f"NIR pools maps [channels, height, width], not {list(shape)}", advice)
    keys = (("kernel", shape[1:]), ("stride", shape[1:]), ("padding", 0))
    return nir.AvgPool2d(*(np.array(spatial(node.attrs.get(key, default), 2)) for key, default in keys))


def _counted(size: Callable[[Node, Sequence[Shape]], int]) -> Callable[..., Counts]:
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
    to_nir=_max_to_nir,
    counts=first,
)
register(
    "AvgPool",
    _avg_pool,
    attrs=("kernel", "stride"),
    onnx=_onnx("AveragePool"),
    torch=names("avg_pool?d", _read_avg),
    layer=("avg_pool2d", "kernel_size stride padding ceil_mode count_include_pad divisor_override"),
    nir={"AvgPool2d": _avg_of_nir, "SumPool2d": _sum_of_nir},
    to_nir=_avg_to_nir,
    counts=_counted(_area),
)
register(
    "GlobalAvgPool",
    _global,
    onnx=lambda e, node, x: e.op("GlobalAveragePool", [x], node.name),
    to_nir=_avg_to_nir,
    counts=_counted(lambda node, shapes: prod(shapes[0][1:])),
)
register(
    "AdaptiveAvgPool",
    lambda m, node, p, x: along(m, node, x, means),
    onnx=lambda e, node, x: e.along(node, x, means),
    torch=names("adaptive_avg_pool?d _adaptive_avg_pool?d", _read_adaptive),
    measured=True,
)


# --- Vote ---------------------------------------------------------------------------------------------------------------


def _vote(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.mean(m.reshape(x, (node.shape[0], node.attrs["voters"])), (2,))


def _vote_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    shape = e.weight(f"{node.name}.shape", np.array([-1, node.shape[0], node.attrs["voters"]], np.int64))
    axes = e.weight(f"{node.name}.axes", np.array([2], np.int64))
    voters = e.op("Reshape", [x, shape], f"{node.name}.voters")
    return str(e.op("ReduceMean", [voters, axes], node.name, keepdims=0))


def _vote_to_nir(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    advice = "--set votes=fold makes a Linear of it, with weights of 1 / voters"
    require(options.fold_votes, "NIR has no vote", advice)
    voters = int(node.attrs["voters"])
    return nir.Linear(np.repeat(np.eye(shape[0] // voters, dtype=np.float32), voters, axis=1) / np.float32(voters))


register("Vote", _vote, attrs=("voters",), onnx=_vote_onnx, to_nir=_vote_to_nir)
