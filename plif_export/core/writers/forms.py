"""The forms of a network as ONNX.

The step form is the canonical artifact: it streams.

    x [B, C, H, W] and states -> y [B, classes] and states

Every other form is a part, a folder next to this file. NAMES in its part.py maps the name for --form to a
description, `write` in its package writes it, and the gate calls the function that GIVES has under the name of the
form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx

from plif_export.core.writers.emit import emit_neuron, emit_node, state_tensors
from plif_export.core.writers.emitter import BATCH, Emitter, tensor_info
from runtime.core.model.graph import Graph, state_input, state_output
from runtime.core.parts import Part, find_parts, index_by_name


def write_step(graph: Graph, T: int, batch: int | None, dialect: str = "integer") -> onnx.ModelProto:
    """Write a network graph as an ONNX model of one time-step with its states; inputs and outputs are float32.

    T      is not used here: the step form runs for any number of steps
    batch  None leaves the batch axis dynamic
    """
    rows = batch or BATCH
    e = Emitter(dialect, graph.shapes)
    value = {graph.input: graph.input}
    for node in graph:
        inputs = [value[name] for name in node.inputs]
        if node.op == "Neuron":
            before = {variable: state_input(node.layer, variable) for variable in node.initial}
            after = {variable: state_output(node.layer, variable) for variable in node.initial}
            value[node.name] = emit_neuron(e, node, inputs, before, after)
        elif node.op == "State":
            tensor = state_input if node.attrs["when"] == "before" else state_output
            value[node.name] = tensor(node.layer, node.attrs["variable"])
        else:
            value[node.name] = emit_node(e, node, inputs)
    e.op("Identity", [value[graph.output]], "y")
    state_inputs, state_outputs = state_tensors(graph, rows)
    return e.model(
        [tensor_info(graph.input, [rows, *graph.input_shape]), *state_inputs],
        [tensor_info("y", [rows, *graph[graph.output].shape]), *state_outputs],
        "step",
    )


Writer: TypeAlias = Callable[[Graph, int, int | None, str], onnx.ModelProto]


def _lazy_writer(part: Part) -> Writer:
    def write(graph: Graph, T: int, batch: int | None, dialect: str = "integer") -> onnx.ModelProto:
        proto: onnx.ModelProto = part.load("write")(graph, T, batch, dialect)
        return proto

    return write


# form -> writer(graph, T, batch, dialect)
FORMS: Mapping[str, Writer] = {
    "step": write_step,
    **{name: _lazy_writer(part) for name, part in index_by_name(find_parts("writers")).items()},
}
