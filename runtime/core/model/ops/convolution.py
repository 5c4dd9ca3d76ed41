"""Conv, over one, two or three axes of space, and Linear, over the last axis.

Conv    y[o, n] = b[o] + sum W[o, i, k] x[i, n stride - padding + k dilation]     W is [O, I / groups, k...]
Linear  y[.., o] = b[o] + sum W[o, i] x[.., i]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from runtime.core.model.ops.operation import (
    Backend,
    NewNode,
    Node,
    Params,
    Sizes,
    Value,
    names,
    one_each,
    place_of,
    plain,
    register,
    spatial,
)
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall, weights
from runtime.core.model.refusals import require

Weigh = Callable[[Value, Value], Value]


def _conv(m: Backend, node: Node, p: Params, x: Value) -> Value:
    dims = len(node.shape) - 1
    kernel = node.params["weight"].shape[2:]
    stride, padding, dilation = place_of(node, dims)

    def weigh(values: Value, weight: Value) -> Value:
        return m.weighed(m.windows(values, kernel, stride, padding, dilation, 0.0), weight, node.attrs["groups"])

    return current(m, node, p, x, weigh)


def current(m: Backend, node: Node, p: Params, x: Value, weigh: Weigh) -> Value:
    """A Conv or Linear in the precision of its weight (runtime/core/model/graph.py); weigh(x, weight) is the sum."""
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


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _read(c: TorchCall) -> NewNode:
    weight = c.array(1)
    dims = weight.ndim - 2
    stride, padding, dilation, groups = c.get(3, 1), c.get(4, 0), c.get(5, 1), c.get(6, 1)
    dilation = spatial(one_each(dilation, dims), dims)
    padding = padding_sizes(padding, dilation, weight.shape[2:])
    attrs = place_attrs(one_each(stride, dims), one_each(padding, dims), groups, dilation, dims)
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


def place_attrs(
    stride: Sizes, padding: Sizes, groups: int, dilation: Sequence[int], dims: int
) -> dict[str, int | list[int]]:
    attrs = {"stride": plain(stride, dims), "padding": plain(padding, dims), "groups": int(groups)}
    if any(d != 1 for d in dilation):
        attrs["dilation"] = plain(dilation, dims)
    return attrs


register(
    "Conv",
    _conv,
    attrs=("stride", "padding", "groups"),
    params=("weight",),
    optional=("bias", "scale"),
    onnx=_conv_onnx,
    torch=names("conv?d", _read),
    layer=("conv2d", "weight bias stride padding dilation groups"),
)


def _linear(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return current(m, node, p, x, m.linear)


def _linear_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    """Over tokens (the last of several axes) all tokens of all rows become rows of one product."""
    if len(node.shape) == 1:
        return _product(e, node, x, node.name)
    flat = e.weight(f"{node.name}.flat", np.array([-1, node.params["weight"].shape[1]], np.int64))
    y = _product(e, node, e.op("Reshape", [x, flat], f"{node.name}.tokens"), f"{node.name}.products")
    shape = e.weight(f"{node.name}.shape", np.array([-1, *node.shape], np.int64))
    return str(e.op("Reshape", [y, shape], node.name))


def _product(e: OnnxEmitter, node: Node, x: str, out: str) -> str:
    if node.params["weight"].dtype != np.float32:
        return str(e.reduced(node, x, {}, out))
    return str(e.op("Gemm", [x, *e.parameters(node)], out, transB=1))


def _read_linear(c: TorchCall) -> NewNode:
    return NewNode("Linear", (c.tensor(0),), {}, weights(c, c.array(1), 2))


register(
    "Linear",
    _linear,
    params=("weight",),
    optional=("bias", "scale"),
    onnx=_linear_onnx,
    torch=names("linear", _read_linear),
    layer=("linear", "weight bias"),
)
