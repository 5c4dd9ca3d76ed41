"""ConvTranspose, over one, two or three axes of space.

    y[o, n stride + k dilation - padding] += W[i, o, k] x[i, n], and b[o]           W is [I, O / groups, k...]

It is a convolution too: of the map with stride - 1 zeros between its places, by the kernel turned round.
"""

from __future__ import annotations

import numpy as np

from runtime.core.model.ops.operation import (
    Backend,
    NewNode,
    Node,
    Params,
    Value,
    names,
    one_each,
    place_of,
    plain,
    register,
    spatial,
)
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall, weights


def _transposed(m: Backend, node: Node, p: Params, x: Value) -> Value:
    weight, groups = node.params["weight"], node.attrs["groups"]
    dims = weight.ndim - 2
    stride, padding, dilation = place_of(node, dims)
    reach = tuple((k - 1) * d for k, d in zip(weight.shape[2:], dilation, strict=True))
    before = tuple(r - q for r, q in zip(reach, padding, strict=True))
    after = tuple(b + q for b, q in zip(before, spatial(node.attrs["output_padding"], dims), strict=True))
    turned = m.arranged(lambda w: _turned(w, groups), p["weight"])
    y = m.spread(x, stride, before, after)
    y = m.weighed(m.windows(y, weight.shape[2:], (1,) * dims, (0,) * dims, dilation, 0.0), turned, groups)
    return y + m.beside(p["bias"], node.shape) if "bias" in p else y


def _turned(weight: np.ndarray, groups: int) -> np.ndarray:
    """[I, O / groups, k...] -> [O, I / groups, k...], each kernel turned round."""
    inputs, outputs, *kernel = weight.shape
    parts = weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    flat = parts.reshape(groups * outputs, inputs // groups, *kernel)
    return np.flip(flat, tuple(range(2, flat.ndim)))


def _transposed_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    dims = node.params["weight"].ndim - 2
    stride, padding, dilation = place_of(node, dims)
    place: dict[str, object] = {
        "kernel_shape": list(node.params["weight"].shape[2:]),
        "strides": list(stride),
        "pads": [*padding, *padding],
        "output_padding": list(spatial(node.attrs["output_padding"], dims)),
        "dilations": list(dilation),
        "group": node.attrs["groups"],
    }
    return str(e.op("ConvTranspose", [x, *e.parameters(node)], node.name, **place))


def _read_transposed(c: TorchCall) -> NewNode:
    weight = c.array(1)
    dims = weight.ndim - 2
    keys = ("stride", "padding", "output_padding", "groups", "dilation")
    given = [c.get(i, default) for i, default in ((3, 1), (4, 0), (5, 0), (6, 1), (7, 1))]
    attrs = {key: g if key == "groups" else plain(one_each(g, dims), dims) for key, g in zip(keys, given, strict=True)}
    return NewNode("ConvTranspose", (c.tensor(0),), attrs, weights(c, weight, 2))


register(
    "ConvTranspose",
    _transposed,
    attrs=("stride", "padding", "output_padding", "groups", "dilation"),
    params=("weight",),
    optional=("bias",),
    onnx=_transposed_onnx,
    torch=names("conv_transpose?d", _read_transposed),
)
