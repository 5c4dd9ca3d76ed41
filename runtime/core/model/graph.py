"""The SNN graph: a spiking network between its PyTorch module and its exported file.

A directed acyclic graph of named nodes with NumPy weights. Readers create it, passes rewrite it, writers and the
interpreter walk it. Every artifact carries it in its card (layers, attributes, names of initializers), so that no
engine has to guess which layer a group of ONNX operations came from.

One neuron layer of our own kinds, with alpha = 1/tau (reference: Fang et al. 2021, eq. 2-6; SpikingJelly 2.0 for
decay_input=False). The kinds of other libraries are in runtime/core/model/neurons.py, each with its own equation:

    charge exact    h = v + (x - (v - v_reset)) * alpha         decay_input true
                    h = v - (v - v_reset) * alpha + x           decay_input false
                    h = v + x                                   IF
    charge folded   h = v * (1 - alpha) + x'                    x' carries alpha and alpha * v_reset in its weights
    fire            s = h >= v_threshold
    reset           v = v_reset where s else h                  hard
                    v = h - s * v_threshold                     soft (v_reset None; v_reset counts as 0 above)

The dtype of its weight gives the precision of a Conv or Linear (plif_export's passes cast_half and quantize_weights
create the last two):

    float32                    x = W s + b
    float16                    x = float32(W s) + b             W s summed in float32
    int8, with "scale" [O]     x = float32(W k) * scale + b     W k summed in int32, the real weight is W * scale
                               k = s, whole counts; with the attribute "area" (after average pooling) the input
                               is k / area and x = float32(W k) * (scale * float32(1 / area)) + b

Bias, scale, membranes and all neuron arithmetic are float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from runtime.core.base.errors import PlifError
from runtime.core.model.neurons import output_kind as output_kind
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.operation import Node as Node
from runtime.core.model.ops.operation import Shape as Shape
from runtime.core.model.ops.shapes import ShapeMismatch, infer_shape
from runtime.core.model.records import GraphRecord, StateRecord


@dataclass(frozen=True, eq=False)
class Graph:
    """A spiking network as a directed acyclic graph of nodes.

    input_shape  without the batch axis: (C, H, W) or (features,)
    nodes        in an order in which every node follows its inputs
    output       the name of the node with the value y
    input        the name of the one input
    hoisted      names of nodes that depend only on a static image, so that their value is the same at every
                 time-step
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    output: str
    input: str = "x"
    hoisted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        defined = {self.input}
        for node in self.nodes:
            unknown = [name for name in node.inputs if name not in defined]
            if unknown or node.name in defined:
                problem = f"reads {unknown} before it is made" if unknown else "has a name that is taken"
                raise PlifError(f"graph: layer {node.name} {problem}")
            defined.add(node.name)
        _check_wiring(self)
        if self.output not in defined or not self.nodes:
            raise PlifError(f"graph: its output '{self.output}' is not one of its layers")
        if not self.neurons:
            raise PlifError("graph: no spiking neuron in it; a network without state needs no plif")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    @property
    def neurons(self) -> list[Node]:
        """The nodes of the graph that have state, in order."""
        return [node for node in self.nodes if node.op == "Neuron"]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each node and of the input, by name, without the batch."""
        return {self.input: self.input_shape, **{node.name: node.shape for node in self.nodes}}

    def consumers(self, name: str) -> list[Node]:
        """Return the nodes that read the value of the named node."""
        return [node for node in self.nodes if name in node.inputs]

    def has_only_reader(self, name: str, reader: str) -> bool:
        """Return whether only one node of the graph reads a value, and it is not the graph's output.

        Only then may a pass rescale the value for this reader.
        """
        return name != self.output and [node.name for node in self.consumers(name)] == [reader]

    def replace_nodes(self, changed: Mapping[str, Node], dropped: frozenset[str] | set[str] = frozenset()) -> Graph:
        """Return the graph with some nodes replaced and others removed.

        The readers of a dropped node read its first input.
        """
        source = {self.input: self.input}
        nodes = []
        for node in self.nodes:
            node = changed.get(node.name, node)
            inputs = tuple(source.get(name, name) for name in node.inputs)
            if node.name in dropped:
                source[node.name] = inputs[0]
                continue
            nodes.append(node.with_(inputs=inputs))
        return replace(self, nodes=tuple(nodes), output=source.get(self.output, self.output))

    def to_record(self) -> GraphRecord:
        """Return the graph as JSON for a card, without weights: their tensors are named `<node>.<parameter>`."""
        return {
            "input": self.input,
            "output": self.output,
            "hoisted": sorted(self.hoisted),
            "nodes": [
                {
                    "name": node.name,
                    "op": node.op,
                    "inputs": list(node.inputs),
                    "shape": list(node.shape),
                    "attrs": dict(node.attrs),
                    "params": {key: f"{node.name}.{key}" for key in node.params},
                }
                for node in self.nodes
            ],
        }


def _check_wiring(graph: Graph) -> None:
    """Check that the nodes of a graph fit each other; refuse it with the name of the node otherwise."""
    shapes = {name: tuple(shape) for name, shape in graph.shapes.items()}
    constants = {node.name for node in graph if node.op == "Constant"}
    layers = {node.layer: node for node in graph if node.op == "Neuron"}
    for node in graph:
        sizes = [shapes[name] for name in node.inputs]
        problem = _find_state_problem(node, layers) if node.op == "State" else _find_shape_problem(node, sizes)
        if 0 in node.shape and problem is None:
            problem = f"gives no number: its shape is {list(node.shape)}; expected at least 1 of each"
        read = constants.intersection(node.inputs)
        if read and (not OPERATIONS[node.op].reads_constants or constants.issuperset(node.inputs)):
            problem = problem or f"reads the constant {min(read)} alone; compute it when the network is read"
        if problem is not None:
            raise PlifError(f"graph: layer {node.name} ({node.op}) {problem}")
    if graph.output in constants:
        raise PlifError(f"graph: its output '{graph.output}' is a constant")


def _find_shape_problem(node: Node, sizes: list[Shape]) -> str | None:
    if not sizes and node.op != "Constant":
        return "reads nothing"
    operation = OPERATIONS[node.op]
    problem = operation.fits(node, sizes)
    if problem is not None or operation.meaning is None:
        return problem
    try:
        shape = infer_shape(node, sizes)
    except ShapeMismatch as misfit:
        return str(misfit)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"has attributes that no {node.op} has ({error})"
    return None if shape == tuple(node.shape) else f"gives {list(shape)}; expected {list(node.shape)}"


def _find_state_problem(node: Node, neurons: Mapping[str, Node]) -> str | None:
    layer, variable, when = (node.attrs[key] for key in ("layer", "variable", "when"))
    neuron = neurons.get(layer)
    if neuron is None or variable not in neuron.initial:
        return f"reads the state '{variable}' of '{layer}', which no neuron has"
    if tuple(node.shape) != tuple(neuron.shape):
        return f"has shape {list(node.shape)}, its neurons {list(neuron.shape)}"
    if node.inputs != {"before": (), "after": (neuron.name,)}.get(when):
        return f"reads {list(node.inputs)} {when} the step; expected nothing before it, or {neuron.name} after it"
    return None


# --- names of tensors in artifacts --------------------------------------------------------------------------------


def state_input(layer: str, variable: str = "v") -> str:
    """Return the name of the tensor that holds a state variable before the step: v.conv1."""
    return f"{variable}.{layer}"


def state_output(layer: str, variable: str = "v") -> str:
    """Return the name of the tensor that holds a state variable after the step: v.conv1.next."""
    return f"{variable}.{layer}.next"


def state_key(layer: str, variable: str = "v") -> str:
    """Return the key of a state variable in a dict {key: array}: conv1 for the membrane v, i.conv1 for variable i."""
    return layer if variable == "v" else f"{variable}.{layer}"


def record_key(state: StateRecord) -> str:
    """Return the key in a dict {key: array} of the state variable that a card's state record describes."""
    return state_key(state["layer"], state["variable"])


