"""Which nodes of a directed graph are on a circle with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def circles(needs: Mapping[Item, Sequence[Item]]) -> Iterator[list[Item]]:
    """The strongly connected parts, each after those that it needs: what is on no circle is a part by itself.

    needs  {item: the items that it needs}; parts and their items are in its order as far as that goes
    Tarjan 1972, without recursion.
    """
    place = {item: i for i, item in enumerate(needs)}
    number: dict[Item, int] = {}
    low: dict[Item, int] = {}
    unfinished: list[Item] = []

    def enter(item: Item) -> tuple[Item, Iterator[Item]]:
        number[item] = low[item] = len(number)
        unfinished.append(item)
        return item, iter(needs[item])

    for root in needs:
        walk = [] if root in number else [enter(root)]
        while walk:
            item, rest = walk[-1]
            following = next(rest, None)
            if following is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[item])
                if low[item] == number[item]:
                    part = unfinished[unfinished.index(item) :]
                    del unfinished[-len(part) :]
                    yield sorted(part, key=place.__getitem__)
            elif following not in number:
                walk.append(enter(following))
            elif following in unfinished:
                low[item] = min(low[item], number[following])
