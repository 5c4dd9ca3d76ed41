"""Which function writes which kind of node. To add one, write it in products.py, neurons.py or maps.py and enter it here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from plif_export.core.readers.rules import Problem, Unsupported
from plif_export.writers.c import maps
from plif_export.writers.c.names import identifier
from plif_export.writers.c.neurons import neuron
from plif_export.writers.c.products import product, stored
from plif_export.writers.c.program import CProgram, CValue
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node, Shape
from runtime.core.model.ops.expand import expanded


def _product(program: CProgram, node: Node) -> CValue:
    """Written with the neurons that alone read it, or on its own."""
    made = product(program, node)
    readers = program.graph.consumers(node.name)
    alone = len(readers) == 1 and program.graph.feeds_only(node.name, readers[0].name)
    if alone and readers[0].op == "Neuron" and len(readers[0].inputs) == 1 and "@OUT@" not in made.loops:
        program.pending[node.name] = made
        return CValue("floats", program.id(node), node.shape, node.shape)
    return stored(program, made)


def _state(program: CProgram, node: Node) -> CValue:
    held = program.states[node.layer, node.attrs["variable"]]
    if node.attrs["when"] == "after":
        return CValue("floats", held, node.shape, node.shape)  # its layer has run, and nothing changes it in this step
    size = prod(node.shape)
    name = program.floats(f"{program.id(node)}_before", size, f"{node.name}: as it was before the step")
    program.first.append(f"for (int o = 0; o < {size}; o++)\n        {name}[o] = {held}[o];")
    return CValue("floats", name, node.shape, node.shape)


MAKERS: dict[str, Callable[[CProgram, Node], CValue]] = {
    "Conv": _product,
    "ConvTranspose": _product,
    "Linear": _product,
    "Neuron": neuron,
    "State": _state,
    "Dropout": lambda program, node: program.values[node.inputs[0]],
    **maps.MAKERS,
}


def _made(program: CProgram, node: Node, shapes: Mapping[str, Shape]) -> CValue:
    """By its maker, or as the operations that its meaning is made of."""
    if node.op in MAKERS:
        return MAKERS[node.op](program, node)
    try:
        parts = expanded(node, [shapes[name] for name in node.inputs])
    except PlifError:
        parts = []
    if not parts or any(part.op not in MAKERS for part in parts):
        raise Unsupported("the C writer has no code for it", "choose another layer, or use --to onnx")
    for part in parts:
        program.values[part.name] = MAKERS[part.op](program, part)
    return program.values[node.name]


def examine(graph: Graph, input_type: str = "float") -> tuple[CProgram, list[Problem]]:
    """The program of a graph (after all passes), and what C cannot express of it."""
    program, problems = CProgram(graph, input_type), []
    for word in ("frame", "y", "sum", "fired", "main"):
        program.names.new(word)
    program.values[graph.input] = CValue("x", "x", graph.input_shape, graph.input_shape)
    for node in graph.neurons:  # the state variables of all layers
        program.layer = node.layer
        for variable, initial in node.initial.items():
            what = "membrane v" if variable == "v" else f"state {variable}"
            wanted, size = f"{program.id(node)}_{identifier(variable)}", prod(node.shape)
            name = program.floats(wanted, size, f"{node.layer}: {what}, [place][channel]")
            program.states[node.layer, variable] = name
            program.resets.append((name, size, initial))
    for node in graph:
        program.layer = node.layer if node.op == "Neuron" else node.name
        try:
            program.values[node.name] = _made(program, node, graph.shapes)
        except Unsupported as problem:
            problems.append(Problem(node.name, node.op, problem.rule, problem.advice))
            program.values[node.name] = CValue("floats", program.id(node), node.shape, node.shape)
    if not problems:
        program.layer = "output"
        program.output = program.as_floats(program.values[graph.output])
    return program, problems
