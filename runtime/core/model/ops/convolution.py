"""The operations Conv, over one, two or three axes of space, and Linear, over the last axis.

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
    compact_sizes,
    conv_geometry,
    expand_short_form,
    expand_sizes,
    names,
    register,
)
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall, read_weights
from runtime.core.model.refusals import require

WeightedSum = Callable[[Value, Value], Value]


def _conv(m: Backend, node: Node, p: Params, x: Value) -> Value:
    dims = len(node.shape) - 1
    kernel = node.params["weight"].shape[2:]
    stride, padding, dilation = conv_geometry(node, dims)

    def weigh(values: Value, weight: Value) -> Value:
        return m.im2col_matmul(m.windows(values, kernel, stride, padding, dilation, 0.0), weight, node.attrs["groups"])

    return apply_weights(m, node, p, x, weigh)


def apply_weights(m: Backend, node: Node, p: Params, x: Value, weigh: WeightedSum) -> Value:
    """Compute a Conv or Linear with bias, in the precision of its weight: input [B, ...] -> current [B, ...].

    weigh  (x, weight) -> the weighted sums; runtime/core/model/graph.py has the formula of each precision
    """
    if "scale" in p:
        area = node.attrs.get("area", 1)
        y = m.real(weigh(m.to_counts(x, area), m.to_counts(p["weight"], 1)))
        scale = p["scale"] if area == 1 else m.from_parameters(lambda s: s * s.dtype.type(1 / area), p["scale"])
        y = y * broadcast_output(m, node, scale)
    else:
        y = weigh(m.half(x) if node.params["weight"].dtype == np.float16 else x, p["weight"])
    return y + broadcast_output(m, node, p["bias"]) if "bias" in p else y


def broadcast_output(m: Backend, node: Node, values: Value) -> Value:
    """Broadcast one number for each output [O] over a layer's output [B, ...].

    Outputs are the channels of a map; of a Linear over tokens they are the last axis.
    """
    return m.broadcast_trailing(values, 1) if node.op == "Linear" else m.broadcast_like(values, node.shape)


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def _conv_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    dims = node.params["weight"].ndim - 2
    stride, padding, dilation = conv_geometry(node, dims)
    place: dict[str, object] = {"kernel_shape": list(node.params["weight"].shape[2:]), "strides": list(stride)}
    place["pads"] = [*padding, *padding]
    if any(d != 1 for d in dilation):
        place["dilations"] = list(dilation)
    place["group"] = node.attrs["groups"]
    if node.params["weight"].dtype != np.float32:
        return str(e.emit_reduced(node, x, place))
    return str(e.op("Conv", [x, *e.parameters(node)], node.name, **place))


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _read_conv(c: TorchCall) -> NewNode:
    weight = c.array(1)
    dims = weight.ndim - 2
    stride, padding, dilation, groups = c.get(3, 1), c.get(4, 0), c.get(5, 1), c.get(6, 1)
    dilation = expand_sizes(expand_short_form(dilation, dims), dims)
    padding = padding_sizes(padding, dilation, weight.shape[2:])
    attrs = conv_attrs(expand_short_form(stride, dims), expand_short_form(padding, dims), groups, dilation, dims)
    return NewNode("Conv", (c.tensor(0),), attrs, read_weights(c, weight, 2))


def padding_sizes(padding: Sizes | str, dilation: Sequence[int], kernel: Sequence[int]) -> Sizes:
    """Convert a convolution's padding "same" or "valid" to one number for each spatial axis."""
    if not isinstance(padding, str):
        return padding
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    require(
        padding == "valid" or all(r % 2 == 0 for r in reach),
        "padding 'same' with an even kernel pads one side more",
        "give the padding as a number, or use an odd kernel",
    )
    return [0] * len(reach) if padding == "valid" else [r // 2 for r in reach]


def conv_attrs(
    stride: Sizes, padding: Sizes, groups: int, dilation: Sequence[int], dims: int
) -> dict[str, int | list[int]]:
    attrs = {"stride": compact_sizes(stride, dims), "padding": compact_sizes(padding, dims), "groups": int(groups)}
    if any(d != 1 for d in dilation):
        attrs["dilation"] = compact_sizes(dilation, dims)
    return attrs


register(
    "Conv",
    _conv,
    attrs=("stride", "padding", "groups"),
    params=("weight",),
    optional=("bias", "scale"),
    onnx=_conv_onnx,
    torch=names("conv?d", _read_conv),
    layer=("conv2d", "weight bias stride padding dilation groups"),
)


def _linear(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return apply_weights(m, node, p, x, m.linear)


def _linear_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    """Write a Linear layer into an ONNX graph.

    Over tokens (the last of several axes) all tokens of all rows become rows of one product.
    """
    if len(node.shape) == 1:
        return _matmul_onnx(e, node, x, node.name)
    flat = e.weight(f"{node.name}.flat", np.array([-1, node.params["weight"].shape[1]], np.int64))
    y = _matmul_onnx(e, node, e.op("Reshape", [x, flat], f"{node.name}.tokens"), f"{node.name}.products")
    shape = e.weight(f"{node.name}.shape", np.array([-1, *node.shape], np.int64))
    return str(e.op("Reshape", [y, shape], node.name))


def _matmul_onnx(e: OnnxEmitter, node: Node, x: str, out: str) -> str:
    if node.params["weight"].dtype != np.float32:
        return str(e.emit_reduced(node, x, {}, out))
    return str(e.op("Gemm", [x, *e.parameters(node)], out, transB=1))


def _read_linear(c: TorchCall) -> NewNode:
    return NewNode("Linear", (c.tensor(0),), {}, read_weights(c, c.array(1), 2))


register(
    "Linear",
    _linear,
    params=("weight",),
    optional=("bias", "scale"),
    onnx=_linear_onnx,
    torch=names("linear", _read_linear),
    layer=("linear", "weight bias"),
)
