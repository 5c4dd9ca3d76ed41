"""Custom layers that a user registers, each read as one operation of the graph, and look-ups by class.

LAYERS maps a class to a function (module, shape in, shape out) -> (op, attributes, parameters) of a graph node.
Shapes are without the batch axis; parameters are float32 arrays. To add one: `register_layer(YourLayer, function)`,
at any time before the export.

A subclass counts as its base only while it does not override `forward` (weight standardisation, for example,
overrides it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import numpy as np
from torch import nn

from plif_export.core.readers.ours import Content
from plif_export.core.readers.rules import require

Entry = TypeVar("Entry")
LayerReader: TypeAlias = Callable[..., Content]  # (module, shape in, shape out)

LAYERS: dict[
    str, LayerReader
] = {}  # layers registered by users: each is one operation in the graph, and its forward is not traced


def register_layer(cls: type[nn.Module] | str, reader: LayerReader) -> None:
    """Register a function that reads a class of custom layers, so that networks with them can be exported.

    cls: the class itself or its qualified name (so that nothing must be imported).
    reader: (module, shape in, shape out) -> (op, attributes, parameters).
    """
    LAYERS[cls if isinstance(cls, str) else qualified_name(cls)] = reader


def qualified_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def find_entry(
    module: nn.Module, registry: Mapping[str, Entry], methods: tuple[str, ...] = ("forward",)
) -> Entry | None:
    """Return the entry of a module's class in a registry of layer classes, or of its first registered base class.

    Returns None if there is no entry, or if a class before it overrides one of `methods`: it then computes something
    else.
    """
    for cls in type(module).__mro__:
        if qualified_name(cls) in registry:
            return registry[qualified_name(cls)]
        if any(name in vars(cls) for name in methods):
            return None
    return None


def require_uniform(value: np.ndarray | float, name: str) -> float:
    """Return the one value of a uniform array [...] as float32, and refuse an array with different values."""
    values = np.unique(np.asarray(value, np.float32))
    require(values.size == 1, f"{name} differs from neuron to neuron", f"use one {name} for a layer")
    return float(values[0])
