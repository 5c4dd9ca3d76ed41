"""Convolutions and linear layers with float16 or int8 weights, as ONNX.

    float16     x -> Cast to float16 -> Conv or MatMul -> Cast to float32 -> Add bias

    int8, dialect "integer", for ONNX Runtime on CPUs: the sums in int32, then float32
        x -> Cast to INT8  -> ConvInteger, weights UINT8 [O, I, k...] = W + 128, zero point 128 -> Cast -> Mul scale -> Add bias
        x -> Cast to UINT8 -> MatMulInteger, weights INT8 [in, out]                             -> Cast -> Mul scale -> Add bias
    Which operand is the unsigned one decides whether ONNX Runtime finds a fast kernel: the other way round the convolution
    takes 18 times as long, with the same sums.

    int8, dialect "qdq", for TensorRT and OpenVINO, which compile the pairs into int8 kernels
        x -> QuantizeLinear -> DequantizeLinear -> Conv or Gemm (weight -> DequantizeLinear, a scale for each output), bias
    Activations have scale 1 (1 / area after average pooling) and zero point 0: TensorRT takes no other zero point. Both are
    tensors without an axis: TensorRT takes one of shape [1] for a scale per channel, and then silently runs the convolution
    in float32.

Initializers keep their names: <node>.weight, <node>.scale [O], <node>.bias.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from runtime.base.errors import PlifError
from runtime.model.graph import Node

ZERO_POINT = 128  # of the unsigned weights


def reduced(e: Any, node: Node, x: str, place: dict[str, Any], out: str | None = None) -> str:
    """Emits a Conv or Linear whose weight is not float32, into the emitter; `place` holds a convolution's strides and the like.

    out  the name of the output, where it is not the node's
    """
    out = out or node.name
    if "scale" not in node.params:
        return _half(e, node, x, place, out)
    if e.dialect not in _DIALECTS:
        raise PlifError(f"dialect '{e.dialect}': expected one of {', '.join(_DIALECTS)}")
    return _DIALECTS[e.dialect](e, node, x, place, out)


def _half(e: Any, node: Node, x: str, place: dict[str, Any], out: str) -> str:
    x = e.op("Cast", [x], f"{node.name}.x16", to=TensorProto.FLOAT16)
    if node.op == "Conv":
        y = e.op("Conv", [x, e.weight(f"{node.name}.weight", node.params["weight"])], f"{node.name}.y16", **place)
    else:
        weight = e.weight(f"{node.name}.weight", node.params["weight"])
        y = e.op("Gemm", [x, weight], f"{node.name}.y16", transB=1)
    return _biased(e, node, out, "Cast", [y], to=TensorProto.FLOAT)


def _integer(e: Any, node: Node, x: str, place: dict[str, Any], out: str) -> str:
    name, weight, area = node.name, node.params["weight"], node.attrs.get("area", 1)
    kind = TensorProto.INT8 if node.op == "Conv" else TensorProto.UINT8
    if area != 1:  # k / area is not always a float32, so k is rounded
        x = e.op("Mul", [x, e.weight(f"{name}.area", np.float32(area))], f"{name}.counts")
        x = e.op("Round", [x], f"{name}.whole")
    x = e.op("Cast", [x], f"{name}.x8", to=kind)
    if node.op == "Conv":
        w = e.weight(f"{name}.weight", (weight.astype(np.int16) + ZERO_POINT).astype(np.uint8))
        zero_points = [e.weight("zero.int8", np.int8(0)), e.weight("zero_point.uint8", np.uint8(ZERO_POINT))]
        total = e.op("ConvInteger", [x, w, *zero_points], f"{name}.sum", **place)
    else:
        total = e.op("MatMulInteger", [x, e.weight(f"{name}.weight", weight.T)], f"{name}.sum")
    total = e.op("Cast", [total], f"{name}.whole_current", to=TensorProto.FLOAT)
    return _biased(e, node, out, "Mul", [total, _scale(e, node)])


def _scale(e: Any, node: Node) -> str:
    """The scale of a layer's sums, shaped like its channels; for constants an engine does this once, when it loads."""
    name, area = node.name, node.attrs.get("area", 1)
    scale = e.weight(f"{name}.scale", node.params["scale"])
    if area != 1:
        scale = e.op("Mul", [scale, e.weight(f"{name}.unit", np.float32(1 / area))], f"{name}.current_scale")
    if node.op == "Conv":
        scale = e.op("Reshape", [scale, _channels(e, node)], f"{name}.scale_shaped")
    return scale


def _channels(e: Any, node: Node) -> str:
    shape = [-1, *(1,) * (len(node.shape) - 1)]
    return e.weight(f"channels.{len(shape)}", np.array(shape, np.int64))


def _biased(e: Any, node: Node, out: str, op: str, inputs: list[str], **attrs: Any) -> str:
    """The last operation of a layer, and its bias after it where it has one."""
    if "bias" not in node.params:
        return e.op(op, inputs, out, **attrs)
    current = e.op(op, inputs, f"{node.name}.unbiased", **attrs)
    bias = e.weight(f"{node.name}.bias", node.params["bias"])
    if node.op == "Conv":
        bias = e.op("Reshape", [bias, _channels(e, node)], f"{node.name}.bias_shaped")
    return e.op("Add", [current, bias], out)


def _qdq(e: Any, node: Node, x: str, place: dict[str, Any], out: str) -> str:
    name = node.name
    unit = e.scalar(f"{name}.unit", np.float32(1 / node.attrs.get("area", 1)))
    zero = e.scalar("zero.int8", np.int8(0))
    x8 = e.op("QuantizeLinear", [x, unit, zero], f"{name}.x8")
    x = e.op("DequantizeLinear", [x8, unit, zero], f"{name}.x")
    weight, scale = (e.weight(f"{name}.{key}", node.params[key]) for key in ("weight", "scale"))
    zeros = e.weight(f"{name}.zero_points", np.zeros(len(node.params["scale"]), np.int8))
    w = e.op("DequantizeLinear", [weight, scale, zeros], f"{name}.w", axis=0)
    bias = [e.weight(f"{name}.bias", node.params["bias"])] if "bias" in node.params else []
    if node.op == "Conv":
        return e.op("Conv", [x, w, *bias], out, **place)
    return e.op("Gemm", [x, w, *bias], out, transB=1)


_DIALECTS = {"integer": _integer, "qdq": _qdq, "tensorrt": _qdq}
