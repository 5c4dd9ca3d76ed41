"""The SNN graph: what a spiking network is, once it is no longer a PyTorch module and not yet a file.

A small directed acyclic graph of named nodes with NumPy weights. Readers make it, passes rewrite it, writers and the
interpreter walk it, and every artifact carries it in its card (layers, attributes, initializer names), so that no engine
has to guess what a run of ONNX primitives once was.

One neuron layer of our own kinds, with alpha = 1/tau (reference: Fang et al. 2021, eq. 2-6; SpikingJelly 2.0 for
decay_input=False); the kinds of other libraries stand beside it in runtime/model/neurons.py, each with its own equation:

    charge exact    h = v + (x - (v - v_reset)) * alpha         decay_input true
                    h = v - (v - v_reset) * alpha + x           decay_input false
                    h = v + x                                   IF
    charge folded   h = v * (1 - alpha) + x'                    x' carries alpha and alpha * v_reset in its weights
    fire            s = h >= v_threshold
    reset           v = v_reset where s else h                  hard
                    v = h - s * v_threshold                     soft (v_reset None; v_reset counts as 0 above)

Precision of a Conv or Linear is told by its weight (passes quantize_weights and cast_half of plif_export make the last two):

    float32                    x = W s + b
    float16                    x = float32(W s) + b             W s summed in float32
    int8, with "scale" [O]     x = float32(W k) * scale + b     W k summed in int32, the real weight is W * scale
                               k = s, whole counts; with the attribute "area" (after average pooling) the input is k / area
                               and x = float32(W k) * (scale * float32(1 / area)) + b

Bias, scale, membranes and all that neurons do are float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.model.neurons import equation_of

Shape = tuple[int, ...]

# What each kind of node must carry: (attributes, parameters, optional parameters). Add a kind of node here, then teach it
# to plif_export/proof/interpret.py (the golden model) and plif_export/writers/emit.py (ONNX).
OPS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # 1-d or 2-d by its weight; may have "dilation". With a scale its weight is int8 and it reads whole counts (see Precision)
    "Conv": (("stride", "padding", "groups"), ("weight",), ("bias", "scale")),
    "Linear": ((), ("weight",), ("bias", "scale")),
    "BatchNorm": (("eps",), ("weight", "bias", "mean", "var"), ()),
    "Affine": ((), ("scale", "shift"), ()),
    "Neuron": (("kind", "layer", "v_threshold", "v_reset"), (), ()),  # and what its equation asks for
    "MaxPool": (("kernel", "stride"), (), ()),  # may have "padding"
    "AvgPool": (("kernel", "stride"), (), ()),  # may have "padding", whose zeros count
    "GlobalAvgPool": ((), (), ()),
    "Add": ((), (), ()),  # two inputs or more, of one shape
    "Mul": ((), (), ()),  # likewise
    "Concat": (("axis",), (), ()),  # the axis counts the batch
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
        if self.op == "Neuron" and "kind" in self.attrs:
            own = equation_of(self.attrs["kind"])
            attrs, params, optional = attrs + own.attrs, params + own.params, optional + own.optional
        missing = [key for key in attrs if key not in self.attrs] + [key for key in params if key not in self.params]
        unknown = [key for key in self.params if key not in params + optional]
        if missing or unknown:
            raise PlifError(
                f"layer {self.name} ({self.op}): missing {missing or 'nothing'}, unexpected {unknown or 'nothing'}"
            )

    @property
    def layer(self) -> str:
        return str(self.attrs["layer"])

    @property
    def initial(self) -> dict[str, float]:
        """A neuron's state variables and where each starts: {"v": v_reset} for our own kinds."""
        return equation_of(self.attrs["kind"]).initial(self.attrs)

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

    def feeds_only(self, name: str, reader: str) -> bool:
        """Whether nothing but `reader` sees the value, the outside included: then it may be rescaled for it."""
        return name != self.output and [node.name for node in self.consumers(name)] == [reader]

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


def state_in(layer: str, variable: str = "v") -> str:
    return f"{variable}.{layer}"


def state_out(layer: str, variable: str = "v") -> str:
    return f"{variable}.{layer}.next"


def state_key(layer: str, variable: str = "v") -> str:
    """Its key in a state {key: array}: the layer's name for the membrane, i.conv1 for a further variable i."""
    return layer if variable == "v" else f"{variable}.{layer}"


def variable_of(state: Mapping[str, Any]) -> str:
    """The state variable of a card's state record: "v" for the membrane, "i" for a current, ...

    A card from before there was this key says it in the name alone, which is <variable>.<layer>.
    """
    return str(state["variable"] if "variable" in state else state["name"].partition(".")[0])


def key_of(state: Mapping[str, Any]) -> str:
    """The key of a card's state record in a state {key: array}."""
    return state_key(state["layer"], variable_of(state))


def spikes(layer: str) -> str:
    """The spikes of a layer as float32 {0, 1}: [B, ...] in the step form, [T * B, ...] in the unrolled form."""
    return f"{layer}.s"


def initial_v(neuron: Node) -> float:
    """Where a membrane starts: for our own kinds v_reset, and 0 with a soft reset."""
    return neuron.initial["v"]


def spatial(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """A kernel, stride, padding or dilation as one number per spatial axis; a single number holds for all."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


# --- what cards say about a network -------------------------------------------------------------------------------


def state_record(layer: str, shape: Shape, initial: float | None, variable: str = "v") -> dict[str, Any]:
    """The entry in the card's `states` of one state variable of a layer; initial None (soft reset) is 0."""
    return {
        "name": state_in(layer, variable),
        "input": state_in(layer, variable),
        "output": state_out(layer, variable),
        "shape": list(shape),
        "dtype": "float32",
        "initial": 0.0 if initial is None else float(initial),
        "layer": layer,
        "variable": variable,
    }


def output_record(op: str, voters: int) -> dict[str, Any]:
    """The card's `output`: what y is, by the kind of the last node."""
    kind = {"Vote": "votes", "Neuron": "spikes"}.get(op, "currents")
    return {"kind": kind, "voters": voters if op == "Vote" else 1}
