"""The loop form: any number of steps in one call, with a Scan around the step (runtime/forms/looped).

x [T, B, C, H, W] and states -> y [T, B, classes] and states         T is free
"""

from __future__ import annotations

import onnx

from plif_export.core.writers.forms import write_step
from runtime.core.model.graph import Graph, state_input, state_output
from runtime.forms.looped.onnx_loop import to_loop_form


def write(graph: Graph, T: int, batch: int | None, dialect: str = "integer") -> onnx.ModelProto:
    """Write a network graph as an ONNX model that loops over time-steps around the step that `write_step` writes."""
    return wrap_in_loop(graph, write_step(graph, T, batch, dialect))


def wrap_in_loop(graph: Graph, step: onnx.ModelProto) -> onnx.ModelProto:
    """Wrap the ONNX model of one time-step in a loop over the time-steps."""
    variables = [(node.layer, variable) for node in graph.neurons for variable in node.initial]
    state_pairs = {state_input(*key): state_output(*key) for key in variables}
    model = onnx.load_model_from_string(
        to_loop_form(step.SerializeToString(deterministic=True), graph.input, state_pairs)
    )
    onnx.checker.check_model(model, full_check=True)
    return model
