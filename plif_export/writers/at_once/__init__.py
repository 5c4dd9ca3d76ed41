"""The unrolled form: T steps in one call, layer by layer, for offline evaluation.

    x [T, B, C, H, W] and states -> y [T, B, classes] and states    recordings
    x [B, C, H, W]    and states -> y [T, B, classes] and states    static images; layers before the first neurons run once

Convolutions run over all T * B rows at once; only the recurrence of the neurons goes step by step. If a layer reads
its own previous step (a State node "before"), all nodes on that loop go step by step with it. The state is an input
and an output, so chunks of T steps chain.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from plif_export.core.circles import strong_components
from plif_export.core.writers.emit import emit_neuron, emit_node, state_tensors
from plif_export.core.writers.emitter import BATCH, Emitter, tensor_info
from runtime.core.model.graph import Graph, Node, spikes_name, state_input, state_output


def write(graph: Graph, T: int, batch: int | None, dialect: str = "integer") -> onnx.ModelProto:
    """Write a network graph as an ONNX model of T unrolled steps; inputs and outputs are float32.

    batch  None leaves the batch axis dynamic
    Nodes in graph.hoisted are computed once.
    """
    rows = batch or BATCH
    writer = _UnrolledGraph(graph, T, dialect)
    e = writer.e
    for part in _split_loops(graph):
        if len(part) > 1:
            writer.step_by_step(part)
        else:
            writer.at_once(part[0])
    shape = graph[graph.output].shape
    y_shape = e.weight("y.shape", np.array([T, -1, *shape], np.int64))
    e.op("Reshape", [writer.over_all_steps(graph.output), y_shape], "y")
    state_inputs, state_outputs = state_tensors(graph, rows)
    x_shape = [rows, *graph.input_shape] if writer.static else [T, rows, *graph.input_shape]
    return e.model(
        [tensor_info(graph.input, x_shape), *state_inputs],
        [tensor_info("y", [T, rows, *shape]), *state_outputs],
        "unrolled",
    )


def _split_loops(graph: Graph) -> Iterator[list[Node]]:
    """Split a graph into pieces in order of dependency; a piece of several nodes is a loop over time.

    A State node needs its neuron: "after" in the same step, "before" in the previous step.
    """
    nodes, neurons = {node.name: node for node in graph}, {node.layer: node.name for node in graph.neurons}
    needs = {node.name: [name for name in node.inputs if name != graph.input] for node in graph}
    needs |= {node.name: [neurons[node.layer]] for node in graph if node.op == "State"}
    return ([nodes[name] for name in part] for part in strong_components(needs))


class _UnrolledGraph:
    """The ONNX tensors of a graph that is being written with its T time-steps unrolled.

    value  {node: tensor of T * B rows, or of B rows if it is in `once`}; steps: {node: a tensor of B rows for each
           step}
    """

    def __init__(self, graph: Graph, T: int, dialect: str) -> None:
        self.T, self.e = T, Emitter(dialect, graph.shapes)
        self.static = bool(graph.hoisted)
        # values of B rows that are equal in every step, and constants of one row
        self.once = {graph.input, *graph.hoisted} if self.static else set()
        self.constants = {node.name for node in graph if node.op == "Constant"}
        self.once |= self.constants
        self.value = {graph.input: graph.input}
        self.steps: dict[str, list[str]] = {}
        if not self.static:
            flat = self.e.weight("x.flat.shape", np.array([-1, *graph.input_shape], np.int64))
            self.value[graph.input] = self.e.op("Reshape", [graph.input, flat], "x.flat")

    def at_once(self, node: Node) -> None:
        """Write the ONNX nodes of a graph node for all time-steps at once; those of a neuron step after step."""
        if node.op == "Neuron":
            self._emit_steps(node)
        elif node.op == "State":
            self.steps[node.name] = [self._read_state(node, t) for t in range(self.T)]
        else:
            read = (self.value if node.name in self.once else self).__getitem__
            self.value[node.name] = emit_node(self.e, node, [read(name) for name in node.inputs])

    def _emit_steps(self, node: Node) -> None:
        currents = [self.in_steps(name, f"{node.layer}.x{i or ''}") for i, name in enumerate(node.inputs)]
        fired = [self._emit_neuron(node, [current[t] for current in currents], t) for t in range(self.T)]
        self.value[node.name] = self.e.op("Concat", fired, spikes_name(node.layer), axis=0)

    def step_by_step(self, loop: list[Node]) -> None:
        """Write the ONNX nodes of a loop over time (recurrent layers), step by step."""
        for node in loop:
            self.steps[node.name] = []
        for t in range(self.T):
            for node in loop:
                if node.op == "State":
                    tensor = self._read_state(node, t)
                else:
                    inputs = [self.in_steps(name, f"{name}.in")[t] for name in node.inputs]
                    tensor = (
                        self._emit_neuron(node, inputs, t)
                        if node.op == "Neuron"
                        else self._emit_in_step(node, inputs, t)
                    )
                self.steps[node.name].append(tensor)
        for node in loop:
            if node.op == "Neuron":
                self.value[node.name] = self.e.op("Concat", self.steps[node.name], spikes_name(node.layer), axis=0)

    def _emit_in_step(self, node: Node, inputs: list[str], t: int) -> str:
        self.e.tag = f".t{t}"
        output = emit_node(self.e, node, inputs)
        self.e.tag = ""
        return output

    def _emit_neuron(self, node: Node, inputs: list[str], t: int) -> str:
        before = {name: self._state_tensor(node.layer, name, t) for name in node.initial}
        after = {name: self._state_tensor(node.layer, name, t + 1) for name in node.initial}
        return emit_neuron(self.e, node, inputs, before, after, f".t{t}")

    def _read_state(self, node: Node, t: int) -> str:
        return self._state_tensor(node.layer, node.attrs["variable"], t + (node.attrs["when"] == "after"))

    def _state_tensor(self, layer: str, variable: str, t: int) -> str:
        """Return the name of the ONNX tensor of a state variable before step t.

        Before step T it is the output state.
        """
        if t == 0:
            return state_input(layer, variable)
        return state_output(layer, variable) if t == self.T else f"{layer}.{variable}.t{t}"

    def in_steps(self, name: str, split: str) -> list[str]:
        """Return the names of a value's ONNX tensors in each time-step, split from one tensor if necessary."""
        if name in self.once or (self.T == 1 and name in self.value):
            return [self.value[name]] * self.T
        if name not in self.steps:
            self.steps[name] = [f"{split}.t{t}" for t in range(self.T)]
            self.e.split(self.value[name], self.steps[name])
        return self.steps[name]

    def over_all_steps(self, name: str) -> str:
        """Return the name of one ONNX tensor with a value's rows in all T time-steps, T * B rows."""
        if name not in self.value:
            steps = self.steps[name]
            self.value[name] = steps[0] if self.T == 1 else self.e.op("Concat", steps, f"{name}.steps", axis=0)
        if name not in self.once - self.constants or self.T == 1:
            return self.value[name]
        repeated = f"{self.value[name]}.every_step"
        if repeated not in self.e.outputs:
            self.e.op("Concat", [self.value[name]] * self.T, repeated, axis=0)
        return repeated

    __getitem__ = over_all_steps
