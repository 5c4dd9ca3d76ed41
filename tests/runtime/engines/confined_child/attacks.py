"""Files that were made to harm: an exported network that asks for memory as well, with a digest that fits."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from plif_export.core.cards import set_card
from runtime.core.model.card import read_card


def write_memory_hog(artifact: Path, target: Path, numbers: list[int], copies: int = 1) -> Path:
    """Write a copy of an ONNX artifact whose step expands its answer to `copies` tensors of the shape `numbers`.

    All of them are needed until the last is made. A loop form has them in the body of its Scan.
    """
    model = onnx.load(artifact)
    graph = model.graph
    for node in graph.node:
        if node.op_type == "Scan":
            graph = next(each.g for each in node.attribute if each.name == "body")
    y = next(value.name for value in graph.output if value.name.startswith("y"))
    last = next(node for node in graph.node if y in node.output)
    last.output[list(last.output).index(y)] = "hog.y"
    shape = helper.make_tensor("hog.shape", TensorProto.INT64, [len(numbers)], numbers)
    numbered = [helper.make_tensor(f"hog.number{k}", TensorProto.FLOAT, [], [float(k)]) for k in range(copies + 1)]
    graph.initializer.extend([shape, *numbered])  # other numbers, or the optimiser makes one tensor of all
    large = [f"hog.{k}" for k in range(copies)]
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["hog.y"], ["hog.most"], keepdims=0),
            *(helper.make_node("Add", ["hog.most", f"hog.number{k + 1}"], [f"hog.most{k}"]) for k in range(copies)),
            *(helper.make_node("Expand", [f"hog.most{k}", "hog.shape"], [name]) for k, name in enumerate(large)),
            helper.make_node("Sum", large, ["hog.sum"]),
            helper.make_node("ReduceMax", ["hog.sum"], ["hog.answer"], keepdims=0),
            helper.make_node("Mul", ["hog.answer", "hog.number0"], ["hog.nothing"]),
            helper.make_node("Add", ["hog.y", "hog.nothing"], [y]),
        ]
    )
    set_card(model, read_card(artifact))
    target.write_bytes(model.SerializeToString())
    return target
