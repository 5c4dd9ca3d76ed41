"""The program of one time-step, its states and their initial values, found by comparing runs of several lengths.

    body of step k  =  nodes of run k, in order, that run k + 1 has too (so not the readout), and run k - 1 has not

Parts that all steps share (a first convolution of a static image, an expression of weights) are in none of these
sets, and so are hoisted out of the loop. The bodies of two steps, compared side by side, must be the same program. If
their arguments differ, a step reads its own input, or a value of the step before: that value is a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.step_program.elementwise import TABLE
from plif_export.readers.tracing.nodes import (
    Argument,
    NodeTable,
    TraceNode,
    as_int,
    as_number,
    replace_arguments,
    run_operation,
)
from plif_export.readers.tracing.record import TraceRun

NodeValues = dict[TraceNode, Tensor]
SAME_STEPS_ADVICE = "every step must do the same"
NO_NUMBER_RULE = "a number that depends on t cannot be exported"
OWN_INPUT_ADVICE = "every step may read its own input only"
NO_INPUT_RULE = "it reads a state that does not depend on the input"


class NeedsLongerRunsError(Unsupported):
    """The refusal of a module that longer runs may show to be right: a delay line holds zeros in its first steps."""


@dataclass(eq=False)
class StepState:
    """A state variable of a module: its recorded nodes before and after a time-step, and its initial value.

    initial: a node or a number.
    """

    before: TraceNode
    after: TraceNode
    initial: TraceNode | float = 0.0

    @property
    def path(self) -> str:
        return self.after.path


@dataclass(eq=False)
class StepProgram:
    """The recorded operations of one time-step of a module; PyTorch can run them with states passed in and out.

    body: nodes in an order that runs; other nodes that they read, besides input and states, are constant.
    x: the node of the input of a step, [B, ...]; None if no step reads it. batch: of the example run.
    earlier: {node: the same node of the step before}.
    """

    body: list[TraceNode]
    x: TraceNode | None
    states: list[StepState]
    batch: int
    length: int  # T of the run in which it was found
    image: bool = False  # every step reads the same input
    inside: set[TraceNode] = field(default_factory=set)
    earlier: dict[TraceNode, TraceNode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inside = set(self.body)

    def fold_constants(
        self,
        batch: int,
        image: Tensor | None = None,
        extra: Iterable[TraceNode] = (),
        step_node: TraceNode | None = None,
    ) -> NodeValues:
        """Compute all values of a step program that are the same in every time-step (constant folding).

        step_node: a further node that depends on the step. image: [B, ...], the one input of all steps.
        """
        stepped = {*self.inside, *extra, *(s.before for s in self.states), self.x, step_node}
        targets = [n for node in (*self.body, *extra) for n in node.reads if n not in stepped]
        targets += [s.initial for s in self.states if isinstance(s.initial, TraceNode)]
        inputs = {} if image is None else {n: image for n in find_ancestors(targets) if n.op == "x"}
        return compute_nodes(targets, inputs, batch)

    def initial_states(self, constants: NodeValues, batch: int) -> NodeValues:
        states = {}
        for s in self.states:
            value = (
                constants[s.initial]
                if isinstance(s.initial, TraceNode)
                else torch.tensor(s.initial, dtype=s.before.dtype)
            )
            states[s.before] = torch.broadcast_to(value, resize_batch(s.before, self.batch, batch)).clone()
        return states

    def run_step(
        self,
        constants: NodeValues,
        states: NodeValues,
        x: Tensor | None,
        batch: int,
        noise: Mapping[TraceNode, tuple[TraceNode, Tensor]] | None = None,
        replace_value: Callable[[TraceNode, Tensor], Tensor] | None = None,
    ) -> NodeValues:
        """Run a module's step program for one time-step, and return the values of all its operations (nodes).

        constants: values of constant nodes. states: the states before the step. x: its input [B, ...].
        noise: {node of the body: (the node that it reads, the current added to that)}, for the node alone.
        replace_value: node of the body, its value -> the value that later nodes read.
        """
        values = {**constants, **states}
        if self.x is not None and x is not None:
            values[self.x] = x
        for node in self.body:
            read = values
            if noise and node in noise:
                source, current = noise[node]
                read = {**{n: values[n] for n in node.reads}, source: values[source] + current}
            value = compute_node(node, read, batch)
            values[node] = value if replace_value is None else replace_value(node, value)
        return values

    def next_states(self, values: NodeValues) -> NodeValues:
        return {s.before: values[s.after] for s in self.states}


def resize_batch(node: TraceNode, example: int, batch: int) -> tuple[int, ...]:
    """Return the shape that the value of a recorded operation has with another batch size."""
    return tuple(n // example * batch if axis == 0 and n % example == 0 else n for axis, n in enumerate(node.shape))


def get_constant(node: TraceNode, constants: Mapping[TraceNode, Tensor]) -> Tensor:
    """Return the value [...] of a recorded constant, and refuse a node whose value depends on the time-step."""
    if node not in constants:
        raise Unsupported(NO_INPUT_RULE, NO_NUMBER_RULE)
    return constants[node]


def find_ancestors(nodes: Iterable[TraceNode]) -> set[TraceNode]:
    visited: set[TraceNode] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in visited:
            visited.add(node)
            stack.extend(node.reads)
    return visited


def compute_nodes(targets: Iterable[TraceNode], known_values: NodeValues, batch: int) -> NodeValues:
    """Compute the values of some recorded operations (nodes), and of all operations whose values they need.

    known_values: the values of some nodes, which are not computed again.
    """
    known_values, need, stack = dict(known_values), set(), list(targets)
    while stack:
        node = stack.pop()
        if node not in known_values and node not in need:
            need.add(node)
            stack.extend(node.reads)
    with torch.no_grad():
        for node in sorted(need, key=lambda n: n.index):
            if node.op == "x":
                raise Unsupported(
                    "something outside of the loop over T reads the input of one step", SAME_STEPS_ADVICE, node.path
                )
            known_values[node] = compute_node(node, known_values, batch) if node.data is None else node.data
    return known_values


def compute_node(node: TraceNode, known_values: NodeValues, batch: int) -> Tensor:
    """Compute the value of one recorded operation (node), mostly [B, ...], from the values of its arguments.

    The value of an operation with several outputs is a tuple, and only the nodes that select an output read it.
    """
    return cast(
        Tensor, run_operation(node.op, replace_arguments(node.args, TraceNode, known_values.__getitem__), batch)
    )


# --- finding it -----------------------------------------------------------------------------------------------------------


def find_step_program(
    runs: Mapping[int, TraceRun], table: NodeTable, length: int, static: bool
) -> tuple[StepProgram, dict[TraceNode, TraceNode]]:
    """Find the operations that every time-step of a module repeats, by comparing runs of several lengths.

    Returns: the program of step length + 1; {state that it reads: the same node in the step before}.
    static: whether all steps read the same input.
    runs: of the lengths length - 1 ... length + 2.
    """
    earlier, later = (
        [n for n in runs[k].order if n in runs[k + 1].order and n not in runs[k - 1].order and n.op != "x"]
        for k in (length, length + 1)
    )
    if not later:
        advice = "give the network one input for each step, or a loop over T"
        raise NeedsLongerRunsError("nothing in forward repeats with T", advice, "")
    pairs: dict[TraceNode, TraceNode] = dict(zip(earlier, later, strict=False))
    x: TraceNode | None = None
    read: dict[TraceNode, TraceNode] = {}
    fixed: set[TraceNode] = set()
    for a, b in zip(earlier, later, strict=False):
        a_args, b_args = a.flat, b.flat
        if str(a.op) != str(b.op) or len(a_args) != len(b_args):
            raise Unsupported(f"one step does {a.name} where the next does {b.name}", SAME_STEPS_ADVICE, b.path)
        for p, q in zip(a_args, b_args, strict=True):
            if p is q and isinstance(p, TraceNode):
                fixed.add(p)
                continue
            if not isinstance(p, TraceNode) or not isinstance(q, TraceNode):
                if isinstance(p, TraceNode) or isinstance(q, TraceNode) or p != q:
                    difference = "an array in one step and another" if b.op == "const" else f"{p} in one step and {q}"
                    message = f"{b.name} uses {difference} in the next"
                    raise Unsupported(message, NO_NUMBER_RULE, b.path)
            elif p.op == q.op == "x":
                if (p.args[0], q.args[0]) != (length - 1, length):
                    message = f"step {length + 1} reads the input of step {as_int(q.args[0]) + 1}"
                    raise Unsupported(message, OWN_INPUT_ADVICE, b.path)
                x = q
            elif p.op == "param" or q.op == "param":
                message = f"one step reads {p.args[0]} and the next {q.args[0]}"
                raise Unsupported(message, "weights for each step cannot be exported", b.path)
            elif pairs.get(p) is not q:
                if q not in pairs:
                    if q.op == "x" or p.op == "x":
                        raise Unsupported("a step reads the input of an older step", OWN_INPUT_ADVICE, b.path)
                    if q.data is not None or not q.moves:
                        raise Unsupported(f"{b.name} uses other constants in each step", NO_NUMBER_RULE, b.path)
                    message = f"a step reads {q.name} made two steps before"
                    raise Unsupported(message, "keep it in a state of its own", b.path)
                read[q] = p
    if len(earlier) != len(later):
        raise Unsupported(f"one step has {len(earlier)} operations and the next {len(later)}", SAME_STEPS_ADVICE, "")
    if static and x is None:
        x = next((n for n in runs[length].order if n.op == "x"), None)
    body, carried = _drop_derived(read, pairs, fixed)
    states = [StepState(q, pairs[q]) for q in carried]
    before = {later: earlier for earlier, later in pairs.items()}
    return StepProgram(body, x, states, table.batch, length + 1, static, earlier=before), read


def _drop_derived(
    read: dict[TraceNode, TraceNode], pairs: dict[TraceNode, TraceNode], fixed: set[TraceNode]
) -> tuple[list[TraceNode], list[TraceNode]]:
    """Drop states that a step can compute from other states and weights; return its nodes and the states left.

    snnTorch's reset follows from the membrane, for example. Each step computes such a value again.
    """
    carried, recomputed = dict.fromkeys(read), []

    def find_derivation(state: TraceNode) -> list[TraceNode] | None:
        """List the operations that compute a state from other states and constants; None if that is impossible."""
        parts, stack = dict[TraceNode, None](), [state]
        while stack:
            node = stack.pop()
            if (node in carried and node is not state) or node not in pairs:
                if node not in carried and node not in fixed:
                    return None
            elif node not in parts:
                parts[node] = None
                stack.extend(node.reads)
        return list(parts)

    by_layers = {r for body in (pairs, pairs.values()) for n in body if n.name not in TABLE for r in n.reads}
    for q in read:
        if q in by_layers:
            continue  # a layer reads it, so it must be a state: available before the step
        parts = find_derivation(q)
        if parts is not None:
            del carried[q]
            recomputed += parts
    first = set(recomputed)
    return [n for n in pairs if n in first] + list(pairs.values()), list(carried)


def drop_unused(program: StepProgram, ends: Iterable[TraceNode], is_neuron: Callable[[str], bool]) -> None:
    """Drop the operations and states of a step program that never affect the given output nodes in any step.

    is_neuron: path -> whether it belongs to a neuron; a used neuron keeps its states and spikes.
    """
    targets, need = set(ends), set[TraceNode]()
    while targets - need:
        need |= targets
        for node in reversed(program.body):
            if node in need:
                need.update(node.reads)
        paths = {s.after.path for s in program.states if s.after in need and is_neuron(s.after.path)}
        for node in program.body:
            if node.name in TABLE and node.path in paths and any(r in need for r in node.reads if r.moves):
                need.add(node)
        targets = {s.after for s in program.states if s.before in need} | {
            r for n in need for r in n.reads if r in program.inside
        }
    program.states = [s for s in program.states if s.before in need]
    program.body = [n for n in program.body if n in need]
    program.inside = set(program.body)


# --- initial values -------------------------------------------------------------------------------------------------------


def find_initial_values(
    program: StepProgram, read: dict[TraceNode, TraceNode], length: int, replaced: set[str], x: Tensor
) -> None:
    """Find the value that each state of a module's step program has before the first time-step.

    The search goes back from the nodes that step length + 1 reads to those that step 1 read, and matches the program
    to each step. If step 1 is another program (`if t == 0: out = y`, or a state that starts as a Python number), the
    initial value is the number of the body that reproduces step 1 bit for bit. x: inputs [T, B, ...] for that test,
    or one image [B, ...].
    """
    inside, carried = program.inside, {s.before for s in program.states}
    target = {s.before: read[s.before] for s in program.states if s.before in read}
    after_first = target
    for _ in range(length - 1):
        after_first = target
        bindings: dict[TraceNode, TraceNode] = {}
        matched: set[tuple[TraceNode, TraceNode]] = set()
        for s in program.states:
            trial, trial_matched = dict(bindings), set(matched)
            if s.before in target and _match_program(s.after, target[s.before], carried, inside, trial, trial_matched):
                bindings, matched = trial, trial_matched
        target = {n: v for n, v in bindings.items() if n in carried}
    for s in program.states:
        s.initial = target.get(s.before, 0.0)
        if not isinstance(s.initial, TraceNode):
            continue
        made_of = find_ancestors([s.initial])
        leftover = next((str(n.args[0]) for n in made_of if n.op == "param" and n.args[0] in replaced), None)
        if leftover is not None:
            rule = "it starts from a state that the module holds already"
            raise Unsupported(rule, f"set {_attribute_name(leftover)!r} as before the first step", s.path)
        if any(n.op == "x" for n in made_of):
            raise Unsupported("its state starts from the first input", "start it from a constant", s.path)
        if s.initial.op == "full":
            s.initial = as_number(s.initial.args[1])
    open_states = [s for s in program.states if s.before not in target and s.before in after_first]
    for s in (s for s in program.states if s.before not in target and s.before not in after_first):
        raise Unsupported(
            "its state has no initial value: the first steps are other programs", SAME_STEPS_ADVICE, s.path
        )
    if open_states:
        _search_initial_numbers(program, open_states, after_first, x)


def _attribute_name(name: str) -> str:
    """Return the attribute in the dotted name of a module's tensor, without list index: net.state1.0 -> state1."""
    parts = name.split(".")
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    return parts[-1]


