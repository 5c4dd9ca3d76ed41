"""What an operation of the graph is: everything about one kind of node, told once.

The files beside this one tell it by family, each operation in one place; readers, the proof, writers and engines are loops
over OPERATIONS. A meaning is called with values that can be added and multiplied and with `m`, a Backend, which does the rest.

It runs in NumPy (the golden model, plif_export/core/proof/arithmetic/arrays.py), on measures (what rounding can do to it,
measured.py there), on shapes (the shape rule, shapes.py), on nodes of a graph (expand.py: a writer that has no word for an
operation writes what its meaning is made of), and on views of memory (runtime/engines/event_program/tensors.py). Axes count the
batch, which is axis 0 and stays there; shapes do not. Strings name torch, ONNX and NIR: nothing of them is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from runtime.core.base.errors import PlifError
from runtime.core.model.neurons import equation_of, values_of
from runtime.core.model.symbol import Value as Value
from runtime.core.parts import Registry

Shape = tuple[int, ...]
Sizes = int | Sequence[int]  # of a kernel, a stride, ...: one number for all axes, or one for each
Params = Mapping[str, Value]
UNARY = (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Neg",
    "Abs",
    "Sqrt",
)  # functions that a node, or a part of a meaning, may be
Matrix = Callable[[int], np.ndarray]  # n -> [m, n], for an axis of n places


class Backend(Protocol):
    """The argument `m` of a meaning. Axes count the batch, which is axis 0 and stays there; shapes do not."""

    def reshape(self, x: Value, shape: Sequence[int], /) -> Value:
        """[B, ...] -> [B, *shape]"""

    def permute(self, x: Value, axes: Sequence[int], /) -> Value:
        """[B, ...] -> [B, ...], axis i of which is axes[i] of x."""

    def part(self, x: Value, axis: int, start: int, stop: int | None, step: int, /) -> Value:
        """[B, ..., n, ...] -> [B, ..., places, ...]: x[start:stop:step] of one axis."""

    def concat(self, values: Sequence[Value], axis: int, /) -> Value:
        """[B, ..., n, ...] each -> [B, ..., sum of n, ...]"""

    def take(self, x: Value, axis: int, places: Matrix, /) -> Value:
        """[B, ..., n, ...] -> [B, ..., m, ...]: places(n) [m] of the n places of an axis."""

    def along(self, x: Value, axis: int, matrix: Matrix, name: object = None, /) -> Value:
        """[B, ..., n, ...] -> [B, ..., m, ...]: Y = A X along one axis; matrix(n) is A [m, n]."""

    def windows(self, x: Value, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, fill: float, /) -> Value:
        """[B, C, ...] -> [B, C, ..., k...], a window for each output."""

    def spread(self, x: Value, stride: Shape, before: Shape, after: Shape, /) -> Value:
        """[B, C, ...] -> [B, C, ...] with zeros between the places of a map, and around it."""

    def sum(self, x: Value, axes: Sequence[int], keep: bool = False, /) -> Value:
        """[B, ...] -> without `axes`, or with 1 in their place."""

    def mean(self, x: Value, axes: Sequence[int], keep: bool = False, /) -> Value:
        """[B, ...] -> the same shape as of `sum`."""

    def max(self, x: Value, axes: Sequence[int], keep: bool = False, /) -> Value:
        """[B, ...] -> the same shape as of `sum`."""

    def matmul(self, a: Value, b: Value, /) -> Value:
        """[B, ..., M, K] and [B, ..., K, N] -> [B, ..., M, N]"""

    def weighed(self, windows: Value, weight: Value, groups: int, /) -> Value:
        """The sums of a convolution: [B, I, ..., k...] and [O, I / groups, k...] -> [B, O, ...]"""

    def linear(self, x: Value, weight: Value, /) -> Value:
        """[B, ..., I] and [O, I] -> [B, ..., O]"""

    def counts(self, x: Value, area: int, /) -> Value:
        """[...] -> [...] whole numbers, in reduced precision (runtime/core/model/graph.py)."""

    def real(self, sums: Value, /) -> Value:
        """[...] -> [...] float32, behind the sums of whole numbers."""

    def half(self, x: Value, /) -> Value:
        """[...] -> [...] float16"""

    def parameter(self, value: np.ndarray, /) -> Value:
        """An array [...] as the backend has parameters."""

    def beside(self, values: Value, shape: Sequence[int], /) -> Value:
        """A parameter [], [C] or [*shape], as it repeats over [B, *shape]."""

    def trailing(self, values: Value, axes: int, /) -> Value:
        """A parameter [...] of so many axes, as it repeats over all axes before them."""

    def once(self, function: Callable[..., np.ndarray], /, *parameters: Value) -> Value:
        """What is made of parameters [...] alone, rounded once."""

    def arranged(self, function: Callable[..., np.ndarray], parameter: Value, /) -> Value:
        """A parameter [...], only moved."""

    def op(self, name: str, /, *values: Value) -> Value:
        """[...] -> [...], a function of numbers, by its name in runtime/neurons/traced_program/program.py."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    inputs  names of other nodes, or of the graph's input
    shape   of its output, without the batch axis: (C, H, W) or (features,)
    attrs   numbers and texts by name, as its operation lists them; of a Neuron also those of its equation
    params  arrays by name: the weight of a Conv or Linear [O, I, ...] in float32, float16 or int8, all others float32
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: Shape
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.op not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            raise PlifError(f"layer {self.name}: operation '{self.op}' is not supported; supported: {known}")
        operation = OPERATIONS[self.op]
        attrs, params, optional = operation.attrs, operation.params, operation.optional
        if self.op == "Neuron" and "kind" in self.attrs:
            own = equation_of(self.attrs["kind"])
            attrs, params, optional = attrs + own.attrs, params + own.params, optional + own.optional
            if own.check is not None:
                own.check(self.attrs, self.params, len(self.inputs), f"layer {self.name}")
                optional += tuple(self.params)
        missing = [key for key in attrs if key not in self.attrs] + [key for key in params if key not in self.params]
        unknown = [key for key in self.params if key not in params + optional]
        if missing or unknown:
            raise PlifError(
                f"layer {self.name} ({self.op}): missing {missing or 'nothing'}, unexpected {unknown or 'nothing'}"
            )

    @property
    def layer(self) -> str:
        """Of a Neuron: the name that cards and reports give to it."""
        return str(self.attrs["layer"])

    @property
    def values(self) -> str:
        """Of a Neuron: what its output holds: "spikes" (0 or 1), "graded" (spikes of several sizes) or "membrane" (it does
        not spike: a leaky integrator)."""
        return values_of(self.attrs)

    @property
    def initial(self) -> dict[str, float]:
        """Of a Neuron: the value of each state variable after a reset; {"v": v_reset} for our own kinds."""
        return equation_of(self.attrs["kind"]).initial(self.attrs)

    def with_(self, **changes: Any) -> Node:
        """A copy with some fields changed."""
        return replace(self, **changes)


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
class NewNode:
    """A node that a reader is to enter; shape None is that of what was recorded. inputs: they may be such nodes themselves."""

    op: str
    inputs: tuple[GraphTensor | NewNode, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    params: dict[str, np.ndarray] = field(default_factory=dict)
    shape: Shape | None = None


ReadTorch = Callable[[Any], NewNode | GraphTensor]  # of a TorchCall


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
    torch     {name under which PyTorch records it: (call) -> NewNode, or a tensor that exists}
    layer     (name of PyTorch's function that one of our own layers calls, the layer's attributes that are its arguments)
    counts    (node, shapes, counts of its inputs) -> those of its output, where whole numbers stay whole
    measured  rounding is found by moving the inputs, and nothing counts as exact; else it follows from the meaning
    """

    name: str
    meaning: Callable[..., Any] | None = None
    attrs: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fits: Callable[[Node, Sequence[Shape]], str | None] = lambda node, shapes: None
    reads_constants: bool = False
    onnx: Callable[..., str] | None = None
    torch: Mapping[str, ReadTorch] = field(default_factory=dict)
    layer: tuple[str, str] | None = None
    counts: Callable[[Node, Sequence[Shape], Sequence[Counts]], Counts | None] = lambda node, shapes, counts: None
    measured: bool = False


def padded(x: GraphTensor, before: Sequence[int], after: Sequence[int], mode: str) -> NewNode:
    """x with more places before and after each axis: "zeros", "edge" or "reflect"."""
    shape = tuple(b + n + a for b, n, a in zip(before, x.shape, after, strict=True))
    return NewNode("Pad", (x,), {"before": list(before), "after": list(after), "mode": mode}, shape=shape)


OPERATIONS: Registry[Operation] = Registry("operations")


def register(name: str, meaning: Callable[..., Value] | None = None, **facts: Any) -> None:
    """Enters an operation: facts are the other fields of Operation."""
    OPERATIONS.entries[name] = Operation(name, meaning, **facts)


def names(text: str, read: ReadTorch) -> dict[str, ReadTorch]:
    """One reader for several names of PyTorch; ?d stands for 1d, 2d and 3d."""
    return {name.replace("?", size): read for name in text.split() for size in ("123" if "?" in name else "1")}


def spatial(value: Sizes, dims: int) -> tuple[int, ...]:
    """A kernel, stride, padding or dilation as one number for each of `dims` spatial axes; one number means all axes."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


def place_of(node: Node, dims: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
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
    found: np.ndarray = sliding_window_view(x, reach, axis=axes)[tuple(steps)]
    return found


def plain(value: Sizes, dims: int) -> int | list[int]:
    """A size as one number where it is the same on all `dims` axes, as a list otherwise (JSON has no tuples)."""
    values = (value,) * dims if isinstance(value, int) else tuple(int(v) for v in value)
    return values[0] if len(set(values)) == 1 else list(values)


def one_each(values: Sizes, dims: int) -> Sizes:
    """PyTorch's short form: a list of one number means all axes."""
    return values if isinstance(values, int) or len(values) == dims else [values[0]] * dims


def first(node: Node, shapes: Sequence[Shape], counts: Sequence[Counts]) -> Counts:
    """Where an operation moves values, or picks among them."""
    return counts[0]
