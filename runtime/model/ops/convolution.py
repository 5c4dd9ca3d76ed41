"""Conv and ConvTranspose, over one, two or three axes of space.

    Conv            y[o, n] = b[o] + sum W[o, i, k] x[i, n stride - padding + k dilation]           W is [O, I / groups, k...]
    ConvTranspose   y[o, n stride + k dilation - padding] += W[i, o, k] x[i, n], and b[o]           W is [I, O / groups, k...]

The second is a convolution too: of the map with stride - 1 zeros between its places, by the kernel turned round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from runtime.model.ops.operation import (
    Backend,
    NewNode,
    Node,
    Params,
    Shape,
    Sizes,
    Value,
    names,
    one_each,
    place_of,
    plain,
    register,
    spatial,
)
from runtime.model.ops.ports import NirReader, NirWriter, OnnxEmitter, Read, TorchCall, weights
from runtime.model.refusals import require

Weigh = Callable[[Value, Value], Value]


def _conv(m: Backend, node: Node, p: Params, x: Value) -> Value:
    dims = len(node.shape) - 1
    kernel = node.params["weight"].shape[2:]
    stride, padding, dilation = place_of(node, dims)

    def weigh(values: Value, weight: Value) -> Value:
        return m.weighed(m.windows(values, kernel, stride, padding, dilation, 0.0), weight, node.attrs["groups"])

    return current(m, node, p, x, weigh)


def current(m: Backend, node: Node, p: Params, x: Value, weigh: Weigh) -> Value:
    """A Conv or Linear in the precision of its weight (runtime/model/graph.py); weigh(x, weight) is the sum."""
    if "scale" in p:
        area = node.attrs.get("area", 1)
        y = m.real(weigh(m.counts(x, area), m.counts(p["weight"], 1)))
        scale = p["scale"] if area == 1 else m.once(lambda s: s * s.dtype.type(1 / area), p["scale"])
        y = y * per_output(m, node, scale)
    else:
        y = weigh(m.half(x) if node.params["weight"].dtype == np.float16 else x, p["weight"])
    return y + per_output(m, node, p["bias"]) if "bias" in p else y


def per_output(m: Backend, node: Node, values: Value) -> Value:
    """One number for each output: of the channels of a map, and of the features of tokens, which come last."""
    return m.trailing(values, 1) if node.op == "Linear" else m.beside(values, node.shape)


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


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def _conv_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    dims = node.params["weight"].ndim - 2
    stride, padding, dilation = place_of(node, dims)
    place: dict[str, object] = {"kernel_shape": list(node.params["weight"].shape[2:]), "strides": list(stride)}
    place["pads"] = [*padding, *padding]
    if any(d != 1 for d in dilation):
        place["dilations"] = list(dilation)
    place["group"] = node.attrs["groups"]
    if node.params["weight"].dtype != np.float32:
        return str(e.reduced(node, x, place))
    return str(e.op("Conv", [x, *e.parameters(node)], node.name, **place))


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


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _read(c: TorchCall) -> NewNode:
    weight = c.array(1)
    dims = weight.ndim - 2
    stride, padding, dilation, groups = c.get(3, 1), c.get(4, 0), c.get(5, 1), c.get(6, 1)
    dilation = spatial(one_each(dilation, dims), dims)
    padding = padding_sizes(padding, dilation, weight.shape[2:])
    attrs = _attrs(one_each(stride, dims), one_each(padding, dims), groups, dilation, dims)
    return NewNode("Conv", (c.tensor(0),), attrs, weights(c, weight, 2))


def padding_sizes(padding: Sizes | str, dilation: Sequence[int], kernel: Sequence[int]) -> Sizes:
    """A convolution's padding, "same" and "valid" as one number for each spatial axis."""
    if not isinstance(padding, str):
        return padding
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    require(
        padding == "valid" or all(r % 2 == 0 for r in reach),
        "padding 'same' with an even kernel pads one side more",
        "give the padding as a number, or use an odd kernel",
    )
    return [0] * len(reach) if padding == "valid" else [r // 2 for r in reach]


def _attrs(
    stride: Sizes, padding: Sizes, groups: int, dilation: Sequence[int], dims: int
) -> dict[str, int | list[int]]:
    attrs = {"stride": plain(stride, dims), "padding": plain(padding, dims), "groups": int(groups)}
    if any(d != 1 for d in dilation):
        attrs["dilation"] = plain(dilation, dims)
    return attrs


def _read_transposed(c: TorchCall) -> NewNode:
    weight = c.array(1)
    dims = weight.ndim - 2
    keys = ("stride", "padding", "output_padding", "groups", "dilation")
    given = [c.get(i, default) for i, default in ((3, 1), (4, 0), (5, 0), (6, 1), (7, 1))]
    attrs = {key: g if key == "groups" else plain(one_each(g, dims), dims) for key, g in zip(keys, given, strict=True)}
    return NewNode("ConvTranspose", (c.tensor(0),), attrs, weights(c, weight, 2))


# --- NIR ----------------------------------------------------------------------------------------------------------------


def _of_nir(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    weight = np.asarray(node.weight, np.float32)
    dims = weight.ndim - 2
    rule = f"a {type(node).__name__} over {list(shape)}"
    require(len(shape) == dims + 1, rule, "give it an input of channels and space")
    stride, dilation = (r.sizes(value, dims) for value in (node.stride, node.dilation))
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    pads = r.sizes(padding_sizes(padding, dilation, weight.shape[2:]), dims)
    params = {"weight": weight}
    if node.bias is not None and np.any(node.bias):
        params["bias"] = np.asarray(node.bias, np.float32).reshape(-1)
    return r.layer(name, "Conv", x, shape, _attrs(stride, pads, node.groups, dilation, dims), params)


def _to_nir(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    weight, dims = node.params["weight"], len(shape) - 1
    bias = node.params.get("bias", np.zeros(len(weight), np.float32))
    stride, padding, dilation = place_of(node, dims)
    groups = int(node.attrs["groups"])
    if dims == 1:
        return nir.Conv1d(shape[1], weight, stride[0], padding[0], dilation[0], groups, bias)
    return nir.Conv2d(shape[1:], weight, stride, padding, dilation, groups, bias)


register(
    "Conv",
    _conv,
    attrs=("stride", "padding", "groups"),
    params=("weight",),
    optional=("bias", "scale"),
    onnx=_conv_onnx,
    torch=names("conv?d", _read),
    layer=("conv2d", "weight bias stride padding dilation groups"),
    nir={"Conv1d": _of_nir, "Conv2d": _of_nir},
    to_nir=_to_nir,
)
register(
    "ConvTranspose",
    _transposed,
    attrs=("stride", "padding", "output_padding", "groups", "dilation"),
    params=("weight",),
    optional=("bias",),
    onnx=_transposed_onnx,
    torch=names("conv_transpose?d", _read_transposed),
)
