"""The conversion of one step of a module into the SNN graph: layers from operations, neurons from states.

lower_calls.py converts the operations. The readout's value is the graph's output. Every problem is recorded with its
path, and the conversion goes on, so that `plif check` can list all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import Tensor, nn

from plif_export.core.readers.rules import REGISTER, Problem, Unsupported
from plif_export.readers.libraries.layers import LAYERS, find_entry
from plif_export.readers.libraries.neurons import keeps_state
from plif_export.readers.module.lower_calls import LOWER, RecordedCall
from plif_export.readers.step_program.body import StepProgram, StepState, get_constant
from plif_export.readers.step_program.elementwise import is_elementwise
from plif_export.readers.step_program.neuron_program import GRAPH_LAYERS, NeuronLayer, build_neuron_layer
from plif_export.readers.step_program.readout import Readout
from plif_export.readers.step_program.regions import NeuronRegion, find_neuron_path, find_regions, has_cycle, is_inside
from plif_export.readers.tracing.nodes import LayerOp, TraceNode
from runtime.core.base.errors import PlifError
from runtime.core.model import graph as graphs
from runtime.core.model.graph import Graph, Shape
from runtime.core.model.ops.operation import GraphTensor, NewNode

FRAMES = 4  # of Python for each operation: a layer is converted after all that it reads, down to the input


@contextmanager
def allow_depth(frames: int) -> Iterator[None]:
    """Let functions call each other by this many frames deeper than Python allows."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class GraphLowering:
    """The conversion of the recorded PyTorch operations of a time-step to an SNN graph of layers and neurons.

    layers: {layer's name: NeuronLayer}. entries: each node of the graph, or problem.
    """

    def __init__(
        self,
        program: StepProgram,
        readout: Readout,
        module: nn.Module,
        shape: Shape,
        constants: dict[TraceNode, Tensor],
    ) -> None:
        self.program, self.readout, self.constants, self.shape = program, readout, constants, shape
        self.modules = dict(module.named_modules())
        self.root = type(module).__name__
        self.neuron_paths = [path for path in self.modules if path and self.is_stateful(path)]
        self.nodes: list[graphs.Node] = []
        self.entries: list[graphs.Node | Problem] = []
        self.problems: list[Problem] = []
        self.tensors: dict[TraceNode, GraphTensor] = {}
        self.names = {"x", "y"}
        self.layers: dict[str, NeuronLayer] = {}
        self.tail = list(readout.tail) if readout.folded else []
        self.end = self.tail[-1] if self.tail else readout.value
        self.end_shape = self.end.shape[1:] if self.tail else readout.shape
        self.region_of: dict[TraceNode, NeuronRegion] = {}
        self.owner: dict[TraceNode, tuple[NeuronRegion, StepState]] = {}

    def build_graph(self) -> Graph | None:
        """Build the SNN graph of a module's recorded time-step, or return None if an operation cannot be exported."""
        try:
            regions = self._find_regions()
        except Unsupported as problem:
            self._add_problem(problem, self.program.body[0])
            return None
        for region in regions:
            for s in region.states:
                self.owner[s.before] = region, s
            self.region_of |= dict.fromkeys(region.nodes, region)
        self.layer_of: dict[NeuronRegion, NeuronLayer] = {}
        self.filled: set[NeuronRegion] = set()
        with allow_depth(FRAMES * len(self.program.body)):
            output = self._reshape(self._lower_node(self.end), self.end_shape, self.end)
        while unfilled := [
            r for r in self.layer_of if r not in self.filled
        ]:  # layers that are only read through a state before the step
            region = unfilled[0]
            self.filled.add(region)
            try:
                self._add_neuron(region)
            except Unsupported as problem:
                self._add_problem(problem, (region.nodes or [region.states[0].after])[0])
        if self.problems:
            return None
        try:
            return Graph(self.shape, tuple(self._find_used_nodes(output.node)), output.node)
        except PlifError as error:
            self._add_problem(Unsupported(str(error), "see docs/other-libraries.md", "forward"), self.end)
            return None

    # --- regions ---------------------------------------------------------------------------------------------------------

    def is_stateful(self, path: str) -> bool:
        """Return whether the submodule at a path is a neuron, or another layer that keeps a state between steps."""
        module = self.modules.get(path)
        return module is not None and keeps_state(module)

    def _find_regions(self) -> list[NeuronRegion]:
        for s in self.program.states:
            makes = next((p for p in self.neuron_paths if is_inside(s.after.path, p)), None)
            for n in self.program.body:
                reads = (
                    next((p for p in self.neuron_paths if is_inside(n.path, p)), None) if s.before in n.reads else None
                )
                if makes is not None and reads is not None and makes != reads:
                    rule = f"step 1 of the module is not what its layers make, one after the other (first in {min(reads, makes)})"
                    raise Unsupported(rule, "it gives one neuron the state of another; keep each its own", "forward")
        regions = find_regions(self.program, [self.readout.value], self.is_stateful)
        return regions + self._find_stateless(regions)

    def _find_stateless(self, stateful: list[NeuronRegion]) -> list[NeuronRegion]:
        """Make neurons without state of operations, such as comparisons, that the graph allows only inside neurons.

        These are comparisons and rounding, for example.
        """
        regions: list[NeuronRegion] = []
        owned = {n for r in stateful for n in r.nodes}
        for n in (*self.program.body, *self.tail):
            layer = n.name in GRAPH_LAYERS and all(r.dtype.is_floating_point for r in n.reads)
            is_no_op = n.name == "_to_copy" and n.reads[0].dtype == n.dtype
            if n in owned or not is_elementwise(n) or layer or is_no_op:
                continue
            joined = next((r for r in regions if any(m in r.nodes for m in n.reads) and r.shape == n.shape[1:]), None)
            others = (*stateful, *regions)
            if joined is not None and not has_cycle([*joined.nodes, n], self.program, others):
                joined.nodes.append(n)
            else:
                regions.append(NeuronRegion(find_neuron_path(n.path, self.is_stateful), [n], []))
        return regions

    # --- tensors -----------------------------------------------------------------------------------------------------------

    def _lower_node(self, node: TraceNode) -> GraphTensor:
        """Convert a recorded PyTorch operation, and all that it reads, to graph layers; return its graph tensor."""
        if node in self.tensors:
            return self.tensors[node]
        if node is self.readout.reduced and node is not self.readout.value:
            tensor = self._lower_node(self.readout.value)
        elif node is self.program.x or node.op == "x":
            tensor = GraphTensor("x", self.shape)
        elif node in self.owner:
            tensor = self._lower_state(node)
        elif node in self.region_of:
            tensor = self._lower_neuron(node)
        else:
            tensor = self._lower_layer(node)
        self.tensors[node] = tensor
        return tensor

    def _lower_layer(self, node: TraceNode) -> GraphTensor:
        for n in (
            node.source.reads if node.name == "part" else node.reads
        ):  # a tuple, such as the result of split, is no tensor
            if n.moves:
                self._lower_node(n)  # in the order of forward
        try:
            if node.shape[:1] != (self.program.batch,) and node.name != "reshape":
                raise Unsupported("it mixes the batch with other axes", "keep the batch first, and every row by itself")
            new_node = (
                self._lower_registered(node, node.op.module) if isinstance(node.op, LayerOp) else self._lower_call(node)
            )
            return self._add_node(new_node, node) if isinstance(new_node, NewNode) else new_node
        except (Unsupported, PlifError) as problem:
            if isinstance(problem, PlifError):
                problem = Unsupported(str(problem).partition(": ")[2], "use another layer")
            self._add_problem(problem, node)
            return GraphTensor("x", node.shape[1:])

    def _lower_call(self, node: TraceNode) -> NewNode | GraphTensor:
        if node.name not in LOWER:
            raise Unsupported(f"{node.name}() is not exported", f"use layers and functions of the list, or {REGISTER}")
        return LOWER[node.name](RecordedCall(node, self._lower_node, self._constant_array, self._reshape))

    def _lower_registered(self, node: TraceNode, module: nn.Module) -> NewNode | GraphTensor:
        reader, x = find_entry(module, LAYERS), self._lower_node(node.source)
        assert reader is not None
        op, attrs, params = reader(module, x.shape, node.shape[1:])
        return x if op == "Identity" else NewNode(op, (x,), attrs, params)

    def _constant_array(self, node: TraceNode) -> np.ndarray:
        return get_constant(node, self.constants).detach().numpy().astype(np.float32, copy=False)

    def _lower_state(self, node: TraceNode) -> GraphTensor:
        """Add a graph node by which another layer reads a neuron's state as it was before the time-step."""
        region, state = self.owner[node]
        layer, name = self._find_layer(region)
        variable = next(v for v, s in layer.variables.items() if s is state)
        new_node = NewNode("State", (), {"layer": name, "variable": variable, "when": "before"})
        return self._add_node(new_node, node, f"{name}_{variable}_before")

    def _lower_neuron(self, node: TraceNode) -> GraphTensor:
        region = self.region_of[node]
        try:
            layer, name = self._find_layer(region)
            self._add_neuron(region)
        except Unsupported as problem:
            self._add_problem(problem, node)
            return GraphTensor("x", node.shape[1:])
        if node is layer.spikes:
            return self.tensors[layer.spikes]
        variable = next((v for v, n in layer.after.items() if n is node), None)
        if variable is None:
            return self._lower_layer(node)
        new_node = NewNode(
            "State", (self.tensors[layer.spikes],), {"layer": name, "variable": variable, "when": "after"}
        )
        return self._add_node(new_node, node, f"{name}_{variable}")

    def _find_layer(self, region: NeuronRegion) -> tuple[NeuronLayer, str]:
        """Return the neuron layer of a group of recorded operations, and its name; build it at the first call."""
        if region not in self.layer_of:
            inside = set(region.nodes)
            read = [r for n in (*self.program.body, *self.tail) if n not in inside for r in n.reads if r in inside]
            read += [self.readout.value] if self.readout.value in inside else []
            read += [s.after for s in self.program.states if s.after in inside and s not in region.states]
            if self.program.states and not region.nodes:
                read = [s.after for s in region.states]
            module = self.modules.get(region.path) if region.path or self.is_stateful("") else None
            layer = build_neuron_layer(region, self.program, read, self.constants, module)
            self.layer_of[region] = layer
            name = self._make_unique_name(region.path.replace(".", "_") or "neurons")
            self.layers[name] = layer
        layer = self.layer_of[region]
        return layer, next(name for name, named in self.layers.items() if named is layer)

    def _add_neuron(self, region: NeuronRegion) -> None:
        """Add the graph node of a layer of neurons to the module's graph, if it is not there yet."""
        layer, name = self._find_layer(region)
        self.filled.add(region)
        if layer.spikes in self.tensors and self.tensors[layer.spikes].node == name:
            return
        inputs = [self._reshape(self._lower_node(n), n.shape[1:], n) for n in layer.inputs]
        kind, attrs, params = layer.content
        new_node = NewNode("Neuron", tuple(inputs), {"kind": kind, "layer": name, **attrs}, params, region.shape)
        self.tensors[layer.spikes] = self._add_node(new_node, layer.spikes, name)

    def _reshape(self, x: GraphTensor, shape: Shape, node: TraceNode) -> GraphTensor:
        """Return a graph tensor in the given shape, through a new Flatten or Reshape node if its shape differs."""
        if x.shape == shape:
            return x
        return self._add_node(NewNode("Flatten" if len(shape) == 1 else "Reshape", (x,), shape=shape), node)

    def _add_node(self, new_node: NewNode, node: TraceNode, name: str | None = None) -> GraphTensor:
        shape = node.shape[1:] if new_node.shape is None else new_node.shape
        if name is None:
            name = self._make_unique_name(self._make_base_name(new_node, node))
        elif new_node.op != "Neuron":
            name = self._make_unique_name(name)
        inputs = [
            self._add_node(x, node, f"{name}_{x.op.lower()}") if isinstance(x, NewNode) else x for x in new_node.inputs
        ]
        entered = graphs.Node(name, new_node.op, tuple(x.node for x in inputs), shape, new_node.attrs, new_node.params)
        self.nodes.append(entered)
        self.entries.append(entered)
        return GraphTensor(name, shape)

    def _make_base_name(self, new_node: NewNode, node: TraceNode) -> str:
        """Return a new graph node's name before it is made unique: its submodule's path, or its operation."""
        module = self.modules.get(node.path)
        if node.path and module is not None and not any(True for _ in module.children()):
            return node.path.replace(".", "_")
        return new_node.op.lower() if node.name in ("reshape", "part") else node.name.strip("_")

    def _make_unique_name(self, base: str) -> str:
        name, count = base, 1
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        return name

    def _find_used_nodes(self, output: str) -> Iterator[graphs.Node]:
        """Return the nodes of a graph that its output depends on, directly or through a neuron's state."""
        used, before = {output}, set[str]()
        neurons = {n.attrs["layer"]: n.name for n in self.nodes if n.op == "Neuron"}
        while used != before:
            before = set(used)
            for node in reversed(self.nodes):
                if node.name in used:
                    used.update(node.inputs)
                    if node.op == "State":
                        used.add(neurons[node.attrs["layer"]])
        return (node for node in self.nodes if node.name in used)

    def _add_problem(self, problem: Unsupported, node: TraceNode) -> None:
        path = node.path if problem.path is None else problem.path
        module = self.modules.get(path)
        leaf = path and module is not None and not any(True for _ in module.children())
        kind = type(module).__name__ if leaf or problem.path else f"{node.name}()"
        if problem.path in ("", "forward"):
            kind = self.root
        entry = Problem(path or "forward", kind, problem.rule, problem.advice)
        if entry not in self.problems:
            self.problems.append(entry)
            self.entries.append(entry)
