"""The loop form makes any number of steps in one call: its one node is a Scan around the step (runtime/forms/looped).

x [T, B, C, H, W] and states -> y [T, B, classes] and states         T is free
"""

from __future__ import annotations

import onnx

from plif_export.core.writers.forms import write_step
from runtime.core.model.graph import Graph, state_in, state_out
from runtime.forms.looped.onnx_loop import loop_of


def write(graph: Graph, T: int, batch: int | None, dialect: str = "integer") -> onnx.ModelProto:
    """A graph as a loop over its step, as `write_step` writes that."""
    return in_a_loop(graph, write_step(graph, T, batch, dialect))


def in_a_loop(graph: Graph, step: onnx.ModelProto) -> onnx.ModelProto:
    """The loop form of a graph from its step form."""
    variables = [(node.layer, variable) for node in graph.neurons for variable in node.initial]
    held = {state_in(*of): state_out(*of) for of in variables}
    model = onnx.load_model_from_string(loop_of(step.SerializeToString(deterministic=True), graph.input, held))
    onnx.checker.check_model(model, full_check=True)
    return model
