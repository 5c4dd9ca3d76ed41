"""The table of functions that write each kind of node as C.

To add one, write it in products.py, neurons.py or maps.py and enter it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from plif_export.core.readers.rules import Problem, Unsupported
from plif_export.writers.c import maps
from plif_export.writers.c.names import to_identifier
from plif_export.writers.c.neurons import write_neuron
from plif_export.writers.c.products import build_product, store_product
from plif_export.writers.c.program import CProgram, CValue
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node, Shape
from runtime.core.model.ops.expand import expand_node


def _write_product(program: CProgram, node: Node) -> CValue:
    """Write a Conv or Linear as C, joined with the neuron layer if only that reads its sums, or separately."""
    sums = build_product(program, node)
    readers = program.graph.consumers(node.name)
    alone = len(readers) == 1 and program.graph.has_only_reader(node.name, readers[0].name)
    if alone and readers[0].op == "Neuron" and len(readers[0].inputs) == 1 and "@OUT@" not in sums.loops:
        program.pending[node.name] = sums
        return CValue("floats", program.node_id(node), node.shape, node.shape)
    return store_product(program, sums)


def _write_state(program: CProgram, node: Node) -> CValue:
    buffer = program.states[node.layer, node.attrs["variable"]]
    if node.attrs["when"] == "after":
        return CValue(
            "floats", buffer, node.shape, node.shape
        )  # its layer has run, and the state does not change again in this step
    size = prod(node.shape)
    name = program.add_floats(f"{program.node_id(node)}_before", size, f"{node.name}: as it was before the step")
    program.first.append(f"for (int o = 0; o < {size}; o++)\n        {name}[o] = {buffer}[o];")
    return CValue("floats", name, node.shape, node.shape)


WRITERS: dict[str, Callable[[CProgram, Node], CValue]] = {
    "Conv": _write_product,
    "ConvTranspose": _write_product,
    "Linear": _write_product,
    "Neuron": write_neuron,
    "State": _write_state,
    "Dropout": lambda program, node: program.values[node.inputs[0]],
    **maps.WRITERS,
}


def _write_node(program: CProgram, node: Node, shapes: Mapping[str, Shape]) -> CValue:
    """Write a graph node as C by its own function, or as the simpler operations that it consists of."""
    if node.op in WRITERS:
        return WRITERS[node.op](program, node)
    try:
        parts = expand_node(node, [shapes[name] for name in node.inputs])
    except PlifError:
        parts = []
    if not parts or any(part.op not in WRITERS for part in parts):
        raise Unsupported("the C writer has no code for it", "choose another layer, or use --to onnx")
    for part in parts:
        program.values[part.name] = WRITERS[part.op](program, part)
    return program.values[node.name]


def build_program(graph: Graph, input_type: str = "float") -> tuple[CProgram, list[Problem]]:
    """Build the C program of a graph (after all passes), and list the layers that C cannot express."""
    program, problems = CProgram(graph, input_type), []
    for word in ("frame", "y", "sum", "fired", "main"):
        program.names.new(word)
    program.values[graph.input] = CValue("x", "x", graph.input_shape, graph.input_shape)
    for node in graph.neurons:  # the state variables of all layers
        program.layer = node.layer
        for variable, initial in node.initial.items():
            label = "membrane v" if variable == "v" else f"state {variable}"
            base_name, size = f"{program.node_id(node)}_{to_identifier(variable)}", prod(node.shape)
            name = program.add_floats(base_name, size, f"{node.layer}: {label}, [place][channel]")
            program.states[node.layer, variable] = name
            program.resets.append((name, size, initial))
    for node in graph:
        program.layer = node.layer if node.op == "Neuron" else node.name
        try:
            program.values[node.name] = _write_node(program, node, graph.shapes)
        except Unsupported as problem:
            problems.append(Problem(node.name, node.op, problem.rule, problem.advice))
            program.values[node.name] = CValue("floats", program.node_id(node), node.shape, node.shape)
    if not problems:
        program.layer = "output"
        program.output = program.as_floats(program.values[graph.output])
    return program, problems
