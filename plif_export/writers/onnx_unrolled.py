"""The unrolled form: T steps in one call, layer by layer, for offline evaluation.

    x [T, B, C, H, W] and states -> y [T, B, classes] and states         recordings
    x [B, C, H, W]    and states -> y [T, B, classes] and states         static images, what precedes the neurons once

Convolutions run over all T * B rows at once; only the recurrence of the neurons goes step by step. The state comes in and
goes out, so chunks of T steps chain.
"""

from __future__ import annotations

import numpy as np
import onnx

from plif_export.writers.emit import BATCH, Emitter, neuron, spikes, stateless, states, tensor_info
from runtime.graph import Graph, Node, state_in, state_out


def write_unrolled(graph: Graph, T: int, batch: int | None) -> onnx.ModelProto:
    """A graph as T steps; batch None leaves the batch axis dynamic. Nodes in graph.hoisted are computed once."""
    rows = batch or BATCH
    static = bool(graph.hoisted)
    e = Emitter()
    value = {graph.input: graph.input}
    if not static:
        flat = e.weight("x.flat.shape", np.array([-1, *graph.input_shape], np.int64))
        value[graph.input] = e.op("Reshape", [graph.input, flat], "x.flat")
    for node in graph:
        x = value[node.inputs[0]]
        if node.op == "Neuron":
            value[node.name] = _recurrence(
                e, node, x, T, once=node.inputs[0] in {graph.input, *graph.hoisted} and static
            )
        else:
            value[node.name] = stateless(e, node, x)
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
    v, fired = state_in(layer), []
    for t in range(T):
        v_next = state_out(layer) if t == T - 1 else f"{layer}.v.t{t + 1}"
        fired.append(neuron(e, node, currents[t], v, v_next, f".t{t}"))
        v = v_next
    return e.op("Concat", fired, spikes(layer), axis=0)