def spikes_name(layer: str) -> str:
    """Return the name of the tensor that holds the spikes of a layer, float32 {0, 1}: conv1.s.

    Its shape is [B, ...] in the step form, [T * B, ...] when unrolled.
    """
    return f"{layer}.s"


def initial_membrane(neuron: Node) -> float:
    """Return the membrane potential of a neuron node after a reset of the network.

    It is v_reset for our own kinds, and 0 with a soft reset.
    """
    return neuron.initial["v"]


# --- what cards say about a network -------------------------------------------------------------------------------


def make_state_record(layer: str, shape: Shape, initial: float | None, variable: str = "v") -> StateRecord:
    """Return the entry of one state variable in a card's `states`; initial None (soft reset) becomes 0."""
    return {
        "name": state_input(layer, variable),
        "input": state_input(layer, variable),
        "output": state_output(layer, variable),
        "shape": list(shape),
        "dtype": "float32",
        "initial": 0.0 if initial is None else float(initial),
        "layer": layer,
        "variable": variable,
    }


def make_output_record(op: str, voters: int, values: str = "spikes", shape: Shape = ()) -> dict[str, object]:
    """Return a card's `output` record: the kind of y, from the operation of the last node.

    values  the kind of a Neuron's output (Node.values)
    shape   of y without the batch; it is recorded only if y is a map, not one number for each class
    """
    kind = {"Vote": "votes", "Neuron": "membrane" if values == "membrane" else "spikes", "State": "membrane"}
    record = {"kind": kind.get(op, "currents"), "voters": voters if op == "Vote" else 1}
    return {**record, "shape": list(shape)} if len(shape) > 1 else record
