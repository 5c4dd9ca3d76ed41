"""Layers with weights, and pooling, as nodes of the graph (lower_calls.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from plif_export.readers.layers import adaptive_pool, avg_pool_attrs, conv_attrs, padding_sizes, plain, pool_attrs
from plif_export.readers.lower_calls import Call, GraphTensor, Made, lowers
from plif_export.readers.rules import require

# --- layers with weights ------------------------------------------------------------------------------------------------


@lowers("conv1d", "conv2d")
def _conv(c: Call) -> Made:
    weight = c.array(1)
    dims = weight.ndim - 2
    stride, padding, dilation, groups = c.get(3, 1), c.get(4, 0), c.get(5, 1), c.get(6, 1)
    dilation = [dilation] * dims if isinstance(dilation, int) else list(dilation)
    padding = padding_sizes(padding, dilation, weight.shape[2:])
    attrs = conv_attrs(
        _one_each(stride, dims), _one_each(padding, dims), groups, dilation * (dims // len(dilation)), dims
    )
    return Made("Conv", (c.tensor(0),), attrs, _weights(c, weight, 2))


def _one_each(values: Any, dims: int) -> Any:
    return values if isinstance(values, int) or len(values) == dims else [values[0]] * dims


@lowers("conv_transpose1d", "conv_transpose2d")
def _conv_transpose(c: Call) -> Made:
    weight = c.array(1)
    dims = weight.ndim - 2
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    given = [c.get(i, default) for i, default in ((3, 1), (4, 0), (5, 0), (6, 1), (7, 1))]
    attrs = {n: g if n == "groups" else plain(_one_each(g, dims), dims) for n, g in zip(names, given, strict=True)}
    return Made("ConvTranspose", (c.tensor(0),), attrs, _weights(c, weight, 2))


def _weights(c: Call, weight: np.ndarray, bias: int) -> dict[str, np.ndarray]:
    params = {"weight": np.ascontiguousarray(weight)}
    if c.get(bias) is not None:
        params["bias"] = c.array(bias, "its bias")
    return params


@lowers("linear")
def _linear(c: Call) -> Made:
    return Made("Linear", (c.tensor(0),), {}, _weights(c, c.array(1), 2))


@lowers("addmm")
def _addmm(c: Call) -> Made:
    require(c.get(3, 1) == 1 and c.get(4, 1) == 1, "addmm with factors", "multiply before adding")
    return Made(
        "Linear", (c.tensor(1),), {}, {"weight": np.ascontiguousarray(c.array(2).T), "bias": c.array(0, "its bias")}
    )


@lowers("matmul", "mm", "bmm")
def _matmul(c: Call) -> Made:
    if c.moves(0) and not c.moves(1):
        weight = c.array(1)
        require(weight.ndim == 2, f"a product with an array {list(weight.shape)}", "use one matrix for all")
        return Made("Linear", (c.tensor(0),), {}, {"weight": np.ascontiguousarray(weight.T)})
    require(c.moves(0) and c.moves(1), "a matrix times a tensor of the network", "write x @ W, or use nn.Linear")
    a, b = c.tensor(0), c.tensor(1)
    require(
        len(a.shape) == len(b.shape) >= 2,
        f"it multiplies {list(a.shape)} and {list(b.shape)}",
        "give both as many axes",
    )
    return Made("MatMul", (a, b))


@lowers("einsum")
def _einsum(c: Call) -> Made:
    equation, (a, b) = c.get(0).replace(" ", ""), c.get(1)
    left, _, result = equation.partition("->")
    one, two = left.split(",")
    swapped = not a.moves
    if swapped:
        a, b, one, two = b, a, two, one
    fits = not b.moves and len(two) == 2 and two.replace(one[-1], "") + one[:-1] != "" and one[-1] in two
    out = two.replace(one[-1], "")
    require(fits and result == one[:-1] + out, f"einsum '{equation}'", "use nn.Linear, or torch.matmul")
    weight = c.value(b)
    return Made(
        "Linear", (c.shaped(a),), {}, {"weight": np.ascontiguousarray(weight if two[1] == one[-1] else weight.T)}
    )


@lowers("batch_norm")
def _batch_norm(c: Call) -> Made:
    require(
        not c.get(5) and c.get(3) is not None,
        "it has no running statistics, so that a sample depends on its batch",
        "train with track_running_stats=True",
    )
    mean, var = c.array(3), c.array(4)
    weight = np.ones_like(mean) if c.get(1) is None else c.array(1)
    bias = np.zeros_like(mean) if c.get(2) is None else c.array(2)
    params = {"weight": weight, "bias": bias, "mean": mean, "var": var}
    return Made("BatchNorm", (c.tensor(0),), {"eps": float(c.get(7, 1e-5))}, params)


@lowers("layer_norm")
def _layer_norm(c: Call) -> Made:
    shape = tuple(c.get(1))
    params = {"weight": np.ones(shape, np.float32) if c.get(2) is None else c.array(2)}
    if c.get(3) is not None:
        params["bias"] = c.array(3)
    return Made("LayerNorm", (c.tensor(0),), {"eps": float(c.get(4, 1e-5)), "axes": len(shape)}, params)


# --- pooling -----------------------------------------------------------------------------------------------------------


@lowers("max_pool1d", "max_pool2d", "max_pool2d_with_indices")
def _max_pool(c: Call) -> Made:
    x = c.tensor(0)
    attrs = pool_attrs(c.get(1), c.get(2) or c.get(1), c.get(3, 0), x.shape, bool(c.get(5, False)), c.get(4, 1))
    return Made("MaxPool", (x,), attrs)


@lowers("avg_pool1d", "avg_pool2d")
def _avg_pool(c: Call) -> Made:
    source = c.get(0)
    kernel, stride = c.get(1), c.get(2) or c.get(1)
    if c.node.name == "avg_pool1d" and source.shape[1] == 1:
        vector = c.made(source)
        if len(vector.shape) == 1:
            return _vote(vector, kernel, stride)
    x = c.tensor(0)
    require(c.get(6) is None, "divisor_override is set", "scale the next layer's weights")
    attrs = avg_pool_attrs(kernel, stride, c.get(3, 0), x.shape, bool(c.get(4, False)), bool(c.get(5, True)))
    return Made("AvgPool", (x,), attrs)


def _vote(x: GraphTensor, kernel: Any, stride: Any) -> Made:
    """Average pooling over a vector, as [B, 1, n] -> [B, 1, n / kernel]: neighbouring neurons vote."""
    k, s = (v if isinstance(v, int) else v[0] for v in (kernel, stride))
    require(
        k == s and x.shape[0] % k == 0, f"a vote of {k} every {s} over {x.shape[0]}", "let every class have k voters"
    )
    return Made("Vote", (x,), {"voters": int(k)}, shape=(x.shape[0] // k,))


@lowers("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive(c: Call) -> Made:
    x = c.tensor(0)
    op, attrs = adaptive_pool(x.shape, c.out)
    return Made(op, (x,), attrs)


@lowers("mean", "sum", "amax", "max")
def _reduce(c: Call) -> Made | GraphTensor:
    how = {"amax": "max"}.get(c.node.name, c.node.name)
    source, dims, keep = c.get(0), c.get(1), bool(c.get(2, False))
    rank = len(source.shape)
    require(dims is not None, f"{how} over everything", f"name the axes: {how}(dim=...)")
    axes = sorted(d % rank for d in ([dims] if isinstance(dims, int) else dims)) or list(range(rank))
    require(0 not in axes, f"{how} over the batch", "keep the batch: a sample must not depend on another")
    vector = c.made(source)
    if how == "mean" and len(vector.shape) == 1 and rank == 3 and axes == [2]:  # x.view(B, classes, k).mean(-1)
        k = source.shape[2]
        return Made("Vote", (vector,), {"voters": k}, shape=(vector.shape[0] // k,))
    x = c.tensor(0)
    if how == "mean" and axes == list(range(2, rank)) and rank in (3, 4):
        return Made("GlobalAvgPool", (x,), shape=(x.shape[0], *(1,) * (rank - 2)))
    return Made("Reduce", (x,), {"how": how, "axes": axes, "keepdims": keep}, shape=c.out)
