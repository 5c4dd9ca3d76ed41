"""The ONNX nodes of layers with rounded weights.

float16     x -> Cast to float16 -> Conv or MatMul -> Cast to float32 -> Add bias

int8, dialect "integer", for ONNX Runtime on CPUs: the sums in int32, then float32
    x -> Cast to INT8  -> ConvInteger, weights UINT8 [O, I, k...] = W + 128, zero point 128 -> Cast -> Mul scale -> Add bias
    x -> Cast to UINT8 -> MatMulInteger, weights INT8 [in, out]                             -> Cast -> Mul scale -> Add bias
The unsigned operand decides whether ONNX Runtime has a fast kernel: with the other choice the convolution takes 18 times as
long, with the same sums.

4 and 2 bits, dialect "integer": the same, with weights UINT4 = W + 8, zero point 8, or INT4, two in a byte; ONNX has
no kernels of fewer bits. A Cast makes bytes of them, once, when a session is made: as fast as int8. (DequantizeLinear
runs in each step.)

int8, dialects "qdq" and "where", for TensorRT and OpenVINO, which compile the pairs into int8 kernels
    x -> QuantizeLinear -> DequantizeLinear -> Conv or Gemm (weight -> DequantizeLinear, a scale for each output), bias
Activations have scale 1 (1 / area after average pooling) and zero point 0: TensorRT takes no other zero point. Both are
tensors without an axis: TensorRT takes one of shape [1] for a scale per channel, and then silently runs the convolution
in float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from plif_export.core.writers.emitter import Emitter
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Node
from runtime.core.model.grids import pack, unsigned_zero


def write_half(e: Emitter, node: Node, x: str, place: Mapping[str, object], out: str) -> str:
    """Write a layer with float16 weights as ONNX nodes, and return the name of its output.

    place: a convolution's strides and similar attributes; out: the output's name
    """
    x = e.op("Cast", [x], f"{node.name}.x16", to=TensorProto.FLOAT16)
    weight = e.weight(f"{node.name}.weight", node.params["weight"])
    y = _emit_float_product(e, node, [x, weight], place, f"{node.name}.y16")
    return _emit_with_bias(e, node, out, "Cast", [y], to=TensorProto.FLOAT)


def write_integer(e: Emitter, node: Node, x: str, place: Mapping[str, object], out: str) -> str:
    """Write a layer with integer weights as ONNX nodes, in the emitter's style of operations."""
    if e.dialect not in _DIALECTS:
        raise PlifError(f"dialect '{e.dialect}': expected one of {', '.join(_DIALECTS)}")
    return _DIALECTS[e.dialect](e, node, x, place, out)


def _emit_integer(e: Emitter, node: Node, x: str, place: Mapping[str, object], out: str) -> str:
    name, area, zero_value = node.name, node.attrs.get("area", 1), unsigned_zero(node.attrs.get("bits", 8))
    kind = TensorProto.INT8 if node.op == "Conv" else TensorProto.UINT8
    if area != 1:  # k / area is not always a float32, so k is rounded
        x = e.op("Mul", [x, e.weight(f"{name}.area", np.float32(area))], f"{name}.counts")
        x = e.op("Round", [x], f"{name}.whole")
    x = e.op("Cast", [x], f"{name}.x8", to=kind)
    if node.op == "Conv":
        zero_point = e.weight(f"zero_point.uint{8 if zero_value == 128 else 4}", np.uint8(zero_value))
        operands = [x, _add_integer_weight(e, node, unsigned=True), e.weight("zero.int8", np.int8(0)), zero_point]
        total = e.op("ConvInteger", operands, f"{name}.sum", **place)
    else:
        total = e.op("MatMulInteger", [x, _add_integer_weight(e, node, unsigned=False)], f"{name}.sum")
    total = e.op("Cast", [total], f"{name}.whole_current", to=TensorProto.FLOAT)
    return _emit_with_bias(e, node, out, "Mul", [total, _emit_scale(e, node)])


