"""A layer of neurons in the graph: a known kind with its own equation, or "Traced" with the program as written.

A kind of runtime/core/model/neurons.py is used if the class of the submodule is known (libraries/neurons.py) *and*
its equation has the recorded operations, one by one (same_program.py). So a library version with another
computation, or a subclass with one more operation, stays a program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from plif_export.core.readers.ours import Content
from plif_export.core.readers.rules import InvalidModule, Unsupported
from plif_export.readers.libraries.neurons import find_neuron_type
from plif_export.readers.step_program.body import StepProgram, StepState, get_constant
from plif_export.readers.step_program.elementwise import COMPARES, TABLE
from plif_export.readers.step_program.regions import NeuronRegion
from plif_export.readers.step_program.same_program import have_same_terms
from plif_export.readers.tracing.nodes import Argument, TraceNode, as_node, as_number, replace_arguments
from runtime.core.model import graph
from runtime.core.model.neurons import get_equation
from runtime.neurons.traced_program.program import is_binary

# Elementwise operations that the graph also has as layers.
GRAPH_LAYERS = frozenset(("add", "sub", "rsub", "mul", "div", "relu", "sigmoid", "tanh", "exp", "neg", "abs", "sqrt"))
GRAPH_LAYERS |= {"silu", "elu", "leaky_relu", "_prelu_kernel"}
ARITHMETIC = ("add", "sub", "rsub", "mul", "div", "minimum", "maximum")
VARIABLES = ("v", "i", "a", "b", "c", "d")


@dataclass(eq=False)
class NeuronLayer:
    """A layer of neurons found in a module: the recorded nodes of its inputs, spikes and states, and attributes.

    inputs: nodes of its currents, in order. spikes: the node of its output. variables: {name: state}.
    h: the node that is compared with the threshold; None without a comparison.
    extra: {name: node} variables that only show a value after the step.
    content: (kind, attributes without the layer's name, parameters).
    """

    region: NeuronRegion
    inputs: list[TraceNode]
    spikes: TraceNode
    h: TraceNode | None
    variables: dict[str, StepState]
    extra: dict[str, TraceNode] = field(default_factory=dict)
    content: Content = ("", {}, {})

    @property
    def threshold(self) -> float:
        """The absolute value of a neuron layer's firing threshold; 1 if it has none or it is 0."""
        return abs(as_number(self.content[1].get("v_threshold", 1.0))) or 1.0

    @property
    def after(self) -> dict[str, TraceNode]:
        """The recorded nodes of a neuron layer's state variables after a time-step: {variable: node}."""
        return {**{name: s.after for name, s in self.variables.items()}, **self.extra}


def build_neuron_layer(
    region: NeuronRegion,
    program: StepProgram,
    read_outside: Iterable[TraceNode],
    constants: Mapping[TraceNode, Tensor],
    module: nn.Module | None,
) -> NeuronLayer:
    """Build a neuron layer from a group of recorded operations: find its spikes, states, equation or program.

    read_outside: nodes of the region that others read. constants: values of constant nodes, [...]. module: around it.
    """
    outside = [n for n in dict.fromkeys(read_outside) if n in set(region.nodes)]
    shape = region.shape
    for n in (*region.nodes, *(s.before for s in region.states)):
        if not n.shape or n.shape[0] != program.batch:
            rule, advice = "it mixes the batch with other axes", "keep the batch first, and every row by itself"
            raise Unsupported(rule, advice, region.path)
        if n.shape[1:] != shape:
            rule = f"it joins {list(shape)} and {list(n.shape[1:])}"
            raise Unsupported(rule, "give a neuron's states the shape of its current", region.path)
    for state in region.states:
        if isinstance(state.initial, TraceNode):
            number = _constant_number(state.initial, constants)
            if number is None:
                rule = "its state starts from other numbers in each neuron"
                raise Unsupported(rule, "start it from one number", region.path)
            state.initial = number
    after = [s.after for s in region.states]
    firing = [n for n in region.nodes if n.name in COMPARES]
    spikes = _find_spikes(region, outside, after, firing)
    layer = NeuronLayer(region, region.find_inputs(), spikes, None, {})
    compared = _find_comparison(spikes, region, firing)
    layer.h = None if compared is None else _split_comparison(compared, constants, region)[0]
    states = _sort_states(region.states, layer.h, region)
    layer.variables = dict(zip(VARIABLES, states, strict=False))
    if len(states) > len(VARIABLES):
        raise Unsupported(f"its neurons have {len(states)} states", f"use at most {len(VARIABLES)}", region.path)
    hidden = [n for n in outside if not is_derivable(n, {spikes, *after})]
    layer.extra = {f"shown{i}": n for i, n in enumerate(hidden)}
    layer.content = _write_traced(layer, compared, constants)
    if module is not None and not hidden:
        layer.content = _match_known_kind(layer, layer.content, module) or layer.content
    return layer


def is_derivable(node: TraceNode, outputs: set[TraceNode]) -> bool:
    """Return whether layers without neurons can compute a node from a neuron's outputs, such as 1 - spikes."""
    if node in outputs:
        return True
    return node.name in GRAPH_LAYERS and all(is_derivable(n, outputs) for n in node.reads if n.moves)


def _find_spikes(
    region: NeuronRegion, outside: list[TraceNode], after: list[TraceNode], firing: list[TraceNode]
) -> TraceNode:
    """Return the recorded node of a neuron's spikes: 0 or 1, if all that other layers read can be computed from it."""
    if not region.nodes:
        return after[0]
    numbers = [n for n in outside if n.dtype != torch.bool]
    plain = [n for n in numbers if n not in after]
    casts = [n for n in region.nodes if is_zero_or_one(n) and _region_ancestors(n, region) & set(firing)]
    # one minus the spikes, which the reset makes and a layer outside may read, is not the spikes
    casts = [n for i, n in enumerate(casts) if not any(is_derivable(n, {c}) for c in casts[:i])]
    for n in numbers:  # a layer reads it in the next step, so it is also a state
        if n in after and not plain and n in casts:
            return n
    for cast in reversed(casts):
        if all(is_derivable(n, {cast, *after}) for n in plain):
            return cast
    if plain or numbers:
        return (plain or numbers)[0]
    return ([n for n in after if n in region.nodes] or region.nodes[-1:])[0]


def _region_ancestors(node: TraceNode, region: NeuronRegion) -> set[TraceNode]:
    inside, visited, stack = set(region.nodes), set(), [node]
    while stack:
        n = stack.pop()
        if n in inside and n not in visited:
            visited.add(n)
            stack.extend(n.reads)
    return visited


def _find_comparison(spikes: TraceNode, region: NeuronRegion, firing: list[TraceNode]) -> TraceNode | None:
    """Return the recorded comparison with a threshold that decides whether the neurons of a layer spike."""
    before = _region_ancestors(spikes, region)
    candidates = [n for n in firing if n in before] or firing
    return candidates[-1] if candidates else None


def _constant_number(value: Argument, constants: Mapping[TraceNode, Tensor]) -> float | None:
    if isinstance(value, TraceNode):
        values = constants[value].reshape(-1) if value in constants else torch.zeros(0)
        return float(values[0]) if len(values) and bool((values == values[0]).all()) else None
    return float(value) if isinstance(value, int | float) else None


def _split_comparison(
    c: TraceNode, constants: Mapping[TraceNode, Tensor], region: NeuronRegion
) -> tuple[TraceNode, float]:
    """Split a comparison into (value h, threshold; 0 if it is not one number); v - c >= 0 is read as v >= c."""
    a, b = c.args[:2]
    if not (isinstance(a, TraceNode) and a.moves):
        a, b = b, a
    h, threshold = as_node(a), _constant_number(b, constants)
    if h.name == "sub" and h in region.nodes and threshold == 0:
        subtracted = _constant_number(h.args[1], constants)
        if subtracted is not None and isinstance(h.args[0], TraceNode) and h.args[0].moves:
            return h.args[0], subtracted
    return h, threshold or 0.0


def _sort_states(states: list[StepState], h: TraceNode | None, region: NeuronRegion) -> list[StepState]:
    """Sort the states of a neuron so that the membrane comes first: the state nearest to the spike comparison.

    The distance is counted back from the state's next value to h.
    """
    if h is None or len(states) < 2:
        return states

    def distance(s: StepState) -> int:
        level, visited, n = {s.after}, set[TraceNode](), 0
        while level:
            if h in level:
                return n
            visited |= level
            level = {r for node in level for r in node.reads if node in region.nodes} - visited
            n += 1
        return 999

    return sorted(states, key=distance)


# --- a known kind -----------------------------------------------------------------------------------------------------


def _match_known_kind(layer: NeuronLayer, traced: Content, module: nn.Module) -> Content | None:
    """Return the known kind of a neuron whose equation has the same terms as the recorded program, or None."""
    neuron_class = find_neuron_type(module)
    if neuron_class is None or len(layer.inputs) != 1:
        return None
    try:
        kind, attrs, params = neuron_class.read(module)
    except InvalidModule as problem:
        raise InvalidModule(problem.rule, problem.advice, layer.region.path) from None
    except Unsupported:
        return None
    shape = layer.region.shape
    if any(p.ndim and p.shape not in ((shape[0],), shape) for p in params.values()):
        return None
    names = list(get_equation(kind).initial(attrs))
    if len(names) != len(layer.variables):
        return None
    known, recorded = (
        graph.Node("n", "Neuron", ("x",), shape, {"kind": k, "layer": "n", **a}, p)
        for k, a, p in ((kind, attrs, params), traced)
    )
    for order in permutations(layer.variables):
        variables = dict(zip(names, order, strict=True))
        starts = {name: np.float32(as_number(layer.variables[v].initial)) for name, v in variables.items()}
        starts_alike = all(start == np.float32(known.initial[name]) for name, start in starts.items())
        if starts_alike and have_same_terms(known, recorded, variables):
            layer.variables = {name: layer.variables[v] for name, v in variables.items()}
            return kind, attrs, params
    return None


# --- as written -------------------------------------------------------------------------------------------------------


def _write_traced(layer: NeuronLayer, compared: TraceNode | None, constants: Mapping[TraceNode, Tensor]) -> Content:
    writer = _ProgramWriter(layer, constants)
    region = layer.region
    for node in region.nodes:
        writer.add_operation(node)
    s = writer.get_operand(layer.spikes)
    h = s if layer.h is None else writer.get_operand(layer.h)
    states = {name: as_number(state.initial) for name, state in layer.variables.items()}
    following = {name: writer.get_operand(node) for name, node in layer.after.items()}
    states |= dict.fromkeys(layer.extra, 0.0)
    if not layer.variables:  # an equation needs a membrane: the compared value, which nothing reads
        states, following = {"v": 0.0, **states}, {"v": h, **following}
    _, threshold = (None, 0.0) if compared is None else _split_comparison(compared, constants, region)
    attrs: dict[str, object] = {"v_threshold": threshold, "v_reset": None, "states": states}
    attrs |= {"program": writer.lines, "h": h, "s": s, "next": following}
    if compared is None:
        attrs["spiking"] = False
    elif not is_binary(attrs, str(s)):
        attrs["graded"] = True
    return "Traced", attrs, writer.params


def is_zero_or_one(node: TraceNode) -> bool:
    """Return whether a recorded node can only be 0 or 1: a truth value as number, a product of such, 1 - such."""
    if node.name == "_to_copy":
        return node.reads[0].dtype == torch.bool
    numbers = [v for v in node.args[:2] if not isinstance(v, TraceNode)]
    if node.name == "mul" or node.name == "rsub":
        return all(v == 1 for v in numbers) and all(is_zero_or_one(n) for n in node.reads)
    return False


class _ProgramWriter:
    """A writer of a neuron's program, which collects its lines and parameters, operation by operation."""

    def __init__(self, layer: NeuronLayer, constants: Mapping[TraceNode, Tensor]) -> None:
        self.lines: list[list[Argument]] = []
        self.params: dict[str, np.ndarray] = {}
        self.constants, self.shape = constants, layer.region.shape
        self.names: dict[TraceNode, Argument] = {n: "x" if i == 0 else f"x{i}" for i, n in enumerate(layer.inputs)}
        self.names |= {state.before: name for name, state in layer.variables.items()}

    def add_operation(self, node: TraceNode) -> None:
        operands = replace_arguments(node.args, TraceNode, self.get_operand)
        for i in {"where": (1, 2)}.get(node.name, (0, 1) if node.name in ARITHMETIC else ()):
            arg = node.args[i]
            if isinstance(arg, TraceNode) and arg.dtype == torch.bool and isinstance(operands[i], str):
                operands[i] = self.add_line("Cast", operands[i])  # a truth value in arithmetic counts as 0 or 1
        self.names[node] = TABLE[node.name](self.add_line, node, operands)

    def add_line(self, op: str, *operands: Argument) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append([name, op, *operands])
        return name

    def get_operand(self, node: TraceNode) -> Argument:
        """Return a recorded node as operand of a neuron program's line; a constant becomes a number or parameter."""
        if node in self.names:
            return self.names[node]
        value = pack_constant(get_constant(node, self.constants), self.shape)
        if value.ndim == 0 and np.isfinite(value):
            return float(value)
        name = f"p{len(self.params)}"
        self.params[name] = value
        self.names[node] = name
        return name


def pack_constant(value: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Reduce a constant tensor to one float32 number [], one per channel [C], or one per neuron [*shape]."""
    array = value.detach().numpy().astype(np.float32)
    if array.size and (array == array.reshape(-1)[0]).all():
        return np.asarray(array.reshape(-1)[0])
    if array.ndim > len(shape):
        if array.shape[0] > 1 and (array != array[:1]).any():
            raise Unsupported("a constant differs between the rows of a batch", "use one for all rows")
        array = array[0]
    if array.ndim == len(shape) and array.shape[0] == shape[0] and array.size == shape[0]:
        return array.reshape(-1)
    return np.ascontiguousarray(np.broadcast_to(array, shape))
