"""Calls of a loop file in ONNX Runtime, each with a sequence of steps.

The file is opened twice: its step form at once, and its loop form with the first sequence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.core.engines.buffers import Arrays, PingPongBuffers, SequenceArrays
from runtime.core.engines.onnxruntime import OnnxRuntimeEngine
from runtime.forms.looped.onnx_loop import to_loop_form


class LoopBuffers(PingPongBuffers):
    """Double-buffered neuron states (membranes) of an ONNX model that runs a sequence of steps in one call.

    A call returns the firing rates of each step as well.
    """

    def __init__(self, engine: OnnxRuntimeEngine, rows: int, rates: bool) -> None:
        super().__init__(engine.card, rows, rates, engine.membranes(rows), engine.bind)
        self._engine = engine
        self._sequence: SequenceArrays | None = None  # the arrays of calls with this number of steps

    def run_steps(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Run a sequence x [T, rows, ...] of steps in one call; return y [T, rows, ...] and each layer's firing rates.

        The contract is that of Buffers.run_steps.
        """
        if len(x) == 1:
            return super().run_steps(x)
        if self._sequence is None or len(self._sequence.x) != len(x):
            self._sequence = many = SequenceArrays(self, len(x))
            v, v_next = self._sets
            self._loops = self._bind(many, v, v_next), self._bind(many, v_next, v)
        self._sequence.x[...] = x
        self._turn(self._loops)
        return self._sequence.y.copy(), self._sequence.rates

    def _bind(self, many: SequenceArrays, v: Arrays, v_next: Arrays) -> Callable[[], None]:
        engine = self._engine
        if engine.sequences is None:
            states = {state["input"]: state["output"] for state in engine.card["states"]}
            engine.sequences = engine.open(to_loop_form(engine.model, engine.card["graph"]["input"], states))
        rates = {layer: rate.reshape(len(many.x), -1) for layer, rate in many.rates.items()}
        return engine.bind(many.x, v, many.y, v_next, rates, engine.sequences)
