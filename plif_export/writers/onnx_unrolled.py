"""The unrolled form: T steps in one call, layer by layer, for offline evaluation.

    x [T, B, C, H, W] and states -> y [T, B, classes] and states         recordings
    x [B, C, H, W]    and states -> y [T, B, classes] and states         static images, what precedes the neurons once

Convolutions run over all T * B rows at once; only the recurrence of the neurons goes step by step. The state comes in and
goes out, so chunks of T steps chain.
"""

from __future__ import annotations

import numpy as np
import onnx

from plif_export.writers.emit import neuron, stateless, states
from plif_export.writers.emitter import BATCH, Emitter, tensor_info
from runtime.model.graph import Graph, Node, spikes, state_in, state_out


def write_unrolled(graph: Graph, T: int, batch: int | None, dialect: str = "integer") -> onnx.ModelProto:
    """A graph as T steps; all inputs and outputs are float32.

    batch  None leaves the batch axis dynamic
    Nodes in graph.hoisted are computed once.
    """
    rows = batch or BATCH
    static = bool(graph.hoisted)
    e = Emitter(dialect)
    value = {graph.input: graph.input}
    if not static:
        flat = e.weight("x.flat.shape", np.array([-1, *graph.input_shape], np.int64))
        value[graph.input] = e.op("Reshape", [graph.input, flat], "x.flat")
    once = {graph.input, *graph.hoisted} if static else set()  # values of B rows, which hold at every step

    def every_step(name: str) -> str:
        if name not in once or T == 1:
            return value[name]
        repeated = f"{value[name]}.every_step"
        return repeated if repeated in e.made else e.op("Concat", [value[name]] * T, repeated, axis=0)

    for node in graph:
        if node.op == "Neuron":
            value[node.name] = _recurrence(e, node, value[node.inputs[0]], T, once=node.inputs[0] in once)
        elif node.name in once:
            value[node.name] = stateless(e, node, [value[name] for name in node.inputs])
        else:
            value[node.name] = stateless(e, node, [every_step(name) for name in node.inputs])
    shape = graph[graph.output].shape
    y_shape = e.weight("y.shape", np.array([T, -1, *shape], np.int64))
    e.op("Reshape", [value[graph.output], y_shape], "y")
    state_inputs, state_outputs = states(graph, rows)
    x_shape = [rows, *graph.input_shape] if static else [T, rows, *graph.input_shape]
    return e.model(
        [tensor_info(graph.input, x_shape), *state_inputs],
        [tensor_info("y", [T, rows, *shape]), *state_outputs],
        "unrolled",
    )


def _recurrence(e: Emitter, node: Node, x: str, T: int, once: bool) -> str:
    """The neuron's T steps. x holds T * B rows, or B rows that feed every step (`once`). Returns T * B rows of spikes."""
    layer = node.layer
    currents = [x] * T
    if not once and T > 1:
        currents = [f"{layer}.x.t{t}" for t in range(T)]
        e.split(x, currents)
    variables, fired = list(node.initial), []
    before = {name: state_in(layer, name) for name in variables}
    for t in range(T):
        last = t == T - 1
        after = {name: state_out(layer, name) if last else f"{layer}.{name}.t{t + 1}" for name in variables}
        fired.append(neuron(e, node, currents[t], before, after, f".t{t}"))
        before = after
    return e.op("Concat", fired, spikes(layer), axis=0)
