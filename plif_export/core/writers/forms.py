"""The forms of a network as ONNX.

The step form is the canonical artifact: it streams.

    x [B, C, H, W] and states -> y [B, classes] and states

Every other form is a part, a folder beside this file: NAMES in its part.py says what --form calls it and what that is, `write` in
its package writes it, and what it GIVES under the name of the form is asked by the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx

from plif_export.core.writers.emit import neuron, stateless, states
from plif_export.core.writers.emitter import BATCH, Emitter, tensor_info
from runtime.core.model.graph import Graph, state_in, state_out
from runtime.core.parts import Part, by_name, find_parts


def write_step(graph: Graph, T: int, batch: int | None, dialect: str = "integer") -> onnx.ModelProto:
    """A graph as one step with its states; all inputs and outputs are float32.

    T      is not used here: the step form runs for any number of steps
    batch  None leaves the batch axis dynamic
    """
    rows = batch or BATCH
    e = Emitter(dialect, graph.shapes)
    value = {graph.input: graph.input}
    for node in graph:
        inputs = [value[name] for name in node.inputs]
        if node.op == "Neuron":
            before = {variable: state_in(node.layer, variable) for variable in node.initial}
            after = {variable: state_out(node.layer, variable) for variable in node.initial}
            value[node.name] = neuron(e, node, inputs, before, after)
        elif node.op == "State":
            tensor = state_in if node.attrs["when"] == "before" else state_out
            value[node.name] = tensor(node.layer, node.attrs["variable"])
        else:
            value[node.name] = stateless(e, node, inputs)
    e.op("Identity", [value[graph.output]], "y")
    state_inputs, state_outputs = states(graph, rows)
    return e.model(
        [tensor_info(graph.input, [rows, *graph.input_shape]), *state_inputs],
        [tensor_info("y", [rows, *graph[graph.output].shape]), *state_outputs],
        "step",
    )


Writer: TypeAlias = Callable[[Graph, int, int | None, str], onnx.ModelProto]


def _writer_of(part: Part) -> Writer:
    def write(graph: Graph, T: int, batch: int | None, dialect: str = "integer") -> onnx.ModelProto:
        proto: onnx.ModelProto = part.load("write")(graph, T, batch, dialect)
        return proto

    return write


# form -> writer(graph, T, batch, dialect)
FORMS: Mapping[str, Writer] = {
    "step": write_step,
    **{name: _writer_of(part) for name, part in by_name(find_parts("writers")).items()},
}
