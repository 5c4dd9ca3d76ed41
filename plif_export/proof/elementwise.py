"""What a neuron's equation may use beside + - * / and comparisons (runtime/model/neurons.py, program.py), in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


class Numpy:
    """The argument `m` of an equation. Arrays [B, ...] and numbers, computed in `dtype`."""

    def __init__(self, dtype: type) -> None:
        self.dtype = dtype

    def spikes(self, fires: Array) -> Array:
        return fires.astype(self.dtype)

    def where(self, condition: Array, a: Any, b: Any) -> Array:
        return np.where(condition, a, b)

    def op(self, name: str, *operands: Any) -> Array:
        """An operation of a program (runtime.model.program.OPS)."""
        values = [np.asarray(o, self.dtype) if isinstance(o, int | float) else o for o in operands]
        result = FUNCTIONS[name](*values)
        return result.astype(self.dtype) if name == "Cast" else result


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Min": np.minimum,
    "Max": np.maximum,
    "Neg": np.negative,
    "Abs": np.abs,
    "Relu": lambda x: np.maximum(x, 0),
    "Round": np.rint,  # half to even
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Identity": lambda x: x,
    "Exp": np.exp,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Sqrt": np.sqrt,
    "Log": np.log,
    "Clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "Equal": np.equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Where": np.where,
    "Cast": lambda x: x,
}
