"""Attributes of a module in which its own code keeps something from one call to the next.

A state of a neuron may lie there (Norse: `s, self.state = lif(x, self.state)`). Anything else that depends on the input
would be lost by a trace.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from plif_export.readers.neuron_modules import neuron_type
from plif_export.readers.rules import REGISTER, Problem

_MISSING = object()


@dataclass
class HeldState:
    """An attribute (or buffer) of a module, and what it held before the trace. The dictionary `store` has it by its name."""

    store: dict[str, Any]
    name: str
    before: Any

    def restore(self) -> None:
        if self.before is _MISSING:
            self.store.pop(self.name, None)
        else:
            self.store[self.name] = _copied(self.before)


class Attributes:
    """What the attributes of a module and of its parts hold before a trace."""

    def __init__(self, module: nn.Module) -> None:
        self.parts = [
            (path, type(part).__name__, [(store, _copied(dict(store))) for store in _stores(part)])
            for path, part in module.named_modules()
        ]

    def traced(self, root: nn.Module) -> tuple[list[HeldState], list[Problem]]:
        """The attributes that a trace below root left a traced value in, put back, and those among them that it would lose."""
        held, problems = [], []
        for path, kind, stores in self.parts:
            unknown = set()
            for store, before in stores:
                for name in [name for name in store if name[:2] != "__" and list(_proxies(store[name]))]:
                    if not all(_is_state(proxy.node, root) for proxy in _proxies(store[name])):
                        unknown.add(name)
                    held.append(HeldState(store, name, before.get(name, _MISSING)))
                    held[-1].restore()
            if unknown:
                rule = f"it keeps a state in {', '.join(map(repr, sorted(unknown)))} that the exporter does not know"
                problems.append(Problem(path or "forward", kind, rule, f"if it is a neuron, {REGISTER}"))
        return held, problems


def _copied(value: Any) -> Any:
    """Lists and dictionaries are copied, because a module changes them in place; what they hold is not."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if type(value) is list else value


def _stores(part: nn.Module) -> list[dict[str, Any]]:
    return [vars(part), part._buffers, vars(part).get("_memories", {})]


def _proxies(value: Any, depth: int = 3) -> Iterator[fx.Proxy]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple) and depth:
        for part in value:
            yield from _proxies(part, depth - 1)
    elif isinstance(value, fx.Proxy):
        yield value


def _is_state(node: fx.Node, root: nn.Module) -> bool:
    """Whether a recorded value is the state, or a part of it, that a neuron returned behind its spikes."""
    while node.op == "call_function" and node.target is operator.getitem:
        source, index = node.args
        assert isinstance(source, fx.Node)
        if source.op == "call_module":
            neuron = root.get_submodule(str(source.target))
            kind = neuron_type(neuron)
            return kind is not None and kind.pair(neuron) and bool(index == 1)
        node = source
    return False
