"""What must hold between the nodes of a graph, beyond what each node says of itself (runtime/model/ops)."""

from __future__ import annotations

from typing import Any

from runtime.base.errors import PlifError
from runtime.model.ops import OPERATIONS
from runtime.model.ops.operation import Shape
from runtime.model.ops.shapes import Misfit, shape_of


def check_wiring(graph: Any) -> None:
    """Refuses a graph whose State nodes, Constants, or shapes do not fit, with PlifError that names the node."""
    shapes = {name: tuple(shape) for name, shape in graph.shapes.items()}
    constants = {node.name for node in graph if node.op == "Constant"}
    layers = {node.layer: node for node in graph if node.op == "Neuron"}
    for node in graph:
        sizes = [shapes[name] for name in node.inputs]
        problem = _state(node, layers) if node.op == "State" else _shape(node, sizes)
        read = constants.intersection(node.inputs)
        if read and (not OPERATIONS[node.op].reads_constants or constants.issuperset(node.inputs)):
            problem = problem or f"reads the constant {min(read)} alone; compute it when the network is read"
        if problem is not None:
            raise PlifError(f"graph: layer {node.name} ({node.op}) {problem}")
    if graph.output in constants:
        raise PlifError(f"graph: its output '{graph.output}' is a constant")


def _shape(node: Any, sizes: list[Shape]) -> str | None:
    if not sizes and node.op != "Constant":
        return "reads nothing"
    operation = OPERATIONS[node.op]
    problem = operation.fits(node, sizes)
    if problem is not None or operation.meaning is None:
        return problem
    try:
        found = shape_of(node, sizes)
    except Misfit as misfit:
        return str(misfit)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"has attributes that no {node.op} has ({error})"
    return None if found == tuple(node.shape) else f"gives {list(found)}; expected {list(node.shape)}"


def _state(node: Any, layers: Any) -> str | None:
    layer, variable, when = (node.attrs[key] for key in ("layer", "variable", "when"))
    neuron = layers.get(layer)
    if neuron is None or variable not in neuron.initial:
        return f"reads the state '{variable}' of '{layer}', which no neuron has"
    if tuple(node.shape) != tuple(neuron.shape):
        return f"has shape {list(node.shape)}, its neurons {list(neuron.shape)}"
    if node.inputs != {"before": (), "after": (neuron.name,)}.get(when):
        return f"reads {list(node.inputs)} {when} the step; expected nothing before it, or {neuron.name} after it"
    return None
