"""An artifact that was read back as a graph: the interpreter runs it behind the interface of a runtime.Model, for the gate."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from plif_export.proof.arithmetic import interpret
from runtime.model.card import Card
from runtime.model.graph import Graph, state_key, variable_of


class InterpretedModel:
    """A graph with the card of its artifact. layers: a layer's name in the graph -> its name in the card."""

    def __init__(self, card: Card, graph: Graph, layers: Mapping[str, str], name: str) -> None:
        self.card, self.graph = card, graph
        self.engine: Any = SimpleNamespace(name=name, sums_in_float32=True)
        self.layers = {layer: own for own, layer in layers.items()}

    def session(self, streams: int = 1) -> InterpretedSession:
        return InterpretedSession(self, streams)


class InterpretedSession:
    """A session of an InterpretedModel, with its states in the order of the card's."""

    def __init__(self, model: InterpretedModel, streams: int) -> None:
        self.model, self.streams = model, streams
        self.keys = []  # of the graph's state, in the order of the card's
        for state in model.card["states"]:
            layer = model.layers.get(state["layer"], state["layer"])
            self.keys.append(state_key(layer, variable_of(state)))
        self.state = interpret.start(model.graph, streams)

    def restore(self, values: list[np.ndarray]) -> None:
        """Sets the states, float32 [streams, ...] each."""
        self.state = dict(zip(self.keys, values, strict=True))

    def snapshot(self) -> list[np.ndarray]:
        """The states, float32 [streams, ...] each."""
        nothing = np.zeros((self.streams, 0), np.float32)  # a layer that is not in the graph differs from every shape
        return [self.state.get(key, nothing) for key in self.keys]

    def step(self, x: np.ndarray) -> np.ndarray:
        """x [streams, ...] float32 -> y [streams, classes] float32"""
        y, self.state, _ = interpret.step(self.model.graph, x, self.state)
        return y
