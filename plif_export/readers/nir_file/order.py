"""The nodes of a NIR graph in an order of time-steps: nested graphs opened, and loops cut where spikes come back.

In a network of time-steps a spike that comes back arrives one step later. A connection closes a loop where, on the way from
the input (in the order of the file's edges), it leads to a node that is still open; from there the loop is cut behind the
neurons whose spikes it carries: neuron -> Linear -> neuron reads the neuron's spikes of the step before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plif_export.core.readers.rules import Problem, require
from plif_export.readers.nir_file.neurons import SPIKING, NirNode

Edge = tuple[str, str]


@dataclass(frozen=True)
class Order:
    """names: of the nodes, each after what it reads; before: {node: what it reads, in the order of the edges}; delayed: the edges
    that carry what was one step before; problems: of nodes that are on no such path."""

    names: list[str]
    before: dict[str, list[str]]
    delayed: frozenset[Edge]
    problems: list[Problem]


def opened(nodes: dict[str, NirNode], edges: Iterable[Edge], within: str = "") -> tuple[dict[str, NirNode], list[Edge]]:
    """Nodes and edges with those of nested graphs among them, by names like block.lif. The Input and the Output of a nested graph
    stay as nodes that pass on what they read. Raises Unsupported."""
    flat: dict[str, NirNode] = {}
    wires: list[Edge] = []
    ends: dict[str, Edge] = {}  # nested graph -> its input and its output
    for name, node in nodes.items():
        if type(node).__name__ != "NIRGraph":
            flat[within + name], ends[name] = node, (within + name, within + name)
            continue
        inner, inner_wires = opened(node.nodes, node.edges, f"{within}{name}.")
        ports = [
            [one for one, what in node.nodes.items() if type(what).__name__ == kind] for kind in ("Input", "Output")
        ]
        rule = f"the nested graph '{within}{name}' has {len(ports[0])} inputs and {len(ports[1])} outputs"
        require(len(ports[0]) == len(ports[1]) == 1, rule, "give it one of each")
        ends[name] = (f"{within}{name}.{ports[0][0]}", f"{within}{name}.{ports[1][0]}")
        flat |= inner
        wires += inner_wires
    for a, b in edges:
        require(
            a in ends and b in ends, f"an edge leads from '{a}' to '{b}', which are not both there", "write it again"
        )
        wires.append((ends[a][1], ends[b][0]))
    return flat, wires


def ordered(nodes: dict[str, NirNode], edges: list[Edge], start: str) -> Order:
    """The order of the nodes; start: the network's input."""
    before: dict[str, list[str]] = {name: [] for name in nodes}
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    delayed: set[Edge] = set()
    problems: dict[str, Problem] = {}
    for last, first in _closing(after, start):
        cut = _cut(last, first, nodes, before, after)
        if isinstance(cut, Problem):
            problems[cut.path] = cut
            delayed.add((last, first))
        delayed |= set() if isinstance(cut, Problem) else cut
    names: list[str] = []
    todo = {name: [one for one in needs if (one, name) not in delayed] for name, needs in before.items()}
    while todo:
        ready = [name for name, needs in todo.items() if all(need in names for need in needs)]
        if not ready:
            for name in todo:
                rule, advice = "it is part of a loop that does not start at the input", "connect it to the input"
                problems.setdefault(name, Problem(name, type(nodes[name]).__name__, rule, advice))
            break
        for name in ready:
            names.append(name)
            del todo[name]
    return Order(names, before, frozenset(delayed), list(problems.values()))


def _closing(after: dict[str, list[str]], start: str) -> list[Edge]:
    """The edges that lead back to a node on the way to them, depth first from the start."""
    found: list[Edge] = []
    done: set[str] = set()
    way, rest = [start], [iter(after[start])]
    while way:
        following = next(rest[-1], None)
        if following is None:
            done.add(way.pop())
            rest.pop()
        elif following in way:
            found.append((way[-1], following))
        elif following not in done:
            way.append(following)
            rest.append(iter(after[following]))
    return found


def _cut(
    last: str, first: str, nodes: dict[str, NirNode], before: dict[str, list[str]], after: dict[str, list[str]]
) -> set[Edge] | Problem:
    """The edges to cut so that nothing comes from `last` back to `first` in the same step: those behind spiking neurons."""

    def problem(name: str, rule: str) -> Problem:
        return Problem(
            name, type(nodes[name]).__name__, rule, "let a loop go from neurons back to neurons, by layers of its own"
        )

    if type(nodes[last]).__name__ in SPIKING:
        return {(last, first)}
    cut: set[Edge] = set()
    back, todo = {last}, [last]
    while todo:
        name = todo.pop()
        if type(nodes[name]).__name__ == "Delay":
            return problem(name, "it is a Delay on a recurrent connection")
        if not before[name]:
            return problem(last, "it is part of a recurrent connection that does not carry spikes alone")
        for source in before[name]:
            if type(nodes[source]).__name__ in SPIKING:
                cut.add((source, name))
            elif source not in back:
                back.add(source)
                todo.append(source)
    if first in back:
        return problem(first, "it is part of a recurrent connection without a spiking neuron")
    reached, todo = {first}, [first]
    while todo:
        new = [one for one in after[todo.pop()] if one not in reached]
        reached.update(new)
        todo += new
    for source, name in cut:
        if source not in reached:
            return problem(name, f"a recurrent connection reads '{source}', which is not on its loop")
    for name in back:
        if any(reader not in back and reader != first for reader in after[name]):
            return problem(name, "it is part of a recurrent connection, and read elsewhere as well")
    return cut
