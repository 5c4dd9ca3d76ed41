"""Calls of a loop file in ONNX Runtime. It is opened twice: its step, and, with the first sequence, the loop around it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.core.engines.buffers import Arrays, Many, PingPong
from runtime.core.engines.onnxruntime import OnnxRuntimeEngine
from runtime.forms.looped.onnx_loop import loop_of


class InLoops(PingPong):
    """Membranes in two sets of arrays, and a call that takes a sequence, with the firing rates of every step."""

    def __init__(self, engine: OnnxRuntimeEngine, rows: int, rates: bool) -> None:
        super().__init__(engine.card, rows, rates, engine.membranes(rows), engine.bind)
        self._engine = engine
        self._many: Many | None = None  # arrays for calls of so many steps

    def run_steps(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As Buffers says, in one call."""
        if len(x) == 1:
            return super().run_steps(x)
        if self._many is None or len(self._many.x) != len(x):
            self._many = many = Many(self, len(x))
            v, other = self._sets
            self._loops = self._bind(many, v, other), self._bind(many, other, v)
        self._many.x[...] = x
        self._turn(self._loops)
        return self._many.y.copy(), self._many.rates

    def _bind(self, many: Many, v: Arrays, v_next: Arrays) -> Callable[[], None]:
        engine = self._engine
        if engine.sequences is None:
            states = {state["input"]: state["output"] for state in engine.card["states"]}
            engine.sequences = engine.open(loop_of(engine.model, engine.card["graph"]["input"], states))
        rates = {layer: rate.reshape(len(many.x), -1) for layer, rate in many.rates.items()}
        return engine.bind(many.x, v, many.y, v_next, rates, engine.sequences)
