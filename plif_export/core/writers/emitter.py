"""The emitter: collects the nodes and initializers of one ONNX graph.

Names are stable and readable, and nothing varies: the same graph gives the same bytes. ONNX Runtime on GPUs and
TensorRT 10 and 11 read opset 20 and IR 10; opset 21 has weights of 4 bits.

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
from runtime.core.model.ops.operation import reshape_broadcast
from runtime.core.parts import load_from_parts

OPSET, OPSET_PACKED = 20, 21
IR_VERSION = 10
BATCH = "B"  # the name of the dynamic batch axis
PACKED = {TensorProto.INT4, TensorProto.UINT4}


class Emitter:
    """A builder of one ONNX graph in one style of operations ("integer", "qdq" or "where").

    shapes  {node: shape of its output, without the batch}, of the graph that is written
    tag     a suffix of the name of every tensor that `op` creates: ".t3" if a part is written once for each step
    """

    def __init__(self, dialect: str = "integer", shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})) -> None:
        self.dialect, self.shapes, self.tag = dialect, shapes, ""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.outputs: set[str] = set()  # names of the tensors that nodes output

    def op(self, op: str, inputs: Sequence[str], output: str, unused: int = 0, /, **attrs: Any) -> str:
        """Add an ONNX node to the file that is built, and return the name of its first output tensor.

        unused  the number of its further outputs, which nothing reads
        """
        output += self.tag
        outputs = [output, *(f"{output}.unused{i}" for i in range(unused))]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=f"{output}/{op}", **attrs))
        self.outputs.add(output)
        return output

    def split(self, tensor: str, outputs: Sequence[str]) -> None:
        """Add an ONNX node that splits a tensor along axis 0 into equal parts."""
        self.nodes.append(
            helper.make_node("Split", [tensor], list(outputs), name=f"{tensor}/Split", axis=0, num_outputs=len(outputs))
        )

    def weight(self, name: str, value: np.ndarray | np.generic) -> str:
        """Add a weight tensor [...] to the ONNX file as an initializer, once for all its uses; return its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def parameters(self, node: Node) -> list[str]:
        """Add the weight and bias of a graph node, if it has them, to the ONNX file; return their tensor names."""
        return [self.weight(f"{node.name}.{key}", node.params[key]) for key in ("weight", "bias") if key in node.params]

    def broadcast_weight(self, name: str, values: np.ndarray, shape: Sequence[int]) -> str:
        """Add a parameter to the ONNX file, reshaped to broadcast over [B, *shape], and return its tensor name.

        float32 values [] or [*shape] stay as they are, [C] becomes [C, 1, ...].
        """
        return self.weight(name, reshape_broadcast(np.asarray(values, np.float32), shape))

    def matmul_axes(self, node: Node, x: str, matrix: Callable[[int, int], np.ndarray]) -> str:
        """Add ONNX nodes that multiply a tensor by a matrix along each axis of space, the last axis first.

        The last axis is X A^T, the one before it A X; an earlier axis is first swapped with the last.

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

    def emit_reduced(self, node: Node, x: str, place: Mapping[str, object], out: str | None = None) -> str:
        """Add the ONNX nodes of a Conv or Linear with weights that are not float32.

        The part of their precision (plif_export/precisions) writes it.

        place  a convolution's strides and similar attributes;  out: the name of the output, if it is not the node's
        """
        write = load_from_parts("precisions", str(node.params["weight"].dtype))
        return str(write(self, node, x, place, out or node.name))

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], form: str
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, f"plif_{form}", inputs, outputs, list(self.initializers.values()))
        opset = OPSET_PACKED if PACKED & {tensor.data_type for tensor in self.initializers.values()} else OPSET
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION, producer_name="plif"
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def tensor_info(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
