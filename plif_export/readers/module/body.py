"""The body of one time-step, its states and what they start from: out of the runs of one module for several lengths.

    body of step k  =  nodes of run k, in order, that run k + 1 has too (so not the readout), and run k - 1 has not

What every step has in common (a first convolution of a static image, an expression of weights) is in none of these sets: it is
hoisted by itself. The bodies of two steps, walked side by side, must be the same program. Where their arguments differ, a step
reads its own input, or a value that the step before made: that is a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.tracing.elementwise import TABLE
from plif_export.readers.tracing.nodes import Argument, Table, TraceNode, as_int, as_number, execute, swap
from plif_export.readers.tracing.record import TraceRun

Values = dict[TraceNode, Tensor]
EVERY = "every step must do the same"
NO_NUMBER = "a number that depends on t cannot be exported"
OWN_INPUT = "every step may read its own input only"
COUNTS = "it reads a state that does not depend on the input"


@dataclass(eq=False)
class StepState:
    """before: what the body reads; after: what it makes of it for the next step; initial: a node, or a number."""

    before: TraceNode
    after: TraceNode
    initial: TraceNode | float = 0.0

    @property
    def path(self) -> str:
        return self.after.path


@dataclass(eq=False)
class StepProgram:
    """One time-step of a module as it was written, with its states outside: what runs it in PyTorch.

    body      nodes in an order that runs; what they read beside input and states is static
    x         stands for the input of a step, [B, ...]; None where no step reads it
    batch     of the example run
    earlier   {node: the same of the step before}
    """

    body: list[TraceNode]
    x: TraceNode | None
    states: list[StepState]
    batch: int
    length: int  # T of the run that it was taken from
    image: bool = False  # every step reads the same input
    inside: set[TraceNode] = field(default_factory=set)
    earlier: dict[TraceNode, TraceNode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inside = set(self.body)

    def static(
        self, batch: int, image: Tensor | None = None, also: Iterable[TraceNode] = (), made: TraceNode | None = None
    ) -> Values:
        """What the body, the states' starts and the nodes `also` read that no step makes. made: a node that a step makes; image:
        [B, ...], the one input of all steps."""
        stepped = {*self.inside, *also, *(s.before for s in self.states), self.x, made}
        wanted = [n for node in (*self.body, *also) for n in node.reads if n not in stepped]
        wanted += [s.initial for s in self.states if isinstance(s.initial, TraceNode)]
        known = {} if image is None else {n: image for n in ancestors(wanted) if n.op == "x"}
        return compute(wanted, known, batch)

    def start(self, known: Values, batch: int) -> Values:
        found = {}
        for s in self.states:
            value = (
                known[s.initial] if isinstance(s.initial, TraceNode) else torch.tensor(s.initial, dtype=s.before.dtype)
            )
            found[s.before] = torch.broadcast_to(value, of_batch(s.before, self.batch, batch)).clone()
        return found

    def advance(
        self,
        known: Values,
        now: Values,
        x: Tensor | None,
        batch: int,
        noise: Mapping[TraceNode, tuple[TraceNode, Tensor]] | None = None,
        seen: Callable[[TraceNode, Tensor], Tensor] | None = None,
    ) -> Values:
        """All values of one step. known: static values; now: the states before it; x: its input [B, ...].

        noise  {node of the body: (what it reads, what is added to that)}, for the node alone
        seen   node of the body, its value -> the value that it counts as from there on
        """
        values = {**known, **now}
        if self.x is not None and x is not None:
            values[self.x] = x
        for node in self.body:
            read = values
            if noise and node in noise:
                source, more = noise[node]
                read = {**{n: values[n] for n in node.reads}, source: values[source] + more}
            value = valued(node, read, batch)
            values[node] = value if seen is None else seen(node, value)
        return values

    def next(self, values: Values) -> Values:
        return {s.before: values[s.after] for s in self.states}


def of_batch(node: TraceNode, example: int, batch: int) -> tuple[int, ...]:
    """The shape of a node for another batch."""
    return tuple(n // example * batch if axis == 0 and n % example == 0 else n for axis, n in enumerate(node.shape))


def static_value(node: TraceNode, known: Mapping[TraceNode, Tensor]) -> Tensor:
    """The value of a node that no step makes, [...]."""
    if node not in known:
        raise Unsupported(COUNTS, NO_NUMBER)
    return known[node]


def ancestors(nodes: Iterable[TraceNode]) -> set[TraceNode]:
    found: set[TraceNode] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.reads)
    return found


def compute(wanted: Iterable[TraceNode], known: Values, batch: int) -> Values:
    """The values of nodes, and of all that they are made of. known: the values of some, which are kept."""
    known, need, stack = dict(known), set(), list(wanted)
    while stack:
        node = stack.pop()
        if node not in known and node not in need:
            need.add(node)
            stack.extend(node.reads)
    with torch.no_grad():
        for node in sorted(need, key=lambda n: n.index):
            if node.op == "x":
                raise Unsupported("something outside of the loop over T reads the input of one step", EVERY, node.path)
            known[node] = valued(node, known, batch) if node.data is None else node.data
    return known


def valued(node: TraceNode, known: Values, batch: int) -> Tensor:
    """The value of a node, [B, ...] mostly, from those of what it reads. Of an operation that makes several it is no tensor, and
    only the nodes that take a part of it read it."""
    return cast(Tensor, execute(node.op, swap(node.args, TraceNode, known.__getitem__), batch))


# --- finding it -----------------------------------------------------------------------------------------------------------


def find_body(
    runs: Mapping[int, TraceRun], table: Table, at: int, static: bool
) -> tuple[StepProgram, dict[TraceNode, TraceNode]]:
    """The program of step at + 1, from runs of the lengths at - 1 ... at + 2; and {state that it reads: in the step before}.

    static  whether all steps read the same input
    """
    earlier, later = (
        [n for n in runs[k].order if n in runs[k + 1].order and n not in runs[k - 1].order and n.op != "x"]
        for k in (at, at + 1)
    )
    if not later:
        advice = "give the network one input for each step, or a loop over T"
        raise Unsupported("nothing in forward repeats with T", advice, "")
    pairs: dict[TraceNode, TraceNode] = dict(zip(earlier, later, strict=False))
    own: TraceNode | None = None
    read: dict[TraceNode, TraceNode] = {}
    fixed: set[TraceNode] = set()
    for a, b in zip(earlier, later, strict=False):
        left, right = a.flat, b.flat
        if str(a.op) != str(b.op) or len(left) != len(right):
            raise Unsupported(f"one step does {a.name} where the next does {b.name}", EVERY, b.path)
        for p, q in zip(left, right, strict=True):
            if p is q and isinstance(p, TraceNode):
                fixed.add(p)
                continue
            if not isinstance(p, TraceNode) or not isinstance(q, TraceNode):
                if isinstance(p, TraceNode) or isinstance(q, TraceNode) or p != q:
                    same = "an array in one step and another" if b.op == "const" else f"{p} in one step and {q}"
                    what = f"{b.name} uses {same} in the next"
                    raise Unsupported(what, NO_NUMBER, b.path)
            elif p.op == q.op == "x":
                if (p.args[0], q.args[0]) != (at - 1, at):
                    what = f"step {at + 1} reads the input of step {as_int(q.args[0]) + 1}"
                    raise Unsupported(what, OWN_INPUT, b.path)
                own = q
            elif p.op == "param" or q.op == "param":
                what = f"one step reads {p.args[0]} and the next {q.args[0]}"
                raise Unsupported(what, "weights for each step cannot be exported", b.path)
            elif pairs.get(p) is not q:
                if q not in pairs:
                    if q.op == "x" or p.op == "x":
                        raise Unsupported("a step reads the input of an older step", OWN_INPUT, b.path)
                    if q.data is not None or not q.moves:
                        raise Unsupported(f"{b.name} uses other constants in each step", NO_NUMBER, b.path)
                    what = f"a step reads {q.name} made two steps before"
                    raise Unsupported(what, "keep it in a state of its own", b.path)
                read[q] = p
    if len(earlier) != len(later):
        raise Unsupported(f"one step has {len(earlier)} operations and the next {len(later)}", EVERY, "")
    if static and own is None:
        own = next((n for n in runs[at].order if n.op == "x"), None)
    body, carried = _without_derived(read, pairs, fixed)
    states = [StepState(q, pairs[q]) for q in carried]
    before = {later: earlier for earlier, later in pairs.items()}
    return StepProgram(body, own, states, table.batch, at + 1, static, earlier=before), read


def _without_derived(
    read: dict[TraceNode, TraceNode], pairs: dict[TraceNode, TraceNode], fixed: set[TraceNode]
) -> tuple[list[TraceNode], list[TraceNode]]:
    """The body and the states that are left, without those that are made of other states and weights only (snnTorch's reset, of
    the membrane): these are made again in every step."""
    carried, again = dict.fromkeys(read), []

    def made_of_others(me: TraceNode) -> list[TraceNode] | None:
        """The operations that make a state of other states and of what is fixed; None where it needs anything else."""
        parts, stack = dict[TraceNode, None](), [me]
        while stack:
            node = stack.pop()
            if (node in carried and node is not me) or node not in pairs:
                if node not in carried and node not in fixed:
                    return None
            elif node not in parts:
                parts[node] = None
                stack.extend(node.reads)
        return list(parts)

    by_layers = {r for body in (pairs, pairs.values()) for n in body if n.name not in TABLE for r in n.reads}
    for q in read:
        if q in by_layers:
            continue  # a layer reads it: as a state, it is there before the step
        parts = made_of_others(q)
        if parts is not None:
            del carried[q]
            again += parts
    first = set(again)
    return [n for n in pairs if n in first] + list(pairs.values()), list(carried)


def keep_needed(program: StepProgram, ends: Iterable[TraceNode], whole: Callable[[str], bool]) -> None:
    """Drops what the ends do not need, over as many steps as it takes.

    whole  path -> whether it is a neuron's: what such a submodule does with its states stays, its spikes too
    """
    wanted, need = set(ends), set[TraceNode]()
    while wanted - need:
        need |= wanted
        for node in reversed(program.body):
            if node in need:
                need.update(node.reads)
        paths = {s.after.path for s in program.states if s.after in need and whole(s.after.path)}
        for node in program.body:
            if node.name in TABLE and node.path in paths and any(r in need for r in node.reads if r.moves):
                need.add(node)
        wanted = {s.after for s in program.states if s.before in need} | {
            r for n in need for r in n.reads if r in program.inside
        }
    program.states = [s for s in program.states if s.before in need]
    program.body = [n for n in program.body if n in need]
    program.inside = set(program.body)


# --- initial values -------------------------------------------------------------------------------------------------------


def find_initial(program: StepProgram, read: dict[TraceNode, TraceNode], at: int, held: set[str], x: Tensor) -> None:
    """What each state starts from: from what step at + 1 reads back to what step 1 read, the program laid over it.

    Where step 1 was written otherwise (`if t == 0: out = y`, or a state that begins as a Python number): the number, of those
    in the body, that gives bit for bit what step 1 gave. x: inputs [T, B, ...] for that, or one image [B, ...].
    """
    inside, carried = program.inside, {s.before for s in program.states}
    target = {s.before: read[s.before] for s in program.states if s.before in read}
    after_first = target
    for _ in range(at - 1):
        after_first = target
        found: dict[TraceNode, TraceNode] = {}
        done: set[tuple[TraceNode, TraceNode]] = set()
        for s in program.states:
            trial, compared = dict(found), set(done)
            if s.before in target and _match(s.after, target[s.before], carried, inside, trial, compared):
                found, done = trial, compared
        target = {n: v for n, v in found.items() if n in carried}
    for s in program.states:
        s.initial = target.get(s.before, 0.0)
        if not isinstance(s.initial, TraceNode):
            continue
        made_of = ancestors([s.initial])
        left = next((str(n.args[0]) for n in made_of if n.op == "param" and n.args[0] in held), None)
        if left is not None:
            rule = "it starts from a state that the module holds already"
            raise Unsupported(rule, f"set {_attribute(left)!r} as before the first step", s.path)
        if any(n.op == "x" for n in made_of):
            raise Unsupported("its state starts from the first input", "start it from a constant", s.path)
        if s.initial.op == "full":
            s.initial = as_number(s.initial.args[1])
    open_states = [s for s in program.states if s.before not in target and s.before in after_first]
    for s in (s for s in program.states if s.before not in target and s.before not in after_first):
        raise Unsupported("its state has no initial value: the first steps are other programs", EVERY, s.path)
    if open_states:
        _try_numbers(program, open_states, after_first, x)


def _attribute(name: str) -> str:
    """net.state1.0 -> net.state1: the attribute that holds a tensor of a list."""
    parts = name.split(".")
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    return parts[-1]


def _match(
    pattern: TraceNode,
    target: TraceNode,
    carried: set[TraceNode],
    inside: set[TraceNode],
    found: dict[TraceNode, TraceNode],
    compared: set[tuple[TraceNode, TraceNode]],
) -> bool:
    """Whether target is the pattern's program with other states, which are entered in `found`."""
    stack: list[tuple[Argument, Argument]] = [(pattern, target)]
    while stack:
        p, q = stack.pop()
        if not isinstance(p, TraceNode) or not isinstance(q, TraceNode):
            if isinstance(p, TraceNode) or isinstance(q, TraceNode) or p != q:
                return False
        elif p in carried or p.op == "x":
            if found.setdefault(p, q) is not q:
                return False
        elif p not in inside or str(p.op) != str(q.op):
            if p is not q:
                return False
        elif (p, q) not in compared:
            compared.add((p, q))
            if len(p.flat) != len(q.flat):
                return False
            stack.extend(zip(p.flat, q.flat, strict=True))
    return True


def _try_numbers(
    program: StepProgram, states: list[StepState], after_first: dict[TraceNode, TraceNode], x: Tensor
) -> None:
    """Gives each of the states the number from which step 1 makes what it made."""
    numbers = {0.0, 1.0} | {float(v) for n in program.body for v in n.numbers}
    numbers |= {-v for v in numbers}
    first = [after_first[s.before] for s in states]
    batch = program.batch
    inputs = {n: (x if program.image else x[as_int(n.args[0])]) for n in ancestors(first) if n.op == "x"}
    made = compute(first, inputs, batch)
    known = program.static(batch, x if program.image else None)
    for s, wanted in zip(states, first, strict=True):
        for number in sorted(numbers, key=lambda v: (abs(v), v)):
            s.initial = number
            values = program.advance(known, program.start(known, batch), x if program.image else x[0], batch)
            if torch.equal(values[s.after], made[wanted]):
                break
        else:
            rule = "its state has no initial value: the first step is another program"
            raise Unsupported(rule, EVERY, s.path)
