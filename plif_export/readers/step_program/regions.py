"""The search for layers of neurons among the elementwise operations of a step.

A layer of neurons consists of the elementwise operations on the cycles from a state to its next value. If one
submodule made all of them, the layer includes everything elementwise of this submodule: its spikes, or a factor on
its input. Code without a submodule for its neurons gets the comparison that decides its spikes, and the operations
between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from plif_export.core.circles import strong_components
from plif_export.core.readers.rules import Unsupported
from plif_export.readers.step_program.body import StepProgram, StepState
from plif_export.readers.step_program.elementwise import COMPARES, is_elementwise
from plif_export.readers.tracing.nodes import TraceNode


@dataclass(eq=False)
class NeuronRegion:
    """The group of recorded operations that make up one layer of neurons, in order, and the layer's states.

    shape: without the batch.
    """

    path: str
    nodes: list[TraceNode]
    states: list[StepState] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.nodes[0] if self.nodes else self.states[0].before).shape[1:]

    def find_inputs(self) -> list[TraceNode]:
        """List the recorded nodes outside a layer of neurons whose values it reads as its input currents."""
        inside = {*self.nodes, *(s.before for s in self.states)}
        read = [n for node in self.nodes for n in node.reads] or [s.after for s in self.states]
        return list(dict.fromkeys(n for n in read if n not in inside and n.moves))


def find_regions(
    program: StepProgram, ends: Iterable[TraceNode], stateful: Callable[[str], bool]
) -> list[NeuronRegion]:
    """Find the groups of recorded operations in a time-step of a module that are layers of neurons.

    ends: nodes that are read after the step. stateful: path -> whether it belongs to a neuron.
    """
    nodes = [n for n in program.body if is_elementwise(n)]
    regions: list[NeuronRegion] = []
    for members, states in _find_cycles(nodes, program.states):
        paths = [n.path for n in members] or [s.path for s in states]
        common = next(
            (path for path in parent_paths(paths[0]) if all(is_inside(other_path, path) for other_path in paths)), ""
        )
        regions.append(NeuronRegion(find_neuron_path(common, stateful), members, states))
    regions = _merge_by_module(regions, nodes, program, stateful)
    _add_spike_nodes(regions, nodes, program)
    for s in program.states:  # a state that no neuron computes, such as the input of the last step
        if not any(s in r.states for r in regions):
            region = next((r for r in regions if s.after in r.nodes), None)
            if region is not None and s.before.shape == region.nodes[0].shape:
                region.states.append(s)
            else:
                regions.append(NeuronRegion(s.path, [], [s]))
    return regions


def parent_paths(path: str) -> list[str]:
    """Return the dotted path of a submodule and the paths of all modules around it, the innermost first."""
    names = path.split(".")
    return [".".join(names[:n]) for n in range(len(names), 0, -1)]


def find_neuron_path(path: str, stateful: Callable[[str], bool]) -> str:
    """Return the path of the innermost neuron module around a path, or the path itself if there is none."""
    return next(filter(stateful, parent_paths(path)), path)


def is_inside(path: str, parent: str) -> bool:
    """Return whether the dotted path of a submodule is the path of a given module, or is inside it."""
    return path == parent or path.startswith(f"{parent}.")


def _find_cycles(nodes: list[TraceNode], states: list[StepState]) -> list[tuple[list[TraceNode], list[StepState]]]:
    """Find the cycles of elementwise operations by which a state leads to its own value after the step."""
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
    parts = ({*part} for part in strong_components(needs) if len(part) > 1)
    cycles = (([n for n in nodes if n in part], [s for s in states if s in part]) for part in parts)
    return [(members, cycle_states) for members, cycle_states in cycles if cycle_states]


def _merge_by_module(
    regions: list[NeuronRegion], nodes: list[TraceNode], program: StepProgram, stateful: Callable[[str], bool]
) -> list[NeuronRegion]:
    """Merge all elementwise operations in a submodule that has neurons into one layer of neurons.

    They stay separate if the merged layer could not be computed in one go.
    """
    merged_regions: list[NeuronRegion] = []
    for path in dict.fromkeys(r.path for r in regions):
        siblings = [r for r in regions if r.path == path]
        shape = siblings[0].nodes[0].shape
        is_mergeable = path and all(
            is_elementwise(n) or n.name in ("reshape", "linear", "matmul")
            for n in program.body
            if is_inside(n.path, path)
        )
        region_nodes = {n for r in siblings for n in r.nodes}
        if is_mergeable and all(n.shape == shape for n in region_nodes):
            module_nodes = [n for n in nodes if n in region_nodes or (is_inside(n.path, path) and n.shape == shape)]
            merged = NeuronRegion(path, module_nodes, [s for r in siblings for s in r.states])
            if not has_cycle(merged.nodes, program):
                merged_regions.append(merged)
                continue
        for r in siblings:
            if stateful(path) and _is_fed_by_itself(r, program):
                advice = "give each place a neuron of its own, and feed spikes back in the next step"
                raise Unsupported("it is called twice in one step, and has one state", advice, path)
            merged_regions += _split_region(r, program)
    return merged_regions


def _is_fed_by_itself(region: NeuronRegion, program: StepProgram) -> bool:
    """Return whether spikes of a neuron module come back to it in the same step through operations outside of it."""
    between = _find_between(region.nodes, program)
    return bool(between) and not any(is_inside(n.path, region.path) for n in between)


def _split_region(region: NeuronRegion, program: StepProgram) -> list[NeuronRegion]:
    """Split a layer of neurons where a value leaves it and comes back in the same step, such as a maximum over it.

    The operations behind the way back keep the states. Those before it only read them, as they were before the step.
    """
    if not has_cycle(region.nodes, program):
        return [region]
    inside, needed = set(region.nodes), set[TraceNode]()  # needed: what operations of the region read, at any distance
    early = set[TraceNode]()  # what operations outside of it read, on their way back
    for n in reversed(program.body):
        if n in inside or n in needed:
            needed.update(n.reads)
        if (n not in inside and n in needed) or n in early:
            early.update(n.reads)
    late = NeuronRegion(
        region.path, [n for n in region.nodes if n not in early], [s for s in region.states if s.after not in early]
    )
    rest = [n for n in region.nodes if n in early], [s for s in region.states if s.after in early]
    earlier = [NeuronRegion(region.path, *part) for part in _find_cycles(*rest)]
    return [part for r in earlier for part in _split_region(r, program)] + [late]


def has_cycle(nodes: list[TraceNode], program: StepProgram, regions: Iterable[NeuronRegion] = ()) -> bool:
    """Return whether a value leaves a group of recorded operations and comes back in the same time-step.

    regions: other groups, of which all operations run at once, after all that they read.
    """
    if _find_between(nodes, program):
        return True
    inside = set(nodes)
    group_of = {n: r for r in regions if inside.isdisjoint(r.nodes) for n in r.nodes}
    needed, pending = set[TraceNode](), [r for n in nodes for r in n.reads if r not in inside]
    while pending:
        n = pending.pop()
        if n in inside:
            return True
        if n in program.inside and n not in needed:
            region = group_of.get(n)
            group = [n] if region is None else region.nodes
            needed.update(group)
            pending += [r for member in group for r in member.reads if region is None or group_of.get(r) is not region]
    return False


def _find_between(nodes: list[TraceNode], program: StepProgram) -> list[TraceNode]:
    """List the operations by which a value leaves a group of operations and comes back in the same step."""
    inside = set(nodes)
    behind: dict[TraceNode, None] = {}
    for n in program.body:
        if n in inside:
            if any(r in behind for r in n.reads):
                return list(behind)
        elif any(r in inside or r in behind for r in n.reads):
            behind[n] = None
    return []


def _add_spike_nodes(regions: list[NeuronRegion], nodes: list[TraceNode], program: StepProgram) -> None:
    """Add to each layer of neurons the comparisons of its values with a threshold, and the spikes from them."""
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
            joined = [*region.nodes, *between]
            if all(n.shape[1:] == region.shape for n in between) and not has_cycle(joined, program, regions):
                region.nodes += between
                owner |= dict.fromkeys(between, region)
    for n in nodes:
        if n not in owner and any(r.dtype == torch.bool and r in owner for r in n.reads):
            owners = {owner.get(r) for r in n.reads if r.moves}
            region_of = owners.pop() if len(owners) == 1 else None
            if region_of is not None:
                region_of.nodes.append(n)
                owner[n] = region_of
    for r in regions:
        r.nodes.sort(key=lambda n: n.index)