def _match_program(
    pattern: TraceNode,
    target: TraceNode,
    carried: set[TraceNode],
    inside: set[TraceNode],
    bindings: dict[TraceNode, TraceNode],
    matched: set[tuple[TraceNode, TraceNode]],
) -> bool:
    """Return whether a node repeats another's operations; enter the nodes that replace its states in `bindings`."""
    stack: list[tuple[Argument, Argument]] = [(pattern, target)]
    while stack:
        p, q = stack.pop()
        if not isinstance(p, TraceNode) or not isinstance(q, TraceNode):
            if isinstance(p, TraceNode) or isinstance(q, TraceNode) or p != q:
                return False
        elif p in carried or p.op == "x":
            if bindings.setdefault(p, q) is not q:
                return False
        elif p not in inside or str(p.op) != str(q.op):
            if p is not q:
                return False
        elif (p, q) not in matched:
            matched.add((p, q))
            if len(p.flat) != len(q.flat):
                return False
            stack.extend(zip(p.flat, q.flat, strict=True))
    return True


def _search_initial_numbers(
    program: StepProgram, states: list[StepState], after_first: dict[TraceNode, TraceNode], x: Tensor
) -> None:
    """Set each state's initial value to the number with which the step program reproduces step 1 bit for bit."""
    numbers = {0.0, 1.0} | {float(v) for n in program.body for v in n.numbers}
    numbers |= {-v for v in numbers}
    first = [after_first[s.before] for s in states]
    batch = program.batch
    inputs = {n: (x if program.image else x[as_int(n.args[0])]) for n in find_ancestors(first) if n.op == "x"}
    values_of_first = compute_nodes(first, inputs, batch)
    constants = program.fold_constants(batch, x if program.image else None)
    for s, target in zip(states, first, strict=True):
        for number in sorted(numbers, key=lambda v: (abs(v), v)):
            s.initial = number
            values = program.run_step(
                constants, program.initial_states(constants, batch), x if program.image else x[0], batch
            )
            if torch.equal(values[s.after], values_of_first[target]):
                break
        else:
            rule = "its state has no initial value: the first step is another program"
            raise Unsupported(rule, SAME_STEPS_ADVICE, s.path)
