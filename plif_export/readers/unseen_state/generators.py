"""The random generators of Python, NumPy and PyTorch: access to their states."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Anything: TypeAlias = Any  # a value of the user's Python: of every kind, and calculated with
Setter: TypeAlias = Callable[[Anything], object]

GENERATORS: dict[str, Anything] = {
    "random numbers of Python": random._inst,
    "random numbers of NumPy": np.random.get_state.__self__,  # type: ignore[attr-defined]
    "random numbers of PyTorch": torch.default_generator,
}


def get_rng_state(generator: Anything) -> tuple[Anything, Setter]:
    """Return the state of a random number generator, and a function that sets its state."""
    if isinstance(generator, random.Random):
        return generator.getstate(), generator.setstate
    if isinstance(generator, torch.Generator):
        return generator.get_state(), partial(torch.Generator.set_state, generator)
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False), generator.set_state
    return generator.bit_generator.state, partial(setattr, generator.bit_generator, "state")


def format_rng_state(state: Anything) -> str:
    """Format the state of a random number generator as text, so that two states can be compared."""
    if isinstance(state, dict):
        return str({key: format_rng_state(part) for key, part in state.items()})
    return str(state.tolist() if isinstance(state, np.ndarray | Tensor) else state)
