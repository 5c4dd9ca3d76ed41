"""What an operation of the graph is: everything about one kind of node, told once.

The files beside this one tell it by family, each operation in one place; readers, the proof, writers and engines are loops
over OPERATIONS. A meaning is called with values that can be added and multiplied and with `m`, which does the rest:

    m.reshape(x, shape)  m.permute(x, axes)  m.part(x, axis, start, stop, step)  m.concat(values, axis)  m.take(x, axis, places)
    m.windows(x, kernel, stride, padding, dilation, fill)    [B, C, ...] -> [B, C, ..., k...], a window for each output
    m.spread(x, stride, before, after)                       zeros between the places of a map, and around it
    m.sum(x, axes, keep)  m.mean(...)  m.max(...)  m.matmul(a, b)
    m.along(x, axis, matrix, name)                           Y = A X along one axis; matrix(n) is A [m, n]
    m.weighed(windows, weight, groups)  m.linear(x, weight)  the sums of a convolution and of a linear layer
    m.counts(x, area)  m.real(sums)  m.half(x)               what reduced precision does around them (runtime/model/graph.py)
    m.parameter(array)                                       an array as the backend has parameters
    m.beside(p, shape)  m.trailing(p, axes)                  a parameter that repeats over [B, *shape], or over all but its axes
    m.once(function, *parameters)  m.arranged(function, p)   what is made of parameters alone: rounded once, or only moved
    m.op(name, *values)                                      a function of numbers, by its name in runtime/model/program.py

It runs in NumPy (the golden model, plif_export/proof/arithmetic/arrays.py), on measures (what rounding can do to it, measured.py
there), on shapes (the shape rule, shapes.py), on nodes of a graph (expand.py: a writer that has no word
for an operation writes what its meaning is made of), and on views of memory (runtime/engines/event/tensors.py). Axes count the
batch, which is axis 0 and stays there; shapes do not. Strings name torch, ONNX and NIR: nothing of them is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Shape = tuple[int, ...]
Value = Any  # of a backend: an array [B, ...], a measure, a shape, a node, a view
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Counts:
    """A value is k / area with whole k, 0 <= k <= most: spikes, and what keeps them whole."""

    most: int = 1
    area: int = 1


@dataclass(frozen=True)
class GraphTensor:
    """A tensor of a graph that is being read: the node that makes it, or "x", and its shape without the batch."""

    node: str
    shape: Shape


@dataclass
class Made:
    """A node that a reader is to enter; shape None is that of what was recorded. inputs: they may be such nodes themselves."""

    op: str
    inputs: tuple[GraphTensor | Made, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    params: dict[str, np.ndarray] = field(default_factory=dict)
    shape: Shape | None = None


@dataclass(frozen=True)
class Operation:
    """One kind of node.

    name      in graphs and cards
    meaning   (m, node, params, *inputs) -> its output. None for what holds state or holds nothing
    attrs     attributes that a node must have; it may have others, which its meaning has a default for
    params    arrays that it must have; `optional`: that it may have
    fits      (node, shapes of its inputs) -> what does not fit, or None
    reads_constants   whether one of its inputs may be a Constant
    onnx      (emitter, node, *tensors) -> tensor, where ONNX has an operator for it or for most of it
    torch     {name under which PyTorch records it: (call) -> Made, or a tensor that exists}
    layer     (name of PyTorch's function that one of our own layers calls, the layer's attributes that are its arguments)
    nir       {class of NIR: (reader, name, its node, input, shape) -> (our node, shape)}
    to_nir    (nir, node, shape of its input, options) -> NIR's node; raises Unsupported, and None is no word in NIR
    counts    (node, shapes, counts of its inputs) -> those of its output, where whole numbers stay whole
    measured  rounding is found by moving the inputs, and nothing counts as exact; else it follows from the meaning
    """

    name: str
    meaning: Callable[..., Value] | None = None
    attrs: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fits: Callable[[Any, Sequence[Shape]], str | None] = lambda node, shapes: None
    reads_constants: bool = False
    onnx: Callable[..., str] | None = None
    torch: Mapping[str, Callable[[Any], Made | GraphTensor]] = field(default_factory=dict)
    layer: tuple[str, str] | None = None
    nir: Mapping[str, Callable[..., tuple[str, Shape]]] = field(default_factory=dict)
    to_nir: Callable[..., Any] | None = None
    counts: Callable[[Any, Sequence[Shape], Sequence[Counts]], Counts | None] = lambda node, shapes, counts: None
    measured: bool = False


def padded(x: GraphTensor, before: Sequence[int], after: Sequence[int], mode: str) -> Made:
    """x with more places before and after each axis: "zeros", "edge" or "reflect"."""
    shape = tuple(b + n + a for b, n, a in zip(before, x.shape, after, strict=True))
    return Made("Pad", (x,), {"before": list(before), "after": list(after), "mode": mode}, shape=shape)


OPERATIONS: dict[str, Operation] = {}


def register(name: str, meaning: Callable[..., Value] | None = None, **facts: Any) -> None:
    """Enters an operation: facts are the other fields of Operation."""
    OPERATIONS[name] = Operation(name, meaning, **facts)


def names(text: str, read: Callable[[Any], Made | GraphTensor]) -> dict[str, Callable[[Any], Made | GraphTensor]]:
    """One reader for several names of PyTorch; ?d stands for 1d, 2d and 3d."""
    return {name.replace("?", size): read for name in text.split() for size in ("123" if "?" in name else "1")}


def spatial(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """A kernel, stride, padding or dilation as one number for each of `dims` spatial axes; one number means all axes."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


def place_of(node: Any, dims: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(stride, padding, dilation) of a convolution or pool over `dims` axes of space."""
    keys = (("stride", 1), ("padding", 0), ("dilation", 1))
    stride, padding, dilation = (spatial(node.attrs.get(key, default), dims) for key, default in keys)
    return stride, padding, dilation


def repeating(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """One number as it is; one for each channel, or for each neuron, shaped to repeat over [*shape]."""
    return values if values.ndim in (0, len(shape)) else values.reshape(-1, *(1,) * (len(shape) - 1))


def choosing(places: np.ndarray, n: int) -> np.ndarray:
    """float32 [len(places), n]: the matrix that takes these of n places."""
    rows = np.zeros((len(places), n), np.float32)
    rows[np.arange(len(places)), places] = 1
    return rows


def windowed(x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """A view [..., space] -> [..., places, kernel] of the windows over its last axes."""
    axes = tuple(range(x.ndim - len(kernel), x.ndim))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    steps = [slice(None)] * axes[0] + [slice(None, None, step) for step in (*stride, *dilation)]
    return sliding_window_view(x, reach, axis=axes)[tuple(steps)]


def plain(value: int | Iterable[Any], dims: int) -> int | list[int]:
    """A size as one number where it is the same on all `dims` axes, as a list otherwise (JSON has no tuples)."""
    values = (value,) * dims if isinstance(value, int) else tuple(int(v) for v in value)
    return values[0] if len(set(values)) == 1 else list(values)


def one_each(values: Any, dims: int) -> Any:
    """PyTorch's short form: a list of one number means all axes."""
    return values if isinstance(values, int) or len(values) == dims else [values[0]] * dims


def first(node: Any, shapes: Sequence[Shape], counts: Sequence[Counts]) -> Counts:
    """Where an operation moves values, or picks among them."""
    return counts[0]
