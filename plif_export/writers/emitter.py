"""The emitter: collects the nodes and initializers of one ONNX graph.

Names are stable and readable, and nothing varies: the same graph gives the same bytes. Opset 20 and IR 10 are what ONNX
Runtime on GPUs and TensorRT 10 and 11 all read; opset 21 has weights of 4 bits.

Convolutions and linear layers with float16 or int8 weights are written so:

    float16     x -> Cast to float16 -> Conv or MatMul -> Cast to float32 -> Add bias

    int8, dialect "integer", for ONNX Runtime on CPUs: the sums in int32, then float32
        x -> Cast to INT8  -> ConvInteger, weights UINT8 [O, I, k...] = W + 128, zero point 128 -> Cast -> Mul scale -> Add bias
        x -> Cast to UINT8 -> MatMulInteger, weights INT8 [in, out]                             -> Cast -> Mul scale -> Add bias
    Which operand is the unsigned one decides whether ONNX Runtime finds a fast kernel: the other way round the convolution
    takes 18 times as long, with the same sums.

    4 and 2 bits, dialect "integer": the same, of weights UINT4 = W + 8, zero point 8, or INT4, two in a byte; ONNX has no kernels
    of fewer. A Cast makes bytes of them, once, when a session is made: as fast as int8. (DequantizeLinear runs in each step.)

    int8, dialects "qdq" and "where", for TensorRT and OpenVINO, which compile the pairs into int8 kernels
        x -> QuantizeLinear -> DequantizeLinear -> Conv or Gemm (weight -> DequantizeLinear, a scale for each output), bias
    Activations have scale 1 (1 / area after average pooling) and zero point 0: TensorRT takes no other zero point. Both are
    tensors without an axis: TensorRT takes one of shape [1] for a scale per channel, and then silently runs the convolution
    in float32.

Initializers keep their names: <node>.weight, <node>.scale [O], <node>.bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.base.errors import PlifError
from runtime.model.graph import Node
from runtime.model.grids import middle_of, pack
from runtime.model.ops.operation import repeating

OPSET, OPSET_PACKED = 20, 21
IR_VERSION = 10
BATCH = "B"  # the name of the dynamic batch axis
PACKED = {TensorProto.INT4, TensorProto.UINT4}


class Emitter:
    """Collects the nodes and initializers of one ONNX graph, in one dialect ("integer", "qdq" or "where").

    shapes  {node: shape of its output, without the batch}, of the graph that is written
    tag     is added to the name of every tensor that `op` makes: ".t3" where a part is written once for each step
    """

    def __init__(self, dialect: str = "integer", shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})) -> None:
        self.dialect, self.shapes, self.tag = dialect, shapes, ""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.made: set[str] = set()  # tensors that a node makes

    def op(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> str:
        """Enters a node with one output, and returns that tensor's name."""
        output += self.tag
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{output}/{op}", **attrs))
        self.made.add(output)
        return output

    def split(self, tensor: str, outputs: Sequence[str]) -> None:
        """Cuts axis 0 into equal parts."""
        self.nodes.append(
            helper.make_node("Split", [tensor], list(outputs), name=f"{tensor}/Split", axis=0, num_outputs=len(outputs))
        )

    def weight(self, name: str, value: np.ndarray | np.generic) -> str:
        """Enters an initializer [...] of any dtype, once however often it is used, and returns its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def scalar(self, name: str, value: np.generic) -> str:
        """An initializer without an axis, of shape [] (`weight` gives a number the shape [1])."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def whole(self, node: Node, unsigned: bool) -> str:
        """The weight of a layer of whole numbers as INT8 [in, out], or as UINT8 [O, I, ...] around the middle; its name."""
        name, bits, weight = f"{node.name}.weight", node.attrs.get("bits", 8), node.params["weight"]
        weight = weight.astype(np.int16) + middle_of(bits) if unsigned else weight.T
        if bits == 8:
            return self.weight(name, weight.astype(np.uint8 if unsigned else np.int8))
        if name not in self.initializers:
            kind, whole = ("UINT4", TensorProto.UINT8) if unsigned else ("INT4", TensorProto.INT8)
            packed = pack(weight, 4).tobytes()
            self.initializers[name] = helper.make_tensor(
                name, TensorProto.DataType.Value(kind), weight.shape, packed, raw=True
            )
            self.nodes.append(helper.make_node("Cast", [name], [f"{name}8"], name=f"{name}8/Cast", to=whole))
        return f"{name}8"

    def parameters(self, node: Node) -> list[str]:
        """The weight and the bias of a node, where it has them."""
        return [self.weight(f"{node.name}.{key}", node.params[key]) for key in ("weight", "bias") if key in node.params]

    def beside(self, name: str, values: np.ndarray, shape: Sequence[int]) -> str:
        """float32 values [] or [*shape] as they are, [C] as [C, 1, ...]: each repeats over [B, *shape]."""
        return self.weight(name, repeating(np.asarray(values, np.float32), shape))

    def along(self, node: Node, x: str, matrix: Callable[[int, int], np.ndarray]) -> str:
        """One product for each axis of space, the last first: X A^T for the last axis, A X for the one before it; an axis
        before these changes places with the last.

        matrix  (n inputs, m outputs) -> A [m, n]
        """
        sizes, dims = self.shapes[node.inputs[0]][1:], len(node.shape) - 1
        for turn, axis in enumerate(reversed(range(dims))):
            rows = matrix(sizes[axis], node.shape[1 + axis])
            left = axis == dims - 2
            weight = self.weight(f"{node.name}.along{axis}", rows if left else rows.T)
            name = node.name if turn == dims - 1 else f"{node.name}.axis{axis}"
            if axis >= dims - 2:
                x = self.op("MatMul", [weight, x] if left else [x, weight], name)
                continue
            swapped = list(range(2 + dims))
            swapped[2 + axis], swapped[-1] = swapped[-1], swapped[2 + axis]
            x = self.op("Transpose", [x], f"{name}.turned", perm=swapped)
            x = self.op("Transpose", [self.op("MatMul", [x, weight], f"{name}.products")], name, perm=swapped)
        return x

    def reduced(self, node: Node, x: str, place: Mapping[str, object], out: str | None = None) -> str:
        """A Conv or Linear whose weight is not float32; `place` has a convolution's strides and the like.

        out  the name of the output, where it is not the node's
        """
        write = _half if "scale" not in node.params else _DIALECTS.get(self.dialect)
        if write is None:
            raise PlifError(f"dialect '{self.dialect}': expected one of {', '.join(_DIALECTS)}")
        return write(self, node, x, place, out or node.name)

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], form: str
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, f"plif_{form}", inputs, outputs, list(self.initializers.values()))
        opset = OPSET_PACKED if PACKED & {each.data_type for each in self.initializers.values()} else OPSET
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION, producer_name="plif"
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def tensor_info(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def _half(e: Emitter, node: Node, x: str, place: Mapping[str, object], out: str) -> str:
    x = e.op("Cast", [x], f"{node.name}.x16", to=TensorProto.FLOAT16)
    weight = e.weight(f"{node.name}.weight", node.params["weight"])
    y = _float_product(e, node, [x, weight], place, f"{node.name}.y16")
    return _biased(e, node, out, "Cast", [y], to=TensorProto.FLOAT)


def _integer(e: Emitter, node: Node, x: str, place: Mapping[str, object], out: str) -> str:
    name, area, middle = node.name, node.attrs.get("area", 1), middle_of(node.attrs.get("bits", 8))
    kind = TensorProto.INT8 if node.op == "Conv" else TensorProto.UINT8
    if area != 1:  # k / area is not always a float32, so k is rounded
        x = e.op("Mul", [x, e.weight(f"{name}.area", np.float32(area))], f"{name}.counts")
        x = e.op("Round", [x], f"{name}.whole")
    x = e.op("Cast", [x], f"{name}.x8", to=kind)
    if node.op == "Conv":
        zero_point = e.weight(f"zero_point.uint{8 if middle == 128 else 4}", np.uint8(middle))
        operands = [x, e.whole(node, unsigned=True), e.weight("zero.int8", np.int8(0)), zero_point]
        total = e.op("ConvInteger", operands, f"{name}.sum", **place)
    else:
        total = e.op("MatMulInteger", [x, e.whole(node, unsigned=False)], f"{name}.sum")
    total = e.op("Cast", [total], f"{name}.whole_current", to=TensorProto.FLOAT)
    return _biased(e, node, out, "Mul", [total, _scale(e, node)])


def _scale(e: Emitter, node: Node) -> str:
    """The scale of a layer's sums, shaped like its channels; for constants an engine does this once, when it loads."""
    name, area = node.name, node.attrs.get("area", 1)
    scale = e.weight(f"{name}.scale", node.params["scale"])
    if area != 1:
        scale = e.op("Mul", [scale, e.weight(f"{name}.unit", np.float32(1 / area))], f"{name}.current_scale")
    if node.op == "Conv":
        scale = e.op("Reshape", [scale, _channels(e, node)], f"{name}.scale_shaped")
    return scale


def _channels(e: Emitter, node: Node) -> str:
    shape = [-1, *(1,) * (len(node.shape) - 1)]
    return e.weight(f"channels.{len(shape)}", np.array(shape, np.int64))


def _biased(e: Emitter, node: Node, out: str, op: str, inputs: list[str], **attrs: object) -> str:
    """The last operation of a layer, and its bias after it where it has one."""
    if "bias" not in node.params:
        return e.op(op, inputs, out, **attrs)
    current = e.op(op, inputs, f"{node.name}.unbiased", **attrs)
    bias = e.weight(f"{node.name}.bias", node.params["bias"])
    if node.op == "Conv":
        bias = e.op("Reshape", [bias, _channels(e, node)], f"{node.name}.bias_shaped")
    return e.op("Add", [current, bias], out)


def _qdq(e: Emitter, node: Node, x: str, place: Mapping[str, object], out: str) -> str:
    name = node.name
    unit = e.scalar(f"{name}.unit", np.float32(1 / node.attrs.get("area", 1)))
    zero = e.scalar("zero.int8", np.int8(0))
    x8 = e.op("QuantizeLinear", [x, unit, zero], f"{name}.x8")
    x = e.op("DequantizeLinear", [x8, unit, zero], f"{name}.x")
    weight, scale = (e.weight(f"{name}.{key}", node.params[key]) for key in ("weight", "scale"))
    zeros = e.weight(f"{name}.zero_points", np.zeros(len(node.params["scale"]), np.int8))
    w = e.op("DequantizeLinear", [weight, scale, zeros], f"{name}.w", axis=0)
    bias = [e.weight(f"{name}.bias", node.params["bias"])] if "bias" in node.params else []
    return _float_product(e, node, [x, w, *bias], place, out)


def _float_product(e: Emitter, node: Node, inputs: list[str], place: Mapping[str, object], out: str) -> str:
    return e.op("Conv", inputs, out, **place) if node.op == "Conv" else e.op("Gemm", inputs, out, transB=1)


_DIALECTS = {"integer": _integer, "qdq": _qdq, "where": _qdq}
