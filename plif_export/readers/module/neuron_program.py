"""A layer of neurons as the graph has it: a known kind with its own equation, or "Traced" with the program as written.

A kind of runtime/core/model/neurons.py is taken where the class of the submodule is known (libraries/neurons.py) *and* its
equation gives the same bits as what was recorded, from random states and currents. So a version of a library that computes
otherwise is found out by itself, and stays a program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.readers.ours import Content
from plif_export.core.readers.rules import NeverSupported, Unsupported
from plif_export.readers.libraries.neurons import neuron_type
from plif_export.readers.module.body import StepProgram, StepState, compute, static_value
from plif_export.readers.module.regions import Region
from plif_export.readers.tracing.elementwise import COMPARES, TABLE
from plif_export.readers.tracing.nodes import Argument, TraceNode, as_node, as_number, swap
from runtime.core.model import graph
from runtime.core.model.neurons import equation_of
from runtime.neurons.traced_program.program import is_binary

# Operations that are layers, too.
IN_GRAPH = frozenset(("add", "sub", "rsub", "mul", "div", "relu", "sigmoid", "tanh", "exp", "neg", "abs", "sqrt"))
ARITHMETIC = ("add", "sub", "rsub", "mul", "div", "minimum", "maximum")
VARIABLES = ("v", "i", "a", "b", "c", "d")


@dataclass(eq=False)
class NeuronLayer:
    """A region with what the graph says of it.

    inputs     nodes whose values are its currents, in order
    spikes     the node whose value it gives
    h          the node that is compared; None where nothing is
    variables  {name: state}; extra: {name: node} variables that only show a value after the step
    content    (kind, attributes without the layer's name, parameters)
    """

    region: Region
    inputs: list[TraceNode]
    spikes: TraceNode
    h: TraceNode | None
    variables: dict[str, StepState]
    extra: dict[str, TraceNode] = field(default_factory=dict)
    content: Content = ("", {}, {})

    @property
    def threshold(self) -> float:
        """Its size, 1 where there is none or it is 0."""
        return abs(as_number(self.content[1].get("v_threshold", 1.0))) or 1.0

    @property
    def after(self) -> dict[str, TraceNode]:
        """{variable: the node of its value after the step}"""
        return {**{name: s.after for name, s in self.variables.items()}, **self.extra}


def neuron_layer(
    region: Region,
    program: StepProgram,
    read_outside: Iterable[TraceNode],
    known: Mapping[TraceNode, Tensor],
    module: nn.Module | None,
) -> NeuronLayer:
    """read_outside: its nodes that others read; known: values of what is static, [...]; module: the submodule that it lies in."""
    outside = [n for n in dict.fromkeys(read_outside) if n in set(region.nodes)]
    shape = region.shape
    for n in (*region.nodes, *(s.before for s in region.states)):
        if not n.shape or n.shape[0] != program.batch:
            rule, advice = "it mixes the batch with other axes", "keep the batch first, and every row by itself"
            raise Unsupported(rule, advice, region.path)
        if n.shape[1:] != shape:
            raise Unsupported(
                f"it joins {list(shape)} and {list(n.shape[1:])}",
                "give a neuron's states the shape of its current",
                region.path,
            )
    for state in region.states:
        if isinstance(state.initial, TraceNode):
            number = _number(state.initial, known)
            if number is None:
                rule = "its state starts from other numbers in each neuron"
                raise Unsupported(rule, "start it from one number", region.path)
            state.initial = number
    after = [s.after for s in region.states]
    firing = [n for n in region.nodes if n.name in COMPARES]
    spikes = _spikes(region, outside, after, firing)
    layer = NeuronLayer(region, region.inputs(), spikes, None, {})
    compared = _compared(spikes, region, firing)
    layer.h = None if compared is None else _what_is_compared(compared, known, region)[0]
    states = _membrane_first(region.states, layer.h, region)
    layer.variables = dict(zip(VARIABLES, states, strict=False))
    if len(states) > len(VARIABLES):
        raise Unsupported(f"its neurons have {len(states)} states", f"use at most {len(VARIABLES)}", region.path)
    hidden = [n for n in outside if not derivable(n, {spikes, *after})]
    kind = None if module is None or hidden else _known_kind(layer, program, known, module)
    if kind is not None:
        layer.content = kind
        return layer
    layer.extra = {f"shown{i}": n for i, n in enumerate(hidden)}
    layer.content = _traced(layer, compared, known)
    return layer


def derivable(node: TraceNode, given: set[TraceNode]) -> bool:
    """Whether layers outside can make a node of what neurons give: one minus the spikes, or a factor on them."""
    if node in given:
        return True
    return node.name in IN_GRAPH and all(derivable(n, given) for n in node.reads if n.moves)


def _spikes(region: Region, outside: list[TraceNode], after: list[TraceNode], firing: list[TraceNode]) -> TraceNode:
    """The node whose value the layer gives: zeros and ones where what is read outside can be made of them."""
    if not region.nodes:
        return after[0]
    numbers = [n for n in outside if n.dtype != torch.bool]
    plain = [n for n in numbers if n not in after]
    casts = [n for n in region.nodes if zero_or_one(n) and _ancestors(n, region) & set(firing)]
    # one minus the spikes, which the reset makes and a layer outside may read, is not the spikes
    casts = [n for i, n in enumerate(casts) if not any(derivable(n, {c}) for c in casts[:i])]
    for n in numbers:  # read by a layer in the next step, so that it is a state, too
        if n in after and not plain and n in casts:
            return n
    for cast in reversed(casts):
        if all(derivable(n, {cast, *after}) for n in plain):
            return cast
    if plain or numbers:
        return (plain or numbers)[0]
    return ([n for n in after if n in region.nodes] or region.nodes[-1:])[0]


def _ancestors(node: TraceNode, region: Region) -> set[TraceNode]:
    inside, found, stack = set(region.nodes), set(), [node]
    while stack:
        n = stack.pop()
        if n in inside and n not in found:
            found.add(n)
            stack.extend(n.reads)
    return found


def _compared(spikes: TraceNode, region: Region, firing: list[TraceNode]) -> TraceNode | None:
    """The comparison that decides the spikes: the last one that they are made of."""
    mine = _ancestors(spikes, region)
    found = [n for n in firing if n in mine] or firing
    return found[-1] if found else None


def _number(value: Argument, known: Mapping[TraceNode, Tensor]) -> float | None:
    if isinstance(value, TraceNode):
        values = known[value].reshape(-1) if value in known else torch.zeros(0)
        return float(values[0]) if len(values) and bool((values == values[0]).all()) else None
    return float(value) if isinstance(value, int | float) else None


def _what_is_compared(c: TraceNode, known: Mapping[TraceNode, Tensor], region: Region) -> tuple[TraceNode, float]:
    """(h, threshold) of a comparison, v - threshold >= 0 as v >= threshold. The threshold counts as 0 where it is no number."""
    left, right = c.args[:2]
    if not (isinstance(left, TraceNode) and left.moves):
        left, right = right, left
    h, threshold = as_node(left), _number(right, known)
    if h.name == "sub" and h in region.nodes and threshold == 0:
        other = _number(h.args[1], known)
        if other is not None and isinstance(h.args[0], TraceNode) and h.args[0].moves:
            return h.args[0], other
    return h, threshold or 0.0


def _membrane_first(states: list[StepState], h: TraceNode | None, region: Region) -> list[StepState]:
    """The state nearest to h, counted from its next value back: the membrane."""
    if h is None or len(states) < 2:
        return states

    def distance(s: StepState) -> int:
        level, found, n = {s.after}, set[TraceNode](), 0
        while level:
            if h in level:
                return n
            found |= level
            level = {r for node in level for r in node.reads if node in region.nodes} - found
            n += 1
        return 999

    return sorted(states, key=distance)


# --- a known kind -----------------------------------------------------------------------------------------------------


def _known_kind(
    layer: NeuronLayer, program: StepProgram, known: Mapping[TraceNode, Tensor], module: nn.Module
) -> Content | None:
    found = neuron_type(module)
    if found is None or len(layer.inputs) != 1:
        return None
    try:
        kind, attrs, params = found.read(module)
    except NeverSupported as problem:
        raise NeverSupported(problem.rule, problem.advice, layer.region.path) from None
    except Unsupported:
        return None
    shape = layer.region.shape
    if any(p.ndim and p.shape not in ((shape[0],), shape) for p in params.values()):
        return None
    names = list(equation_of(kind).initial(attrs))
    if len(names) != len(layer.variables):
        return None
    node = graph.Node("n", "Neuron", ("x",), shape, {"kind": kind, "layer": "n", **attrs}, params)
    for states in permutations(layer.variables.values()):
        trial = dict(zip(names, states, strict=True))
        starts = {name: np.float32(as_number(s.initial)) for name, s in trial.items()}
        same = all(start == np.float32(node.initial[name]) for name, start in starts.items())
        if same and _same_bits(node, trial, layer, program, known):
            layer.variables = trial
            return kind, attrs, params
    return None


def _same_bits(
    node: graph.Node,
    states: dict[str, StepState],
    layer: NeuronLayer,
    program: StepProgram,
    known: Mapping[TraceNode, Tensor],
) -> bool:
    rng = np.random.default_rng(0)
    scale = abs(float(node.attrs["v_threshold"])) or 1.0
    for drive in (1.0, 4.0, 32.0):
        shape = (program.batch, *node.shape)
        # Multiples of 1/8 land on the threshold exactly, which tells > from >=; the others tell rounding.
        x, *before = (rng.normal(0.4, 1.0, (1 + len(states), *shape)) * scale).astype(np.float32)
        x *= np.float32(drive)
        for array in (x, *before):
            coarse = rng.random(shape) < 0.5
            array[coarse] = np.round(8 * array[coarse]) / 8
        fired = interpret.neuron(node, x, dict(zip(states, before, strict=True)))
        given = {layer.inputs[0]: torch.from_numpy(x)}
        given |= {s.before: torch.from_numpy(b) for s, b in zip(states.values(), before, strict=True)}
        values = compute([layer.spikes, *(s.after for s in states.values())], {**known, **given}, program.batch)
        if not np.array_equal(values[layer.spikes].numpy(), fired.s):
            return False
        if any(
            not np.array_equal(values[s.after].numpy(), fired.after[name], equal_nan=True) for name, s in states.items()
        ):
            return False
    return True


# --- as written -------------------------------------------------------------------------------------------------------


def _traced(layer: NeuronLayer, compared: TraceNode | None, known: Mapping[TraceNode, Tensor]) -> Content:
    writer = _ProgramWriter(layer, known)
    region = layer.region
    for node in region.nodes:
        writer.add(node)
    s = writer.name_of(layer.spikes)
    h = s if layer.h is None else writer.name_of(layer.h)
    states = {name: as_number(state.initial) for name, state in layer.variables.items()}
    following = {name: writer.name_of(node) for name, node in layer.after.items()}
    states |= dict.fromkeys(layer.extra, 0.0)
    if not layer.variables:  # an equation needs a membrane: what is compared, of which nothing depends
        states, following = {"v": 0.0, **states}, {"v": h, **following}
    _, threshold = (None, 0.0) if compared is None else _what_is_compared(compared, known, region)
    attrs: dict[str, object] = {"v_threshold": threshold, "v_reset": None, "states": states}
    attrs |= {"program": writer.lines, "h": h, "s": s, "next": following}
    if compared is None:
        attrs["spiking"] = False
    elif not is_binary(attrs, str(s)):
        attrs["graded"] = True
    return "Traced", attrs, writer.params


def zero_or_one(node: TraceNode) -> bool:
    """Whether a node is a truth value as a number; a product of such, or one minus one."""
    if node.name == "_to_copy":
        return node.reads[0].dtype == torch.bool
    numbers = [v for v in node.args[:2] if not isinstance(v, TraceNode)]
    if node.name == "mul" or node.name == "rsub":
        return all(v == 1 for v in numbers) and all(zero_or_one(n) for n in node.reads)
    return False


class _ProgramWriter:
    """The lines of a program, and its parameters."""

    def __init__(self, layer: NeuronLayer, known: Mapping[TraceNode, Tensor]) -> None:
        self.lines: list[list[Argument]] = []
        self.params: dict[str, np.ndarray] = {}
        self.known, self.shape = known, layer.region.shape
        self.names: dict[TraceNode, Argument] = {n: "x" if i == 0 else f"x{i}" for i, n in enumerate(layer.inputs)}
        self.names |= {state.before: name for name, state in layer.variables.items()}

    def add(self, node: TraceNode) -> None:
        operands = swap(node.args, TraceNode, self.name_of)
        for i in {"where": (1, 2)}.get(node.name, (0, 1) if node.name in ARITHMETIC else ()):
            arg = node.args[i]
            if isinstance(arg, TraceNode) and arg.dtype == torch.bool and isinstance(operands[i], str):
                operands[i] = self.line("Cast", operands[i])  # a truth value in arithmetic counts as 0 or 1
        self.names[node] = TABLE[node.name](self.line, node, operands)

    def line(self, op: str, *operands: Argument) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append([name, op, *operands])
        return name

    def name_of(self, node: TraceNode) -> Argument:
        """The operand that stands for a node; what is static becomes a number or a parameter."""
        if node in self.names:
            return self.names[node]
        value = constant(static_value(node, self.known), self.shape)
        if value.ndim == 0 and np.isfinite(value):
            return float(value)
        name = f"p{len(self.params)}"
        self.params[name] = value
        self.names[node] = name
        return name


def constant(value: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """A static tensor as one number, one per channel [C], or one per neuron [*shape], in float32."""
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
