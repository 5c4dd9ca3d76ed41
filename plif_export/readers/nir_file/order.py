"""The nodes of a NIR graph in the order of a time-step: nested graphs flattened, and recurrent loops cut.

In a network of time-steps a recurrent spike arrives one step later. A connection closes a loop if, on the way from
the input (in the order of the file's edges), it leads to a node that is still open. The loop is then cut behind the
neurons that feed it: neuron -> Linear -> neuron reads the neuron's spikes of the step before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plif_export.core.readers.rules import Problem, require
from plif_export.readers.nir_file.neurons import SPIKING_TYPES, NirNode

Edge = tuple[str, str]


@dataclass(frozen=True)
class NodeOrder:
    """The order in which the nodes of a NIR graph can be computed, and the edges that lead to the next step.

    names: of the nodes, each after the nodes that it reads. before: {node: its sources, in the order of the edges}.
    delayed: the edges that carry values of the step before. problems: of nodes that the order cannot reach.
    """

    names: list[str]
    before: dict[str, list[str]]
    delayed: frozenset[Edge]
    problems: list[Problem]


def flatten_graph(
    nodes: dict[str, NirNode], edges: Iterable[Edge], within: str = ""
) -> tuple[dict[str, NirNode], list[Edge]]:
    """Flatten the nested graphs of a NIR file into one list of nodes and edges, with names like block.lif.

    The Input and the Output of a nested graph stay as nodes that pass their input on. Raises Unsupported.
    """
    flat: dict[str, NirNode] = {}
    flat_edges: list[Edge] = []
    ends: dict[str, Edge] = {}  # {nested graph: (its input, its output)}
    for name, node in nodes.items():
        if type(node).__name__ != "NIRGraph":
            flat[within + name], ends[name] = node, (within + name, within + name)
            continue
        inner, inner_edges = flatten_graph(node.nodes, node.edges, f"{within}{name}.")
        ports = [
            [inner_name for inner_name, inner_node in node.nodes.items() if type(inner_node).__name__ == kind]
            for kind in ("Input", "Output")
        ]
        rule = f"the nested graph '{within}{name}' has {len(ports[0])} inputs and {len(ports[1])} outputs"
        require(len(ports[0]) == len(ports[1]) == 1, rule, "give it one of each")
        ends[name] = (f"{within}{name}.{ports[0][0]}", f"{within}{name}.{ports[1][0]}")
        flat |= inner
        flat_edges += inner_edges
    for a, b in edges:
        require(
            a in ends and b in ends, f"an edge leads from '{a}' to '{b}', which are not both there", "write it again"
        )
        flat_edges.append((ends[a][1], ends[b][0]))
    return flat, flat_edges


def sort_nodes(nodes: dict[str, NirNode], edges: list[Edge], start: str) -> NodeOrder:
    """Sort the nodes of a NIR graph so that each comes after the nodes that it reads (topological order)."""
    before: dict[str, list[str]] = {name: [] for name in nodes}
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    delayed: set[Edge] = set()
    problems: dict[str, Problem] = {}
    for last, first in _find_back_edges(after, start):
        cut = _find_cut_edges(last, first, nodes, before, after)
        if isinstance(cut, Problem):
            problems[cut.path] = cut
            delayed.add((last, first))
        delayed |= set() if isinstance(cut, Problem) else cut
    names: list[str] = []
    waiting = {name: [source for source in needs if (source, name) not in delayed] for name, needs in before.items()}
    while waiting:
        ready = [name for name, needs in waiting.items() if all(need in names for need in needs)]
        if not ready:
            for name in waiting:
                rule, advice = "it is part of a loop that does not start at the input", "connect it to the input"
                problems.setdefault(name, Problem(name, type(nodes[name]).__name__, rule, advice))
            break
        for name in ready:
            names.append(name)
            del waiting[name]
    return NodeOrder(names, before, frozenset(delayed), list(problems.values()))


def _find_back_edges(after: dict[str, list[str]], start: str) -> list[Edge]:
    """List the edges of a NIR graph that close a loop, by a depth-first search from its input."""
    back_edges: list[Edge] = []
    closed: set[str] = set()
    path_nodes, pending = [start], [iter(after[start])]
    while path_nodes:
        following = next(pending[-1], None)
        if following is None:
            closed.add(path_nodes.pop())
            pending.pop()
        elif following in path_nodes:
            back_edges.append((path_nodes[-1], following))
        elif following not in closed:
            path_nodes.append(following)
            pending.append(iter(after[following]))
    return back_edges


def _find_cut_edges(
    last: str, first: str, nodes: dict[str, NirNode], before: dict[str, list[str]], after: dict[str, list[str]]
) -> set[Edge] | Problem:
    """Return the edges of a NIR graph to delay by a step, so that none leads from `last` back to `first`.

    These edges start at spiking neurons. Returns a Problem if there are none.
    """

    def problem(name: str, rule: str) -> Problem:
        return Problem(
            name, type(nodes[name]).__name__, rule, "let a loop go from neurons back to neurons, by layers of its own"
        )

    if type(nodes[last]).__name__ in SPIKING_TYPES:
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
            if type(nodes[source]).__name__ in SPIKING_TYPES:
                cut.add((source, name))
            elif source not in back:
                back.add(source)
                todo.append(source)
    if first in back:
        return problem(first, "it is part of a recurrent connection without a spiking neuron")
    reached, todo = {first}, [first]
    while todo:
        new = [reader_name for reader_name in after[todo.pop()] if reader_name not in reached]
        reached.update(new)
        todo += new
    for source, name in cut:
        if source not in reached:
            return problem(name, f"a recurrent connection reads '{source}', which is not on its loop")
    for name in back:
        if any(reader not in back and reader != first for reader in after[name]):
            return problem(name, "it is part of a recurrent connection, and read elsewhere as well")
    return cut
