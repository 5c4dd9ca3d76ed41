"""The compiler: the card's graph -> the list of operations of the native kernels (runtime/native/engine/event.h).

Values between layers are either spikes, packed as bits, or floats; both keep the channels of a pixel together. A
convolution or linear layer reads *active lists* (its nonzero inputs), made once for all its readers. A neuron that
alone reads a convolution is fused with it; everything else is an operation of its own, right for any order of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card
from runtime.core.model.graph import Node, output_kind
from runtime.core.model.neurons import EQUATIONS
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.operation import Counts
from runtime.core.model.records import NodeRecord, require_integer, to_map_shape
from runtime.engines.event_program.builder import Fields
from runtime.engines.event_program.conv import MOST_EXACT, compile_convolution, read_weight
from runtime.engines.event_program.forms import Forms
from runtime.engines.event_program.layout import LayerOutput, Layout, Shape3, read_yx
from runtime.engines.event_program.neurons import kernel_fields, program_fields
from runtime.engines.event_program.tensors import Tensor, Tensors
from runtime.engines.event_program.views import View, Views, map_view
from runtime.native import FROM_FLOATS, FROM_SPIKES, FROM_X


class Compiler(Views):
    """A compiler of a network's graph into a program of the event engine.

    rates: with an operation behind each neuron that counts its spikes; for the other arguments see Builder.
    """

    def __init__(
        self,
        card: Card,
        weights: Mapping[str, np.ndarray],
        context: str,
        rates: bool,
        threads: int,
        path: str,
        forms: Forms | None = None,
    ) -> None:
        super().__init__(weights, context, threads, path, forms)
        self.card, self.rates = card, rates
        self.values: dict[str, LayerOutput] = {}
        self.waiting: dict[str, NodeRecord] = {}  # convolutions whose neuron is still to come
        self.states = {(state["layer"], state["variable"]): i for i, state in enumerate(card["states"])}
        self.nodes: list[NodeRecord] = card["graph"]["nodes"]
        self.shapes: dict[str, tuple[int, ...]] = {}  # as the card says them
        self.constants: dict[str, np.ndarray] = {}
        self.observed = {node["attrs"]["layer"] for node in self.nodes if node["op"] == "State"}

    def compile(self) -> Layout:
        graph = self.card["graph"]
        for node in self.nodes:
            if (foreign := find_unsupported(node)) is not None:
                raise self.refuse(node, f"{foreign} is not in this engine")
        self.shapes[graph["input"]] = tuple(self.card["input"]["shape"])
        self.values[graph["input"]] = LayerOutput(FROM_X, to_map_shape(self.card["input"]["shape"]))
        for node in self.nodes:
            self.read_before(node)
        for node in self.nodes:
            strangers = [name for name in node["inputs"] if name not in self.shapes]
            if strangers or (not node["inputs"] and node["op"] not in ("State", "Constant")):
                raise self.damaged(f"layer {node['name']} reads {strangers or 'nothing'}")
            self.shapes[node["name"]] = tuple(node["shape"])
            value = MAKERS[node["op"]](self, node) if self.has_kernel(node) else self.run_meaning(node)
            if value is not None:
                counts = value.counts or self.counts(node)
                self.values[node["name"]] = replace(value, counts=counts)
                if not value.flat and value.map != to_map_shape(node["shape"]):
                    raise self.damaged(f"layer {node['name']} gives {list(value.map)}, its card says {node['shape']}")
        self.finish(graph["output"])
        return self.out

    def consumers(self, name: str) -> list[NodeRecord]:
        return [node for node in self.nodes if name in node["inputs"]]

    def input_value(self, node: NodeRecord, index: int = 0) -> LayerOutput:
        return self.values[node["inputs"][index]]

    def conv(self, node: NodeRecord) -> LayerOutput | None:
        readers = self.consumers(node["name"])
        first = len(readers) == 1 and readers[0]["op"] == "Neuron" and readers[0]["inputs"].index(node["name"]) == 0
        alone = first and readers[0]["inputs"].count(node["name"]) == 1
        if alone and node["name"] != self.card["graph"]["output"]:
            self.waiting[node["name"]] = node  # the neuron emits both
            return None
        source, fields, _ = compile_convolution(self, node, self.input_value(node))
        target = self.reserve_floats(to_map_shape(node["shape"]))
        self.emit("CONV", source, target, **fields)
        return target

    def neuron(self, node: NodeRecord) -> LayerOutput:
        before = self.waiting.pop(node["inputs"][0], None)
        if before is not None:
            source, fields, tile = compile_convolution(self, before, self.input_value(before))
            return self.emit_neuron(node, "CONV", source, to_map_shape(before["shape"]), fields, tile)
        source = self.as_floats(self.input_value(node))
        return self.emit_neuron(node, "NEURON", source, source.map, {}, 0)

    def emit_neuron(
        self, node: NodeRecord, kind: str, source: LayerOutput, current: Shape3, common: Fields, tile: int
    ) -> LayerOutput:
        """Emit the operation of a neuron layer, alone or behind a convolution with a `tile` of outputs.

        source: the input of the operation; current: the map of its currents.
        """
        layer, shape = node["attrs"]["layer"], to_map_shape(node["shape"])
        states = {variable: i for (of, variable), i in self.states.items() if of == layer}
        if not states or any(to_map_shape(self.card["states"][i]["shape"]) != shape for i in states.values()):
            raise self.damaged(f"layer {node['name']}: no state of shape {node['shape']}")
        if current != shape:
            raise self.damaged(f"layer {node['name']} reads {list(current)}, its card says {node['shape']}")
        if layer in self.out.fired:
            raise self.damaged(f"layer {node['name']} and another have the one state of {layer}")
        fields = kernel_fields(self, node, shape[0])
        if fields is None:
            inputs = [self.as_floats(self.input_value(node, i)) for i in range(1, len(node["inputs"]))]
            fields = program_fields(self, node, shape, states, inputs, tile)
        target = (
            self.reserve_spikes(shape)
            if fields.get("gives", FROM_SPIKES) == FROM_SPIKES
            else self.reserve_floats(shape)
        )
        eager = int(layer in self.observed)
        self.emit(kind, source, target, state=states["v"], eager=eager, **fields, **common)
        self.out.fired.add(layer)
        if self.rates and output_kind(node["attrs"]) != "membrane":
            self.emit("RATE", target, None, state=states["v"])
        return target

    def read_before(self, node: NodeRecord) -> None:
        """Read a neuron state as it was before the step.

        It is read at the beginning, since neurons change their states in place.
        """
        if node["op"] == "State" and node["attrs"]["when"] == "before":
            self.values[node["name"]] = self.read_state(node, "BEFORE")

    def state(self, node: NodeRecord) -> LayerOutput:
        """Read a neuron state after the step, or return the copy from before it that `read_before` made."""
        if node["name"] not in self.values:
            if node["attrs"]["when"] != "after" or node["attrs"]["layer"] not in self.out.fired:
                raise self.damaged(f"layer {node['name']} reads a state {node['attrs']['when']} its step")
            return self.read_state(node, "AFTER")
        return self.values[node["name"]]

    def read_state(self, node: NodeRecord, kind: str) -> LayerOutput:
        layer, variable = node["attrs"]["layer"], node["attrs"]["variable"]
        shape, state = to_map_shape(node["shape"]), self.states.get((layer, variable))
        if state is None or to_map_shape(self.card["states"][state]["shape"]) != shape:
            raise self.damaged(f"layer {node['name']}: no state {variable} of {layer}, of shape {node['shape']}")
        target = self.reserve_floats(shape)
        self.emit(kind, target, target, state=state)
        return target

    def pool(self, node: NodeRecord) -> LayerOutput:
        source, a = self.input_value(node), node["attrs"]
        kernel, stride, pad, dilation = (
            read_yx(node, key, default)
            for key, default in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1))
        )
        c, *sizes = source.map
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        spans = [n + 2 * p - r for n, p, r in zip(sizes, pad, reach, strict=True)]
        if min(*kernel, *stride, *dilation) < 1 or min(spans) < 0 or source.flat:
            raise self.damaged(
                f"layer {node['name']}: kernel {a['kernel']}, stride {a['stride']} on a map {list(source.map)}"
            )
        shape = (c, spans[0] // stride[0] + 1, spans[1] // stride[1] + 1)
        if node["op"] == "MaxPool" and source.kind == FROM_SPIKES:
            target, kind = self.reserve_spikes(shape), "SPIKE_POOL"
        else:
            kind = "MAX_POOL" if node["op"] == "MaxPool" else "AVG_POOL"
            source = self.as_floats(source)
            target = self.reserve_floats(shape)
        (kh, kw), (stride_y, stride_x), (pad_y, pad_x) = kernel, stride, pad
        fields = {"stride_y": stride_y, "stride": stride_x, "pad_y": pad_y, "pad": pad_x}
        self.emit(kind, source, target, kh=kh, kw=kw, dilation_y=dilation[0], dilation=dilation[1], **fields)
        return target

    def affine(self, node: NodeRecord) -> LayerOutput:
        source = self.as_floats(self.input_value(node))
        target = self.reserve_floats(source.map)
        scale, shift = (self.per_lane(node, key, source.map[0]) for key in ("scale", "shift"))
        self.emit("AFFINE", source, target, weight=scale, bias=shift)
        return target

    def add(self, node: NodeRecord) -> LayerOutput:
        parts = [self.as_floats(self.input_value(node, i)) for i in range(len(node["inputs"]))]
        if len({part.map for part in parts}) != 1:
            raise self.refuse(node, f"adds maps of different shapes {[list(part.map) for part in parts]}")
        total = parts[0]
        for part in parts[1:]:
            target = self.reserve_floats(total.map)
            self.emit("ADD", total, target, in2=part.offset)
            total = target
        return total

    def flatten(self, node: NodeRecord) -> LayerOutput:
        source = self.input_value(node)
        size = math.prod(source.map)
        if list(node["shape"]) != [size]:
            raise self.damaged(f"layer {node['name']} gives [{size}], its card says {node['shape']}")
        flat = replace(source, flat=source.map[1:] != (1, 1))
        if all(reader["op"] == "Linear" for reader in self.consumers(node["name"])):
            return flat if self.card["graph"]["output"] != node["name"] else self.as_floats(flat)
        return self.as_floats(flat)

    def vote(self, node: NodeRecord) -> LayerOutput:
        source = self.input_value(node)
        if source.kind == FROM_X or source.flat:  # the kernel reads spikes, or floats in the order of their shape
            source = self.as_floats(source)
        voters, classes = require_integer(node["attrs"]["voters"]), require_integer(node["shape"][0])
        if voters < 1 or source.map != (classes * voters, 1, 1):
            raise self.damaged(f"layer {node['name']}: {voters} voters for {classes} classes, from {list(source.map)}")
        target = LayerOutput(FROM_FLOATS, (classes, 1, 1), -1)  # the session's y
        if self.card["graph"]["output"] != node["name"]:
            target = self.reserve_floats((classes, 1, 1))
        self.emit("VOTE", source, target, voters=voters, items=1)
        return target

    def dropout(self, node: NodeRecord) -> LayerOutput:
        return self.input_value(node)  # dropout does nothing after training

    # --- what has no kernel of its own ------------------------------------------------------------------------------------

    def has_kernel(self, node: NodeRecord) -> bool:
        """Return whether one native kernel computes all of a node; else its meaning is run (tensors.py)."""
        op, shape = node["op"], self.shapes[node["name"]]
        shapes = [self.shapes[name] for name in node["inputs"]]
        if op not in MAKERS or self.constants.keys() & set(node["inputs"]):
            return False
        if op in ("Conv", "MaxPool", "AvgPool"):
            return len(shape) in (2, 3)
        if op == "Affine":
            return all(self.tensor(node, key)[1].size != math.prod(shape[1:]) * shape[0] for key in node["params"])
        return len(shape) == 1 if op == "Linear" else op != "Add" or set(shapes) == {shape}

    def constant(self, node: NodeRecord) -> None:
        value = self.parameter(node, "value")
        self.constants[node["name"]] = value.reshape(self.shapes[node["name"]])  # the file has one row of it

    def run_meaning(self, node: NodeRecord) -> LayerOutput:
        shape, operation, m = self.shapes[node["name"]], OPERATIONS[node["op"]], Tensors(self, node)
        assert operation.meaning is not None
        inputs = [self._operand(m, name) for name in node["inputs"]]
        about = self.graph_node(node)
        if "scale" in about.params and "weight" in about.params:
            self.check_exact(node, about.params["weight"])
        value = operation.meaning(m, about, about.params, *inputs)
        if value.shape != shape:
            raise self.damaged(f"layer {node['name']} gives {list(value.shape)}, its card says {list(shape)}")
        view = m.view(value)
        if view.constant or not self.is_map(view):
            whole_map = self.reserve_map(shape)
            m.write(value, whole_map)
            view = whole_map
        return LayerOutput(FROM_FLOATS, to_map_shape(shape), 4 * view.place)

    def graph_node(self, node: NodeRecord) -> Node:
        """Create the graph Node that a card's node record describes, with its arrays."""
        params = {key: self.tensor(node, key)[1] for key in node["params"]}
        if "weight" in params and node["op"] in ("Conv", "Linear"):
            params["weight"] = read_weight(self, node)[0]
        try:
            return Node(node["name"], node["op"], tuple(node["inputs"]), tuple(node["shape"]), node["attrs"], params)
        except PlifError as error:
            raise self.damaged(str(error)) from None

    def counts(self, node: NodeRecord) -> Counts | None:
        """Return the range (Counts) of a node's whole-number output; None unless those of its inputs are known."""
        inputs = [self.values[name].counts for name in node["inputs"] if name in self.values]
        known_counts = [input_counts for input_counts in inputs if input_counts is not None]
        if not known_counts or len(known_counts) < len(node["inputs"]):
            return None
        return OPERATIONS[node["op"]].counts(
            self.graph_node(node), [self.shapes[name] for name in node["inputs"]], known_counts
        )

    def _operand(self, m: Tensors, name: str) -> Tensor:
        if name in self.constants:
            return m.of(View(self.constants[name], 0, True))
        value, shape = self.values[name], self.shapes[name]
        floats = self.as_floats(replace(value, flat=False))
        if value.flat:  # a vector of what lies as a map
            return m.reshape(m.of(map_view(floats.offset, floats.map)), shape)
        return m.of(map_view(floats.offset, shape))

    def check_exact(self, node: NodeRecord, weight: np.ndarray) -> None:
        """Refuse int8 weights [O, I, ...] with float sums that are not exact (below 2^24)."""
        of = self.input_value(node).counts
        if of is None:
            raise self.refuse(node, "int8 weights on an input that is no count of spikes are not in this engine")
        if node["attrs"].get("area", 1) != of.area:
            raise self.damaged(f"layer {node['name']} reads counts over {of.area}, its card says another number")
        largest = int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1).max()) * of.most
        if largest > MOST_EXACT:
            raise self.refuse(node, f"its sums reach {largest}, which is past 2^24")

    def finish(self, name: str) -> None:
        if self.waiting:
            raise self.damaged(f"layer {next(iter(self.waiting))} feeds a neuron that is not in the graph")
        if idle := [layer for layer, _ in self.states if layer not in self.out.fired]:
            raise self.damaged(f"no layer has the state of {idle[0]}")
        if name not in self.values:
            raise self.damaged(f"its output '{name}' is not one of its layers")
        value = self.values[name]
        classes = len(self.card["classes"])
        if value.map != (classes, 1, 1):
            raise PlifError(
                f"{self.context}: its output is {list(value.map)} for {classes} classes; use --engine onnxruntime"
            )
        if value.offset >= 0:
            self.emit("OUTPUT", value, LayerOutput(FROM_FLOATS, value.map, -1), items=1)


MAKERS: dict[str, Callable[[Compiler, NodeRecord], LayerOutput | None]] = {
    "Conv": Compiler.conv,
    "Linear": Compiler.conv,
    "Neuron": Compiler.neuron,
    "State": Compiler.state,
    "MaxPool": Compiler.pool,
    "AvgPool": Compiler.pool,
    "Affine": Compiler.affine,
    "Add": Compiler.add,
    "Flatten": Compiler.flatten,
    "Dropout": Compiler.dropout,
    "Vote": Compiler.vote,
    "Constant": Compiler.constant,
}


def find_unsupported(node: NodeRecord) -> str | None:
    """Return the text that says why the event engine does not support a node, or None."""
    op = node["op"]
    if op == "Neuron":
        kind = node["attrs"].get("kind")
        return None if kind in EQUATIONS else f"neuron kind {kind}"
    runs = op in MAKERS or (op in OPERATIONS and OPERATIONS[op].meaning is not None)
    return None if runs else f"operation {op}"
