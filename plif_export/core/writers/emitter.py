"""The emitter: collects the nodes and initializers of one ONNX graph.

Names are stable and readable, and nothing varies: the same graph gives the same bytes. Opset 20 and IR 10 are what ONNX
Runtime on GPUs and TensorRT 10 and 11 all read; opset 21 has weights of 4 bits.

Initializers keep their names: <node>.weight, <node>.scale [O], <node>.bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.core.model.graph import Node
from runtime.core.model.ops.operation import repeating
from runtime.core.parts import given_by_parts

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
        """A Conv or Linear whose weight is not float32, as its precision (plif_export/precisions) writes that type.

        place  a convolution's strides and the like;  out: the name of the output, where it is not the node's
        """
        write = given_by_parts("precisions", str(node.params["weight"].dtype))
        return str(write(self, node, x, place, out or node.name))

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
