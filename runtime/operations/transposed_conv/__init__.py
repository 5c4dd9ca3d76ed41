"""The operation ConvTranspose, over one, two or three spatial axes.

    y[o, n stride + k dilation - padding] += W[i, o, k] x[i, n], and b[o]           W is [I, O / groups, k...]

It is computed as a convolution of the map with stride - 1 zeros between its pixels, by the flipped kernel.
"""

from __future__ import annotations

import numpy as np

from runtime.core.model.ops.operation import (
    Backend,
    NewNode,
    Node,
    Params,
    Value,
    compact_sizes,
    conv_geometry,
    expand_short_form,
    expand_sizes,
    names,
    register,
)
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall, read_weights


def _conv_transpose(m: Backend, node: Node, p: Params, x: Value) -> Value:
    weight, groups = node.params["weight"], node.attrs["groups"]
    dims = weight.ndim - 2
    stride, padding, dilation = conv_geometry(node, dims)
    reach = tuple((k - 1) * d for k, d in zip(weight.shape[2:], dilation, strict=True))
    before = tuple(r - q for r, q in zip(reach, padding, strict=True))
    after = tuple(b + q for b, q in zip(before, expand_sizes(node.attrs["output_padding"], dims), strict=True))
    flipped = m.rearrange(lambda w: _flip_kernels(w, groups), p["weight"])
    y = m.insert_zeros(x, stride, before, after)
    y = m.im2col_matmul(m.windows(y, weight.shape[2:], (1,) * dims, (0,) * dims, dilation, 0.0), flipped, groups)
    return y + m.broadcast_like(p["bias"], node.shape) if "bias" in p else y


def _flip_kernels(weight: np.ndarray, groups: int) -> np.ndarray:
    """Convert a transposed-convolution weight [I, O / groups, k...] to [O, I / groups, k...], kernels flipped."""
    inputs, outputs, *kernel = weight.shape
    parts = weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    flat = parts.reshape(groups * outputs, inputs // groups, *kernel)
    return np.flip(flat, tuple(range(2, flat.ndim)))


def _conv_transpose_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    dims = node.params["weight"].ndim - 2
    stride, padding, dilation = conv_geometry(node, dims)
    place: dict[str, object] = {
        "kernel_shape": list(node.params["weight"].shape[2:]),
        "strides": list(stride),
        "pads": [*padding, *padding],
        "output_padding": list(expand_sizes(node.attrs["output_padding"], dims)),
        "dilations": list(dilation),
        "group": node.attrs["groups"],
    }
    return str(e.op("ConvTranspose", [x, *e.parameters(node)], node.name, **place))


def _read_conv_transpose(c: TorchCall) -> NewNode:
    weight = c.array(1)
    dims = weight.ndim - 2
    keys = ("stride", "padding", "output_padding", "groups", "dilation")
    values = [c.get(i, default) for i, default in ((3, 1), (4, 0), (5, 0), (6, 1), (7, 1))]
    attrs = {
        key: g if key == "groups" else compact_sizes(expand_short_form(g, dims), dims)
        for key, g in zip(keys, values, strict=True)
    }
    return NewNode("ConvTranspose", (c.tensor(0),), attrs, read_weights(c, weight, 2))


register(
    "ConvTranspose",
    _conv_transpose,
    attrs=("stride", "padding", "output_padding", "groups", "dilation"),
    params=("weight",),
    optional=("bias",),
    onnx=_conv_transpose_onnx,
    torch=names("conv_transpose?d", _read_conv_transpose),
)
