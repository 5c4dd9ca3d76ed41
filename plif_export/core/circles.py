"""The cycles of a directed graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

GraphNode = TypeVar("GraphNode")


def strong_components(needs: Mapping[GraphNode, Sequence[GraphNode]]) -> Iterator[list[GraphNode]]:
    """Yield the strongly connected components of a directed graph, each after the ones that it depends on.

    needs  {node: the nodes that it depends on}; components and their nodes keep this order as far as possible
    A node on no cycle is a component by itself. Tarjan 1972, without recursion.
    """
    position = {current: i for i, current in enumerate(needs)}
    index: dict[GraphNode, int] = {}
    low: dict[GraphNode, int] = {}
    stack: list[GraphNode] = []

    def enter(node: GraphNode) -> tuple[GraphNode, Iterator[GraphNode]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        return node, iter(needs[node])

    for root in needs:
        path = [] if root in index else [enter(root)]
        while path:
            current, successors = path[-1]
            successor = next(successors, None)
            if successor is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[current])
                if low[current] == index[current]:
                    component = stack[stack.index(current) :]
                    del stack[-len(component) :]
                    yield sorted(component, key=position.__getitem__)
            elif successor not in index:
                path.append(enter(successor))
            elif successor in stack:
                low[current] = min(low[current], index[successor])
