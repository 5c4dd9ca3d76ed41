"""The random generators of Python, NumPy and PyTorch: what state they are in, and how it is set."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Anything: TypeAlias = Any  # a value of the user's Python: of every kind, and calculated with
Put: TypeAlias = Callable[[Anything], object]

GENERATORS: dict[str, Anything] = {
    "random numbers of Python": random._inst,
    "random numbers of NumPy": np.random.get_state.__self__,  # type: ignore[attr-defined]
    "random numbers of PyTorch": torch.default_generator,
}


def state_of(generator: Anything) -> tuple[Anything, Put]:
    """The state of a random generator, and what sets it."""
    if isinstance(generator, random.Random):
        return generator.getstate(), generator.setstate
    if isinstance(generator, torch.Generator):
        return generator.get_state(), partial(torch.Generator.set_state, generator)
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False), generator.set_state
    return generator.bit_generator.state, partial(setattr, generator.bit_generator, "state")


def exact(state: Anything) -> str:
    """A random generator's state, to compare it."""
    if isinstance(state, dict):
        return str({key: exact(each) for key, each in state.items()})
    return str(state.tolist() if isinstance(state, np.ndarray | Tensor) else state)
