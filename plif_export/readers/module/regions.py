"""Which elementwise operations of a step are one layer of neurons.

A layer of neurons is what lies on the cycles from a state to its next value, through elementwise operations only. Where all of
it was made in one submodule, everything elementwise that this submodule did is taken too: its spikes, or a factor on its
input. Code without a submodule of its own gets the comparison that decides its spikes, and what lies between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from plif_export.core.circles import circles
from plif_export.core.readers.rules import Unsupported
from plif_export.readers.module.body import StepProgram, StepState
from plif_export.readers.tracing.elementwise import COMPARES, elementwise
from plif_export.readers.tracing.nodes import TraceNode


@dataclass(eq=False)
class Region:
    """The nodes of one layer of neurons, in order, and its states. shape: without the batch."""

    path: str
    nodes: list[TraceNode]
    states: list[StepState] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.nodes[0] if self.nodes else self.states[0].before).shape[1:]

    def inputs(self) -> list[TraceNode]:
        """What it reads that moves, in order, beside its own states."""
        own = {*self.nodes, *(s.before for s in self.states)}
        read = [n for node in self.nodes for n in node.reads] or [s.after for s in self.states]
        return list(dict.fromkeys(n for n in read if n not in own and n.moves))


def regions_of(program: StepProgram, ends: Iterable[TraceNode], stateful: Callable[[str], bool]) -> list[Region]:
    """The layers of neurons of a step. ends: nodes that are read after the step; stateful: whether a path is a neuron's."""
    nodes = [n for n in program.body if elementwise(n)]
    regions: list[Region] = []
    for members, own in _cycles(nodes, program.states):
        paths = [n.path for n in members] or [s.path for s in own]
        common = next((path for path in above(paths[0]) if all(below(each, path) for each in paths)), "")
        regions.append(Region(neuron_path(common, stateful), members, own))
    regions = _by_module(regions, nodes, program, stateful)
    _take_spikes(regions, nodes)
    for s in program.states:  # a value that is only kept: the input of the last step, say
        if not any(s in r.states for r in regions):
            where = next((r for r in regions if s.after in r.nodes), None)
            if where is not None and s.before.shape == where.nodes[0].shape:
                where.states.append(s)
            else:
                regions.append(Region(s.path, [], [s]))
    return regions


def above(path: str) -> list[str]:
    """A path and those of what it lies in, the innermost first."""
    names = path.split(".")
    return [".".join(names[:n]) for n in range(len(names), 0, -1)]


def neuron_path(path: str, stateful: Callable[[str], bool]) -> str:
    """The path of the neuron that a path lies in; the path itself where it lies in none that is known."""
    return next(filter(stateful, above(path)), path)


def below(path: str, parent: str) -> bool:
    """Whether a path is a submodule's, or inside it."""
    return path == parent or path.startswith(f"{parent}.")


def _cycles(nodes: list[TraceNode], states: list[StepState]) -> list[tuple[list[TraceNode], list[StepState]]]:
    """The circles of the elementwise operations, where a state needs the operation that makes its next value."""
    by_before = {s.before: s for s in states}
    needs: dict[TraceNode | StepState, list[TraceNode | StepState]] = {
        **{n: [] for n in nodes},
        **{s: [] for s in states},
    }
    for n in nodes:
        read = (by_before.get(r, r) for r in n.reads)
        needs[n] = [r for r in read if r in needs]
    for s in states:
        needs[s] = [s.after] if s.after in needs else []
    parts = ({*part} for part in circles(needs) if len(part) > 1)
    found = (([n for n in nodes if n in part], [s for s in states if s in part]) for part in parts)
    return [(members, own) for members, own in found if own]


def _by_module(
    regions: list[Region], nodes: list[TraceNode], program: StepProgram, stateful: Callable[[str], bool]
) -> list[Region]:
    """Regions of one submodule as one, with everything elementwise that it did, where that can be computed in one go."""
    found: list[Region] = []
    for path in dict.fromkeys(r.path for r in regions):
        same = [r for r in regions if r.path == path]
        shape = same[0].nodes[0].shape
        whole = path and all(
            elementwise(n) or n.name in ("reshape", "linear", "matmul") for n in program.body if below(n.path, path)
        )
        taken = {n for r in same for n in r.nodes}
        if whole and all(n.shape == shape for n in taken):
            all_of_it = [n for n in nodes if n in taken or (below(n.path, path) and n.shape == shape)]
            merged = Region(path, all_of_it, [s for r in same for s in r.states])
            if not cyclic(merged.nodes, program):
                found.append(merged)
                continue
        for r in same:
            if between := _between(r.nodes, program):
                raise _in_a_circle(between, path, stateful)
        found += same
    return found


def _in_a_circle(between: list[TraceNode], path: str, stateful: Callable[[str], bool]) -> Unsupported:
    """The refusal of neurons that are fed, in the same step, by what they made: `between` lies on the way."""
    inside = next((n for n in between if path and below(n.path, path)), None)
    if inside is not None:
        rule = f"its state goes through {inside.name}() on the way to the next step"
        return Unsupported(rule, "give the layer in it the state of the step before", path)
    advice = "give each place a neuron of its own, and feed spikes back in the next step"
    if stateful(path):
        return Unsupported("it is called twice in one step, and has one state", advice, path)
    return Unsupported("its spikes feed it again in the same step", advice, path)


def cyclic(nodes: list[TraceNode], program: StepProgram) -> bool:
    """Whether something outside of the nodes reads one of them and is read by another."""
    return bool(_between(nodes, program))


def _between(nodes: list[TraceNode], program: StepProgram) -> list[TraceNode]:
    """What reads one of the nodes and, itself or by others, is read by one of them; empty where nothing does."""
    inside = set(nodes)
    behind: dict[TraceNode, None] = {}
    for n in program.body:
        if n in inside:
            if any(r in behind for r in n.reads):
                return list(behind)
        elif any(r in inside or r in behind for r in n.reads):
            behind[n] = None
    return []


def _take_spikes(regions: list[Region], nodes: list[TraceNode]) -> None:
    """Gives each region the comparisons of its values, with what lies between, and the numbers made of them."""
    owner = {n: r for r in regions for n in r.nodes} | {s.before: r for r in regions for s in r.states}
    for c in nodes:
        if c.name not in COMPARES or c in owner:
            continue
        between, pending, touched = [], [c], set()
        while pending:
            n = pending.pop()
            if n in owner:
                touched.add(owner[n])
            elif n in nodes and n not in between:
                between.append(n)
                pending.extend(n.reads)
        if len(touched) == 1:
            region = touched.pop()
            if all(n.shape[1:] == region.shape for n in between):
                region.nodes += between
                owner |= dict.fromkeys(between, region)
    for n in nodes:
        if n not in owner and any(r.dtype == torch.bool and r in owner for r in n.reads):
            mine = {owner.get(r) for r in n.reads if r.moves}
            region_of = mine.pop() if len(mine) == 1 else None
            if region_of is not None:
                region_of.nodes.append(n)
                owner[n] = region_of
    for r in regions:
        r.nodes.sort(key=lambda n: n.index)
