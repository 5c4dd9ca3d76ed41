"""Membranes of a session in the event engine: a unit without input is not stepped until it gets some, or somebody looks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime import native
from runtime.engines.buffers import Arrays, Buffers, Rates
from runtime.model.card import Card

BindLazily = Callable[
    [np.ndarray, Arrays, np.ndarray, Arrays, Rates, Arrays], tuple[Callable[[], None], Callable[[], None]]
]


class LazyMembranes(Buffers):
    """Membranes that calls update in place, and that are up to date when somebody has asked for them.

    v     float32 [rows, C, H, W] of each state, in the layout of the kernels
    bind  (x, v, y, v_next, rates, owed) -> a function for a call, and one that takes the steps that calls left out.
          owed: uint8, for OWED_FLOATS membranes in memory one, for each state (plif_settle in runtime/native/event.h)
    """

    def __init__(self, card: Card, rows: int, rates: bool, v: list[np.ndarray], floats: list[int], bind: BindLazily):
        super().__init__(card, rows, rates)
        self._v = v
        self.owed = [np.zeros(-(-rows * n // native.OWED_FLOATS), np.uint8) for n in floats]
        self._call, self._settle = bind(self.x, v, self.y, v, self.rates, self.owed)
        self._settled = True

    def run(self) -> None:
        self._settled = False
        self._call()

    def membranes(self) -> list[np.ndarray]:
        """As Buffers says: float32 [rows, ...] of each state."""
        if not self._settled:
            self._settle()
            self._settled = True
        return self._v
