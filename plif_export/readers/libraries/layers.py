"""Layers without state that a live module may be made of: torch.nn's, and SpikingJelly's of the same name.

LAYERS maps a class to a function (module, shape in, shape out) -> (op, attributes, parameters) of a graph node. Shapes are
without the batch axis; parameters are float32 arrays. To add one: `register_layer(YourLayer, function)`, at any time before
the export.

A subclass counts as its base only while it leaves `forward` alone (weight standardisation, say, changes it).
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

LAYERS: dict[str, LayerReader] = {}  # registered by users: one operation, whatever they do inside


def register_layer(cls: type[nn.Module] | str, reader: LayerReader) -> None:
    """Makes a class of layers known, by the class itself or by its qualified name (so that it need not be imported)."""
    LAYERS[cls if isinstance(cls, str) else qualified(cls)] = reader


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def known_as(module: nn.Module, registry: Mapping[str, Entry], own: tuple[str, ...] = ("forward",)) -> Entry | None:
    """The entry of the first class of `registry` among the module's class and its bases.

    None when there is none, or when a class before it redefines one of the methods `own`: it then computes something else.
    """
    for cls in type(module).__mro__:
        if qualified(cls) in registry:
            return registry[qualified(cls)]
        if any(name in vars(cls) for name in own):
            return None
    return None


def one_number(value: np.ndarray | float, name: str) -> float:
    """The value of an array [...] in which all are equal, rounded to float32. Refuses one in which they differ."""
    values = np.unique(np.asarray(value, np.float32))
    require(values.size == 1, f"{name} differs from neuron to neuron", f"use one {name} for a layer")
    return float(values[0])
