"""What must hold between the nodes of a graph, beyond what each node says of itself (runtime/model/graph.py: OPS)."""

from __future__ import annotations

from typing import Any

from runtime.base.errors import PlifError

BROADCAST = ("Add", "Mul", "Sub", "Div")
READ_CONSTANTS = (*BROADCAST, "MatMul", "Concat")


def check_wiring(graph: Any) -> None:
    """Refuses a graph whose State nodes, Constants, or shapes do not fit, with PlifError that names the node."""
    shapes = {name: tuple(shape) for name, shape in graph.shapes.items()}
    constants = {node.name for node in graph if node.op == "Constant"}
    layers = {node.layer: node for node in graph if node.op == "Neuron"}
    for node in graph:
        sizes = [shapes[name] for name in node.inputs]
        problem = _state(node, layers) if node.op == "State" else _problem(node, sizes)
        read = constants.intersection(node.inputs)
        if read and (node.op not in READ_CONSTANTS or constants.issuperset(node.inputs)):
            problem = problem or f"reads the constant {min(read)} alone; compute it when the network is read"
        if problem is not None:
            raise PlifError(f"graph: layer {node.name} ({node.op}) {problem}")
    if graph.output in constants:
        raise PlifError(f"graph: its output '{graph.output}' is a constant")


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


def _problem(node: Any, sizes: list[tuple[int, ...]]) -> str | None:
    shape = tuple(node.shape)
    if node.op == "Constant":
        fits = not sizes and tuple(node.params["value"].shape) == shape
        return None if fits else f"has a value {list(node.params['value'].shape)} for {list(shape)}, or an input"
    if not sizes:
        return "reads nothing"
    if node.op == "Neuron" and len(sizes) > 1 and any(size != shape for size in sizes):
        return f"reads {[list(size) for size in sizes]}; expected the shape of its neurons, {list(shape)}"
    if node.op in BROADCAST and any(len(size) != len(shape) for size in sizes):
        return f"joins {[list(size) for size in sizes]}; expected as many axes in each: put a Reshape before it"
    if node.op in ("Sub", "Div", "MatMul") and len(sizes) != 2:
        return f"has {len(sizes)} inputs; expected 2"
    return None