def _emit_scale(e: Emitter, node: Node) -> str:
    """Write the ONNX nodes of the scale of a layer's integer sums, shaped like its channels.

    It consists of constants, so an engine computes it once, when it loads.
    """
    name, area = node.name, node.attrs.get("area", 1)
    scale = e.weight(f"{name}.scale", node.params["scale"])
    if area != 1:
        scale = e.op("Mul", [scale, e.weight(f"{name}.unit", np.float32(1 / area))], f"{name}.current_scale")
    if node.op == "Conv":
        scale = e.op("Reshape", [scale, _channel_shape(e, node)], f"{name}.scale_shaped")
    return scale


def _channel_shape(e: Emitter, node: Node) -> str:
    shape = [-1, *(1,) * (len(node.shape) - 1)]
    return e.weight(f"channels.{len(shape)}", np.array(shape, np.int64))


def _emit_with_bias(e: Emitter, node: Node, out: str, op: str, inputs: list[str], **attrs: object) -> str:
    """Write the last ONNX node of a layer, and its bias after it if it has one."""
    if "bias" not in node.params:
        return e.op(op, inputs, out, **attrs)
    current = e.op(op, inputs, f"{node.name}.unbiased", **attrs)
    bias = e.weight(f"{node.name}.bias", node.params["bias"])
    if node.op == "Conv":
        bias = e.op("Reshape", [bias, _channel_shape(e, node)], f"{node.name}.bias_shaped")
    return e.op("Add", [current, bias], out)


def _emit_qdq(e: Emitter, node: Node, x: str, place: Mapping[str, object], out: str) -> str:
    name = node.name
    unit = _add_scalar(e, f"{name}.unit", np.float32(1 / node.attrs.get("area", 1)))
    zero = _add_scalar(e, "zero.int8", np.int8(0))
    x8 = e.op("QuantizeLinear", [x, unit, zero], f"{name}.x8")
    x = e.op("DequantizeLinear", [x8, unit, zero], f"{name}.x")
    weight, scale = (e.weight(f"{name}.{key}", node.params[key]) for key in ("weight", "scale"))
    zeros = e.weight(f"{name}.zero_points", np.zeros(len(node.params["scale"]), np.int8))
    w = e.op("DequantizeLinear", [weight, scale, zeros], f"{name}.w", axis=0)
    bias = [e.weight(f"{name}.bias", node.params["bias"])] if "bias" in node.params else []
    return _emit_float_product(e, node, [x, w, *bias], place, out)


def _emit_float_product(e: Emitter, node: Node, inputs: list[str], place: Mapping[str, object], out: str) -> str:
    return e.op("Conv", inputs, out, **place) if node.op == "Conv" else e.op("Gemm", inputs, out, transB=1)


def _add_scalar(e: Emitter, name: str, value: np.generic) -> str:
    """Add a single number to the ONNX file as an initializer of shape [] (`weight` would give it the shape [1])."""
    if name not in e.initializers:
        e.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
    return name


def _add_integer_weight(e: Emitter, node: Node, unsigned: bool) -> str:
    """Add the integer weight of a layer to the ONNX file as an initializer, and return its name.

    INT8 [in, out], or UINT8 [O, I, ...] with the zero point added
    """
    name, bits, weight = f"{node.name}.weight", node.attrs.get("bits", 8), node.params["weight"]
    weight = weight.astype(np.int16) + unsigned_zero(bits) if unsigned else weight.T
    if bits == 8:
        return e.weight(name, weight.astype(np.uint8 if unsigned else np.int8))
    if name not in e.initializers:
        kind, byte_type = ("UINT4", TensorProto.UINT8) if unsigned else ("INT4", TensorProto.INT8)
        packed = pack(weight, 4).tobytes()
        e.initializers[name] = helper.make_tensor(
            name, TensorProto.DataType.Value(kind), weight.shape, packed, raw=True
        )
        e.nodes.append(helper.make_node("Cast", [name], [f"{name}8"], name=f"{name}8/Cast", to=byte_type))
    return f"{name}8"


_DIALECTS = {"integer": _emit_integer, "qdq": _emit_qdq, "where": _emit_qdq}
