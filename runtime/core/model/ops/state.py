"""The nodes that hold values: neurons, their states, and constants.

Neuron     its equation is that of its kind (runtime/core/model/neurons.py)
State      a state variable of a neuron layer: "before" the step, without inputs (so a layer can read what it
           did in the last step), or "after" it, with the neuron as its input
Constant   of the node's shape, for every row; read by + - * /, MatMul and Concat
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.core.model.ops.operation import Node, Shape, register


def _neuron_fits(node: Node, shapes: Sequence[Shape]) -> str | None:
    if len(shapes) > 1 and any(shape != tuple(node.shape) for shape in shapes):
        return f"reads {[list(s) for s in shapes]}; expected the shape of its neurons, {list(node.shape)}"
    return None


def _constant_fits(node: Node, shapes: Sequence[Shape]) -> str | None:
    value = node.params["value"]
    fits = not shapes and tuple(value.shape) == tuple(node.shape)
    return None if fits else f"has a value {list(value.shape)} for {list(node.shape)}, or an input"


register("Neuron", attrs=("kind", "layer", "v_threshold", "v_reset"), fits=_neuron_fits)
register("State", attrs=("layer", "variable", "when"))
register(
    "Constant",
    lambda m, node, p: m.broadcast_trailing(p["value"], len(node.shape)),  # one row, [1, ...]: its readers broadcast it
    params=("value",),
    fits=_constant_fits,
    onnx=lambda e, node: e.weight(f"{node.name}.value", node.params["value"][None]),
)
