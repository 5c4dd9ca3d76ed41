"""The arrays of one session, bound to an engine for one number of rows.

A call reads x and the membranes, and writes y, the firing rates and the next membranes. Between two calls the
membranes are in the engine's own place:

    PingPongBuffers   in two sets of arrays: a call reads one set and writes the other, then the sets change places
    Resident   on the engine's device; the arrays here are a copy, which is made only on request
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from runtime.core.engines.tensors import make_finite_check, spiking_layers
from runtime.core.model.card import Card, output_shape

Arrays = Sequence[np.ndarray]
Rates = Mapping[str, np.ndarray] | None
Bind = Callable[[np.ndarray, Arrays, np.ndarray, Arrays, Rates], Callable[[], None]]


class Buffers:
    """The arrays of one session: `x` to fill, `run` to call, `y` to read, and the membranes.

    `require_finite` refuses an x that is not finite.

    x      float32 [rows, C, H, W]; of an unrolled artifact [T, rows, C, H, W], unless its input is a still image
    y      float32 [rows, classes], or a map [rows, C, H, W]; of an unrolled artifact [T, rows, ...]
    rates  {layer: float32 [rows]}, the fraction of neurons (0..1) that fired in the last call; of an unrolled artifact
           [T * rows]; empty unless rates were requested
    """

    def __init__(self, card: Card, rows: int, rates: bool) -> None:
        steps = (int(card["T"]),) if card["form"] == "unrolled" else ()
        x_steps = () if card["input"]["kind"] == "static" else steps
        self.x: np.ndarray = np.zeros((*x_steps, rows, *card["input"]["shape"]), np.float32)
        self.require_finite = make_finite_check(self.x)
        self.y: np.ndarray = np.zeros((*steps, rows, *output_shape(card)), np.float32)
        layers = spiking_layers(card) if rates else {}
        self.rates = {layer: np.zeros(math.prod(steps) * rows, np.float32) for layer in layers}

    def run(self) -> None:
        """Run one call of the engine on the arrays of these buffers."""
        raise NotImplementedError

    def run_steps(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Run many steps of a one-step artifact: x [T, rows, C, H, W] -> y [T, rows, classes] and rates, float32.

        The rates of each layer are [T * rows].
        """
        y = np.empty((len(x), *self.y.shape), np.float32)
        rates = {layer: np.empty((len(x), values.size), np.float32) for layer, values in self.rates.items()}
        for t, x_t in enumerate(x):
            self.x[...] = x_t
            self.run()
            y[t] = self.y
            for layer, values in self.rates.items():
                rates[layer][t] = values
        return y, {layer: values.reshape(-1) for layer, values in rates.items()}

    def membranes(self) -> list[np.ndarray]:
        """Return the membranes in a session's buffers, float32 [rows, ...], in the order of the card's states.

        Read or change them before the next run.
        """
        raise NotImplementedError


class PingPongBuffers(Buffers):
    """Buffers with two sets of membranes: a call reads one set and writes the other, then they swap.

    Both are the same set where the engine updates membranes in place.
    """

    def __init__(
        self, card: Card, rows: int, rates: bool, sets: tuple[list[np.ndarray], list[np.ndarray]], bind: Bind
    ) -> None:
        super().__init__(card, rows, rates)
        self._sets, (v, v_next) = sets, sets
        self._calls = (bind(self.x, v, self.y, v_next, self.rates), bind(self.x, v_next, self.y, v, self.rates))
        self._phase = 0  # which set the next call reads

    def run(self) -> None:
        self._turn(self._calls)

    def _turn(self, calls: tuple[Callable[[], None], Callable[[], None]]) -> None:
        calls[self._phase]()
        self._phase = 1 - self._phase

    def membranes(self) -> list[np.ndarray]:
        """Return the membranes that the engine's next call reads, float32 [rows, ...] of each state."""
        return self._sets[self._phase]


class Resident(Buffers):
    """Buffers of a session with membranes that stay on the engine's device, such as a GPU.

    An engine derives its own class from this one, with `call`, `push` and `pull`.

    v  the copy of the membranes, float32 [rows, ...] in the order of the card's states
    """

    def __init__(self, card: Card, rows: int, rates: bool, v: list[np.ndarray]) -> None:
        super().__init__(card, rows, rates)
        self.v = v
        self._copied = True  # v holds the membranes, and may have been changed

    def call(self) -> None:
        """Run one call of the engine on its device: x and the membranes -> y, the rates and the next membranes."""
        raise NotImplementedError

    def push(self) -> None:
        """Copy the membranes from the host arrays `v` to the engine's device."""
        raise NotImplementedError

    def pull(self) -> None:
        """Copy the membranes from the engine's device to the host arrays `v`."""
        raise NotImplementedError

    def run(self) -> None:
        if self._copied:
            self.push()
            self._copied = False
        self.call()

    def membranes(self) -> list[np.ndarray]:
        """Return a session's membranes, float32 [rows, ...] of each state, copied from the device if necessary."""
        if not self._copied:
            self.pull()
            self._copied = True
        return self.v


class SequenceArrays:
    """The input, output and rate arrays of an engine call of several steps, without the membranes."""

    def __init__(self, buffers: Buffers, steps: int) -> None:
        self.x = np.zeros((steps, *buffers.x.shape), np.float32)
        self.y = np.zeros((steps, *buffers.y.shape), np.float32)
        self.rates = {layer: np.zeros(steps * values.size, np.float32) for layer, values in buffers.rates.items()}
