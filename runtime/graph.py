"""The SNN graph: what a spiking network is, once it is no longer a PyTorch module and not yet a file.

A small directed acyclic graph of named nodes with NumPy weights. Readers make it, passes rewrite it, writers and the
interpreter walk it, and every artifact carries it in its card (layers, attributes, initializer names), so that no engine
has to guess what a run of ONNX primitives once was.

One neuron layer, with alpha = 1/tau (reference: Fang et al. 2021, eq. 2-6; SpikingJelly 2.0 for decay_input=False):

    charge exact    h = v + (x - (v - v_reset)) * alpha         decay_input true
                    h = v - (v - v_reset) * alpha + x           decay_input false
                    h = v + x                                   IF
    charge folded   h = v * (1 - alpha) + x'                    x' carries alpha and alpha * v_reset in its weights
    fire            s = h >= v_threshold
    reset           v = v_reset where s else h                  hard
                    v = h - s * v_threshold                     soft (v_reset None; v_reset counts as 0 above)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from runtime.errors import PlifError

Shape = tuple[int, ...]

# What each kind of node must carry: (attributes, parameters, optional parameters). Add a kind of node here, then teach it
# to plif_export/interpret.py (the golden model) and plif_export/writers/emit.py (ONNX).
OPS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "Conv": (("stride", "padding", "groups"), ("weight",), ("bias",)),
    "Linear": ((), ("weight",), ("bias",)),
    "BatchNorm": (("eps",), ("weight", "bias", "mean", "var"), ()),
    "Affine": ((), ("scale", "shift"), ()),
    "Neuron": (("kind", "layer", "v_threshold", "v_reset", "decay_input", "charge"), (), ("alpha",)),
    "MaxPool": (("kernel", "stride"), (), ()),
    "AvgPool": (("kernel", "stride"), (), ()),
    "Flatten": ((), (), ()),
    "Dropout": (("p",), (), ()),
    "Vote": (("voters",), (), ()),
}


@dataclass(frozen=True, eq=False)
class Node:
    """One operation. `inputs` name other nodes or the graph's input; `shape` is the output's, without the batch axis."""

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: Shape
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise PlifError(f"layer {self.name}: operation '{self.op}' is not supported; supported: {', '.join(OPS)}")
        attrs, params, optional = OPS[self.op]
        missing = [key for key in attrs if key not in self.attrs] + [key for key in params if key not in self.params]
        unknown = [key for key in self.params if key not in params + optional]
        if missing or unknown:
            raise PlifError(
                f"layer {self.name} ({self.op}): missing {missing or 'nothing'}, unexpected {unknown or 'nothing'}"
            )

    @property
    def layer(self) -> str:
        return str(self.attrs["layer"])

    def with_(self, **changes: Any) -> Node:
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which every node follows its inputs; `input` is the name of the one input, `output` a node.

    hoisted  names of nodes that see only a static image, so that their value is the same at every time-step
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    output: str
    input: str = "x"
    hoisted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        known = {self.input}
        for node in self.nodes:
            strangers = [name for name in node.inputs if name not in known]
            if strangers or node.name in known:
                problem = f"reads {strangers} before it is made" if strangers else "has a name that is taken"
                raise PlifError(f"graph: layer {node.name} {problem}")
            known.add(node.name)
        if self.output not in known or not self.nodes:
            raise PlifError(f"graph: its output '{self.output}' is not one of its layers")
        if not self.neurons:
            raise PlifError("graph: no spiking neuron in it; a network without state needs no plif")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    @property
    def neurons(self) -> list[Node]:
        return [node for node in self.nodes if node.op == "Neuron"]

    def consumers(self, name: str) -> list[Node]:
        return [node for node in self.nodes if name in node.inputs]

    def rewrite(self, changed: Mapping[str, Node], dropped: frozenset[str] | set[str] = frozenset()) -> Graph:
        """The graph with some nodes replaced and some dropped; whoever read a dropped node reads its input instead."""
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

    def record(self) -> dict[str, Any]:
        """The graph as JSON for a card: everything but the weights, which are named `<node>.<parameter>`."""
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


# --- names of tensors in artifacts --------------------------------------------------------------------------------


def state_in(layer: str) -> str:
    return f"v.{layer}"


def state_out(layer: str) -> str:
    return f"v.{layer}.next"


def spikes(layer: str) -> str:
    """The spikes of a layer as float32 {0, 1}: [B, ...] in the step form, [T * B, ...] in the unrolled form."""
    return f"{layer}.s"


def initial_v(neuron: Node) -> float:
    """Where a membrane starts: v_reset, and 0 with a soft reset."""
    v_reset = neuron.attrs["v_reset"]
    return 0.0 if v_reset is None else float(v_reset)


# --- what cards say about a network -------------------------------------------------------------------------------


def state_record(layer: str, shape: Shape, v_reset: float | None) -> dict[str, Any]:
    """A layer's entry in the card's `states`."""
    return {
        "name": state_in(layer),
        "input": state_in(layer),
        "output": state_out(layer),
        "shape": list(shape),
        "dtype": "float32",
        "initial": 0.0 if v_reset is None else float(v_reset),
        "layer": layer,
    }


def output_record(op: str, voters: int) -> dict[str, Any]:
    """The card's `output`: what y is, by the kind of the last node."""
    kind = {"Vote": "votes", "Neuron": "spikes"}.get(op, "currents")
    return {"kind": kind, "voters": voters if op == "Vote" else 1}
