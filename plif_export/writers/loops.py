"""Which parts of a graph can be computed for all time-steps at once, and which have to wait for the step before."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.model.graph import Graph, Node


def parts(graph: Graph) -> Iterator[tuple[list[Node], bool]]:
    """The graph in parts, each after those that it needs: (nodes in their order, whether they are a loop over time).

    A State node needs its neuron: "after" in the same step, "before" in the one before it. So nodes are on a loop where each
    needs the other (strongly connected components; Tarjan 1972, without recursion). All others are parts of one node.
    """
    neurons = {node.layer: node.name for node in graph.neurons}
    needs = {node.name: [name for name in node.inputs if name != graph.input] for node in graph}
    for node in graph:
        if node.op == "State":
            needs[node.name] = [neurons[node.layer]]
    place = {node.name: i for i, node in enumerate(graph)}
    nodes = {node.name: node for node in graph}
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: list[str] = []
    for root in place:
        walk = [] if root in number else [(root, iter(needs[root]))]
        if walk:
            number[root] = low[root] = len(number)
            open_.append(root)
        while walk:
            name, rest = walk[-1]
            following = next(rest, None)
            if following is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[name])
                if low[name] == number[name]:
                    part = open_[open_.index(name) :]
                    del open_[-len(part) :]
                    yield [nodes[one] for one in sorted(part, key=place.__getitem__)], len(part) > 1
            elif following not in number:
                number[following] = low[following] = len(number)
                open_.append(following)
                walk.append((following, iter(needs[following])))
            elif following in open_:
                low[name] = min(low[name], number[following])
