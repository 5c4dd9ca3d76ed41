"""What a plan consists of: the list of kernels that TensorRT prints when it has built one, read into records.

A build at full verbosity logs one message that begins with "Layers:" and has a line for each kernel: its name, its kind,
tensors in and out with their types, and the ONNX nodes it was made from. On a machine without a GPU this is the only way to
see what was built, and it answers what an export must know:

    does every convolution and every linear layer run in the precision that was asked for?
    is each layer of neurons one kernel, which reads current and membrane once and writes spikes and membrane once?
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import onnx

PRODUCTS = ("correlation", "gemm", "convolution", "matmul")  # kinds of kernels that multiply by weights
TYPES = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}


@dataclass(frozen=True)
class Kernel:
    """One kernel of a plan. Types are TensorRT's words: Float, Half, Int8, Bool."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx: tuple[str, ...]  # names of ONNX nodes

    @property
    def multiplies(self) -> bool:
        return self.kind.lower() in PRODUCTS


def read_layers(text: str) -> list[Kernel]:
    """The kernels of a "Layers:" message, in the order they run."""
    kernels = []
    for line in text.splitlines()[1:]:
        if not line.startswith("Name: "):
            break
        name, kind = _word(line, "Name"), _word(line, "LayerType")
        inputs, rest = _between(line, "Inputs: [", "Constants: [")
        constants, rest = _between(rest, "", "Outputs: [")
        outputs, rest = _between(rest, "", "TacticName:")
        onnx = re.findall(r"\[ONNX Layer: ([^\]]*)\]", rest)
        kernels.append(Kernel(name, kind, _types(inputs), _types(constants), _types(outputs), tuple(onnx)))
    return kernels


def product_types(kernels: Iterable[Kernel]) -> dict[str, str]:
    """{ONNX node: type of what is multiplied} of all convolutions and linear layers: the types of input and weights."""
    found = {}
    for kernel in kernels:
        if kernel.multiplies:
            nodes = [n for n in kernel.onnx if n.rpartition("/")[2] in ("Conv", "Gemm", "MatMul")] or list(kernel.onnx)
            both = {*kernel.inputs[:1], *kernel.constants[:1]}
            found["+".join(nodes) or kernel.name] = "x".join(sorted(both))
    return found


def neuron_kernels(kernels: Iterable[Kernel], nodes: Iterable[str]) -> list[Kernel]:
    """The kernels that compute one of these ONNX nodes, apart from products (an addition may ride on one)."""
    wanted = set(nodes)
    return [kernel for kernel in kernels if not kernel.multiplies and wanted.intersection(kernel.onnx)]


def neuron_nodes(proto: onnx.ModelProto, current: str, outputs: Iterable[str]) -> list[str]:
    """The names of the ONNX nodes between a layer's current and what it gives: its spikes and its next membranes."""
    makers = {output: node for node in proto.graph.node for output in node.output}
    found: dict[str, None] = {}
    open_tensors = [name for name in outputs if name != current]
    while open_tensors:
        node = makers.get(open_tensors.pop())
        if node is not None and node.name not in found:
            found[node.name] = None
            open_tensors += [name for name in node.input if name != current]
    return list(found)


def _word(line: str, key: str) -> str:
    found = re.search(rf"{key}: ([^,]*)", line)
    return found[1].strip() if found else ""


def _between(text: str, start: str, end: str) -> tuple[str, str]:
    _, _, rest = text.partition(start) if start else ("", "", text)
    inside, _, rest = rest.partition(end)
    return inside, rest


def _types(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"Datatype: (\w+)", text))
