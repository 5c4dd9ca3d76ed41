"""Membranes of a session in the event engine: a unit without input is not stepped until it gets some, or somebody looks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime import native
from runtime.engines.buffers import Arrays, Buffers, Rates
from runtime.model.card import Card

BindLazily = Callable[
    [np.ndarray, Arrays, np.ndarray, Arrays, Rates, Arrays, int | None], tuple[Callable[[], None], Callable[[], None]]
]


class LazyMembranes(Buffers):
    """Membranes that calls update in place, and that are up to date when somebody has asked for them.

    v     float32 [rows, C, H, W] of each state, in the layout of the kernels
    bind  (x, v, y, v_next, rates, owed, steps) -> a function for a call, and one that takes the steps that calls left out.
          owed: uint8, for OWED_FLOATS membranes in memory one, for each state (plif_settle in runtime/native/engine/event.h)
          steps: that a call of a step artifact takes, see run_steps; None for one
    """

    def __init__(self, card: Card, rows: int, rates: bool, v: list[np.ndarray], floats: list[int], bind: BindLazily):
        super().__init__(card, rows, rates)
        self._v, self._bind = v, bind
        self.owed = [np.zeros(-(-rows * n // native.OWED_FLOATS), np.uint8) for n in floats]
        run, self._settle = bind(self.x, v, self.y, v, self.rates, self.owed, None)
        self.run = run  # type: ignore[method-assign]  # what is bound is the call itself
        self._many: _Many | None = None  # arrays for calls of so many steps

    def run_steps(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As Buffers says, in one call: a row takes all its steps while its membranes are in the cache."""
        if self._many is None or len(self._many.x) != len(x):
            self._many = _Many(self, len(x))
        many = self._many
        many.x[...] = x
        many.call()
        return many.y.copy(), many.rates

    def membranes(self) -> list[np.ndarray]:
        """As Buffers says: float32 [rows, ...] of each state."""
        self._settle()
        return self._v


class _Many:
    """What a call of several steps reads and writes, beside the membranes."""

    def __init__(self, one: LazyMembranes, steps: int) -> None:
        self.x = np.zeros((steps, *one.x.shape), np.float32)
        self.y = np.zeros((steps, *one.y.shape), np.float32)
        self.rates = {layer: np.zeros(steps * values.size, np.float32) for layer, values in one.rates.items()}
        self.call = one._bind(self.x, one._v, self.y, one._v, self.rates, one.owed, steps)[0]
