"""One step of a module as the SNN graph: operations become layers (lower_calls.py), regions around states become neurons.

What comes out of the readout's value is the graph's output. Every problem is noted with its path, and reading goes on, so that
`plif check` can list all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from plif_export.core.readers.rules import REGISTER, Problem, Unsupported
from plif_export.readers.libraries.layers import LAYERS, known_as
from plif_export.readers.libraries.neurons import keeps_state
from plif_export.readers.module.body import StepProgram, StepState, static_value
from plif_export.readers.module.lower_calls import LOWER, RecordedCall
from plif_export.readers.module.neuron_program import IN_GRAPH, NeuronLayer, neuron_layer
from plif_export.readers.module.readout import Readout
from plif_export.readers.module.regions import Region, below, cyclic, neuron_path, regions_of
from plif_export.readers.module.runs.places import NOWHERE, CallPlaces
from plif_export.readers.tracing.elementwise import elementwise
from plif_export.readers.tracing.forms import Form
from plif_export.readers.tracing.nodes import Registered, TraceNode
from runtime.core.base.errors import PlifError
from runtime.core.model import graph as graphs
from runtime.core.model.graph import Graph, Shape
from runtime.core.model.ops.operation import GraphTensor, NewNode


@dataclass
class ModuleReading:
    """What was read of a module: its form, the program of a step, the readout, and the graph as far as there is one.
    entries   for each node of the graph, or problem, in order
    layers    {layer's name: its neurons}
    left      nodes that the module's own tensors are after a call, states that the next call goes on from: the tensor's name
    output    which of the tensors that forward returns is read
    not_proved  what could not be looked at, in short: from which step on
    places    where a run of the module makes the values of a step
    original  the module itself
    """

    form: Form
    program: StepProgram
    readout: Readout
    output: int = 0
    left: dict[TraceNode, str] = field(default_factory=dict)
    graph: Graph | None = None
    entries: list[graphs.Node | Problem] = field(default_factory=list)
    layers: dict[str, NeuronLayer] = field(default_factory=dict)
    not_proved: list[str] = field(default_factory=list)
    places: CallPlaces = NOWHERE
    original: nn.Module | None = None

    @property
    def neurons(self) -> dict[str, str]:
        """{path of a submodule: the layer of neurons in it}"""
        return {layer.region.path: name for name, layer in self.layers.items()}


class Lowering:
    """Makes the graph of one step. layers: {layer's name: NeuronLayer}; entries: for each node of the graph or problem."""

    def __init__(
        self, program: StepProgram, readout: Readout, module: nn.Module, shape: Shape, known: dict[TraceNode, Tensor]
    ) -> None:
        self.program, self.readout, self.known, self.shape = program, readout, known, shape
        self.modules = dict(module.named_modules())
        self.root = type(module).__name__
        self.neuron_paths = [path for path in self.modules if path and self.stateful(path)]
        self.nodes: list[graphs.Node] = []
        self.entries: list[graphs.Node | Problem] = []
        self.problems: list[Problem] = []
        self.tensors: dict[TraceNode, GraphTensor] = {}
        self.names = {"x", "y"}
        self.layers: dict[str, NeuronLayer] = {}
        self.tail = list(readout.tail) if readout.folded else []
        self.end = self.tail[-1] if self.tail else readout.value
        self.end_shape = self.end.shape[1:] if self.tail else readout.shape
        self.region_of: dict[TraceNode, Region] = {}
        self.owner: dict[TraceNode, tuple[Region, StepState]] = {}

    def graph(self) -> Graph | None:
        """The graph; None where there are problems."""
        try:
            regions = self._regions()
        except Unsupported as problem:
            self._note(problem, self.program.body[0])
            return None
        for region in regions:
            for s in region.states:
                self.owner[s.before] = region, s
            self.region_of |= dict.fromkeys(region.nodes, region)
        self.layer_of: dict[Region, NeuronLayer] = {}
        self.filled: set[Region] = set()
        output = self._shaped(self._tensor(self.end), self.end_shape, self.end)
        while unfilled := [r for r in self.layer_of if r not in self.filled]:  # read by a state before the step only
            region = unfilled[0]
            self.filled.add(region)
            try:
                self._fill(region)
            except Unsupported as problem:
                self._note(problem, (region.nodes or [region.states[0].after])[0])
        if self.problems:
            return None
        try:
            return Graph(self.shape, tuple(self._needed(output.node)), output.node)
        except PlifError as error:
            self._note(Unsupported(str(error), "see docs/other-libraries.md", "forward"), self.end)
            return None

    # --- regions ---------------------------------------------------------------------------------------------------------

    def stateful(self, path: str) -> bool:
        """Whether a path is that of a class of neurons, or of a layer with a memory."""
        module = self.modules.get(path)
        return module is not None and keeps_state(module)

    def _regions(self) -> list[Region]:
        for s in self.program.states:
            makes = next((p for p in self.neuron_paths if below(s.after.path, p)), None)
            for n in self.program.body:
                reads = next((p for p in self.neuron_paths if below(n.path, p)), None) if s.before in n.reads else None
                if makes is not None and reads is not None and makes != reads:
                    rule = f"step 1 of the module is not what its layers make, one after the other (first in {min(reads, makes)})"
                    raise Unsupported(rule, "it gives one neuron the state of another; keep each its own", "forward")
        regions = regions_of(self.program, [self.readout.value], self.stateful)
        return regions + self._without_state({n for r in regions for n in r.nodes})

    def _without_state(self, owned: set[TraceNode]) -> list[Region]:
        """Elementwise operations that the graph has only inside neurons (comparisons, round): neurons without memory."""
        found: list[Region] = []
        for n in (*self.program.body, *self.tail):
            layer = n.name in IN_GRAPH and all(r.dtype.is_floating_point for r in n.reads)
            same = n.name == "_to_copy" and n.reads[0].dtype == n.dtype
            if n in owned or not elementwise(n) or layer or same:
                continue
            joined = next((r for r in found if any(m in r.nodes for m in n.reads) and r.shape == n.shape[1:]), None)
            if joined is not None and not cyclic([*joined.nodes, n], self.program):
                joined.nodes.append(n)
            else:
                found.append(Region(neuron_path(n.path, self.stateful), [n], []))
        return found

    # --- tensors -----------------------------------------------------------------------------------------------------------

    def _tensor(self, node: TraceNode) -> GraphTensor:
        """What stands for a node that moves, in the graph."""
        if node in self.tensors:
            return self.tensors[node]
        if node is self.readout.reduced and node is not self.readout.value:
            found = self._tensor(self.readout.value)
        elif node is self.program.x or node.op == "x":
            found = GraphTensor("x", self.shape)
        elif node in self.owner:
            found = self._before(node)
        elif node in self.region_of:
            found = self._of_neuron(node)
        else:
            found = self._layer(node)
        self.tensors[node] = found
        return found

    def _layer(self, node: TraceNode) -> GraphTensor:
        for n in node.source.reads if node.name == "part" else node.reads:  # a tuple, such as split's, is no tensor
            if n.moves:
                self._tensor(n)  # in the order of forward
        try:
            if node.shape[:1] != (self.program.batch,) and node.name != "reshape":
                raise Unsupported("it mixes the batch with other axes", "keep the batch first, and every row by itself")
            made = self._registered(node, node.op.module) if isinstance(node.op, Registered) else self._lowered(node)
            return self._enter(made, node) if isinstance(made, NewNode) else made
        except (Unsupported, PlifError) as problem:
            if isinstance(problem, PlifError):
                problem = Unsupported(str(problem).partition(": ")[2], "use another layer")
            self._note(problem, node)
            return GraphTensor("x", node.shape[1:])

    def _lowered(self, node: TraceNode) -> NewNode | GraphTensor:
        if node.name not in LOWER:
            raise Unsupported(f"{node.name}() is not exported", f"use layers and functions of the list, or {REGISTER}")
        return LOWER[node.name](RecordedCall(node, self._tensor, self._value, self._shaped))

    def _registered(self, node: TraceNode, module: nn.Module) -> NewNode | GraphTensor:
        reader, x = known_as(module, LAYERS), self._tensor(node.source)
        assert reader is not None
        op, attrs, params = reader(module, x.shape, node.shape[1:])
        return x if op == "Identity" else NewNode(op, (x,), attrs, params)

    def _value(self, node: TraceNode) -> np.ndarray:
        return static_value(node, self.known).detach().numpy().astype(np.float32, copy=False)

    def _before(self, node: TraceNode) -> GraphTensor:
        """A state before the step, read by something else than its own neurons."""
        region, state = self.owner[node]
        layer, name = self._neuron(region)
        variable = next(v for v, s in layer.variables.items() if s is state)
        made = NewNode("State", (), {"layer": name, "variable": variable, "when": "before"})
        return self._enter(made, node, f"{name}_{variable}_before")

    def _of_neuron(self, node: TraceNode) -> GraphTensor:
        region = self.region_of[node]
        try:
            layer, name = self._neuron(region)
            self._fill(region)
        except Unsupported as problem:
            self._note(problem, node)
            return GraphTensor("x", node.shape[1:])
        if node is layer.spikes:
            return self.tensors[layer.spikes]
        variable = next((v for v, n in layer.after.items() if n is node), None)
        if variable is None:
            return self._layer(node)
        made = NewNode("State", (self.tensors[layer.spikes],), {"layer": name, "variable": variable, "when": "after"})
        return self._enter(made, node, f"{name}_{variable}")

    def _neuron(self, region: Region) -> tuple[NeuronLayer, str]:
        """The layer of a region and its name, before its inputs are there."""
        if region not in self.layer_of:
            inside = set(region.nodes)
            read = [r for n in (*self.program.body, *self.tail) if n not in inside for r in n.reads if r in inside]
            read += [self.readout.value] if self.readout.value in inside else []
            read += [s.after for s in self.program.states if s.after in inside and s not in region.states]
            if self.program.states and not region.nodes:
                read = [s.after for s in region.states]
            module = self.modules.get(region.path) if region.path or self.stateful("") else None
            layer = neuron_layer(region, self.program, read, self.known, module)
            self.layer_of[region] = layer
            name = self._name(region.path.replace(".", "_") or "neurons")
            self.layers[name] = layer
        layer = self.layer_of[region]
        return layer, next(name for name, each in self.layers.items() if each is layer)

    def _fill(self, region: Region) -> None:
        """Enters the node of a region's layer."""
        layer, name = self._neuron(region)
        self.filled.add(region)
        if layer.spikes in self.tensors and self.tensors[layer.spikes].node == name:
            return
        inputs = [self._shaped(self._tensor(n), n.shape[1:], n) for n in layer.inputs]
        kind, attrs, params = layer.content
        made = NewNode("Neuron", tuple(inputs), {"kind": kind, "layer": name, **attrs}, params, region.shape)
        self.tensors[layer.spikes] = self._enter(made, layer.spikes, name)

    def _shaped(self, x: GraphTensor, shape: Shape, node: TraceNode) -> GraphTensor:
        """A tensor of the graph in another shape."""
        if x.shape == shape:
            return x
        return self._enter(NewNode("Flatten" if len(shape) == 1 else "Reshape", (x,), shape=shape), node)

    def _enter(self, made: NewNode, node: TraceNode, name: str | None = None) -> GraphTensor:
        shape = node.shape[1:] if made.shape is None else made.shape
        if name is None:
            name = self._name(self._base_name(made, node))
        elif made.op != "Neuron":
            name = self._name(name)
        inputs = [self._enter(x, node, f"{name}_{x.op.lower()}") if isinstance(x, NewNode) else x for x in made.inputs]
        entered = graphs.Node(name, made.op, tuple(x.node for x in inputs), shape, made.attrs, made.params)
        self.nodes.append(entered)
        self.entries.append(entered)
        return GraphTensor(name, shape)

    def _base_name(self, made: NewNode, node: TraceNode) -> str:
        """A layer's path where a submodule is that layer, what was called otherwise."""
        module = self.modules.get(node.path)
        if node.path and module is not None and not any(True for _ in module.children()):
            return node.path.replace(".", "_")
        return made.op.lower() if node.name in ("reshape", "part") else node.name.strip("_")

    def _name(self, base: str) -> str:
        name, count = base, 1
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        return name

    def _needed(self, output: str) -> Iterator[graphs.Node]:
        """The nodes that the output depends on, by states too."""
        wanted, before = {output}, set[str]()
        neurons = {n.attrs["layer"]: n.name for n in self.nodes if n.op == "Neuron"}
        while wanted != before:
            before = set(wanted)
            for node in reversed(self.nodes):
                if node.name in wanted:
                    wanted.update(node.inputs)
                    if node.op == "State":
                        wanted.add(neurons[node.attrs["layer"]])
        return (node for node in self.nodes if node.name in wanted)

    def _note(self, problem: Unsupported, node: TraceNode) -> None:
        path = node.path if problem.path is None else problem.path
        module = self.modules.get(path)
        leaf = path and module is not None and not any(True for _ in module.children())
        kind = type(module).__name__ if leaf or problem.path else f"{node.name}()"
        if problem.path in ("", "forward"):
            kind = self.root
        found = Problem(path or "forward", kind, problem.rule, problem.advice)
        if found not in self.problems:
            self.problems.append(found)
            self.entries.append(found)
