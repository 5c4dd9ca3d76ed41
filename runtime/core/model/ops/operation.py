"""The record of an operation: every fact about one kind of node of the graph, in one place.

The other files of this folder define the operations by family; readers, the proof, writers and engines loop over
OPERATIONS. The meaning of an operation is a function of values that can be added and multiplied, and of `m`, a
Backend with all other functions.

A meaning runs in NumPy (the golden model, plif_export/core/proof/arithmetic/arrays.py), on measures (bounds of
rounding errors, measured.py there), on shapes (the shape rule, shapes.py), on nodes of a graph (expand.py: a writer
that lacks an operation writes the operations of its meaning), and on views of memory
(runtime/engines/event_program/tensors.py). Axes count the batch, which is axis 0 and stays there; shapes do not.
Names of torch, ONNX and NIR are strings: none of them is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from runtime.core.base.errors import PlifError
from runtime.core.model.neurons import get_equation, output_kind
from runtime.core.model.symbol import Value as Value
from runtime.core.parts import Registry

Shape = tuple[int, ...]
Sizes = int | Sequence[int]  # kernel, stride, ...: one number for all axes, or one for each axis
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
    """The array functions that an operation's meaning calls (argument `m`); each graph interpreter has its own.

    Axes count the batch, which is axis 0 and stays there; shapes do not.
    """

    def reshape(self, x: Value, shape: Sequence[int], /) -> Value:
        """Reshape each row of a batch: [B, ...] -> [B, *shape]."""

    def permute(self, x: Value, axes: Sequence[int], /) -> Value:
        """Permute the axes of a batch: [B, ...] -> [B, ...]; axis i of the output is axis axes[i] of x."""

    def slice_axis(self, x: Value, axis: int, start: int, stop: int | None, step: int, /) -> Value:
        """Slice one axis of a batch, x[start:stop:step]: [B, ..., n, ...] -> [B, ..., m, ...]."""

    def concat(self, values: Sequence[Value], axis: int, /) -> Value:
        """Concatenate batches along an axis: [B, ..., n, ...] each -> [B, ..., sum of n, ...]."""

    def take(self, x: Value, axis: int, places: Matrix, /) -> Value:
        """Pick the elements at the indices places(n) [m] of an axis: [B, ..., n, ...] -> [B, ..., m, ...]."""

    def matmul_axis(self, x: Value, axis: int, matrix: Matrix, name: object = None, /) -> Value:
        """Multiply a batch by a matrix along one axis, Y = A X: [B, ..., n, ...] -> [B, ..., m, ...].

        matrix  n -> A [m, n]
        """

    def windows(self, x: Value, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, fill: float, /) -> Value:
        """Return the sliding window of each output of a convolution or pool: [B, C, ...] -> [B, C, ..., k...]."""

    def insert_zeros(self, x: Value, stride: Shape, before: Shape, after: Shape, /) -> Value:
        """Insert zeros between the cells of a map, and around it: [B, C, ...] -> [B, C, ...]."""

    def sum(self, x: Value, axes: Sequence[int], keep: bool = False, /) -> Value:
        """Sum a batch over axes: the result [B, ...] is without `axes`, or has size 1 there if `keep` is set."""

    def mean(self, x: Value, axes: Sequence[int], keep: bool = False, /) -> Value:
        """Average a batch over axes: the result [B, ...] is without `axes`, or has size 1 there if `keep` is set."""

    def max(self, x: Value, axes: Sequence[int], keep: bool = False, /) -> Value:
        """Take the maximum of a batch over axes: [B, ...] without `axes`, or with size 1 there if `keep` is set."""

    def matmul(self, a: Value, b: Value, /) -> Value:
        """Multiply batches of matrices: [B, ..., M, K] and [B, ..., K, N] -> [B, ..., M, N]."""

    def im2col_matmul(self, windows: Value, weight: Value, groups: int, /) -> Value:
        """Multiply a convolution's windows [B, I, ..., k...] by weights [O, I / groups, k...], and sum: [B, O, ...]."""

    def linear(self, x: Value, weight: Value, /) -> Value:
        """Apply the weights of a linear layer: [B, ..., I] and [O, I] -> [B, ..., O]."""

    def to_counts(self, x: Value, area: int, /) -> Value:
        """Convert values k / area to the whole numbers k, for weights in reduced precision: [...] -> [...].

        runtime/core/model/graph.py has the formula.
        """

    def real(self, sums: Value, /) -> Value:
        """Convert sums, which are whole numbers, to float32: [...] -> [...]."""

    def half(self, x: Value, /) -> Value:
        """Convert values to float16: [...] -> [...]."""

    def parameter(self, value: np.ndarray, /) -> Value:
        """Convert a parameter array [...] to a value of the backend (see Backend)."""

    def broadcast_like(self, values: Value, shape: Sequence[int], /) -> Value:
        """Shape a parameter [], [C] or [*shape] so that it broadcasts over [B, *shape]."""

    def broadcast_trailing(self, values: Value, axes: int, /) -> Value:
        """Shape a parameter [...] of `axes` axes so that it broadcasts over all axes before them."""

    def from_parameters(self, function: Callable[..., np.ndarray], /, *parameters: Value) -> Value:
        """Compute a function of parameters [...] alone, rounded to float32 once."""

    def rearrange(self, function: Callable[..., np.ndarray], parameter: Value, /) -> Value:
        """Move the elements of a parameter [...] without changing their values."""

    def op(self, name: str, /, *values: Value) -> Value:
        """Apply an elementwise function of numbers, given by its name, to values: [...] -> [...].

        runtime/neurons/traced_program/program.py has the names.
        """


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of the graph, with its inputs, attributes and weights.

    inputs  names of other nodes, or of the graph's input
    shape   of its output, without the batch axis: (C, H, W) or (features,)
    attrs   numbers and texts by name, as its operation lists them; of a Neuron also those of its equation
    params  arrays by name: the weight of a Conv or Linear [O, I, ...] in float32, float16 or int8, all others
            float32
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: Shape
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.op not in OPERATIONS:
            supported = ", ".join(OPERATIONS)
            raise PlifError(f"layer {self.name}: operation '{self.op}' is not supported; supported: {supported}")
        operation = OPERATIONS[self.op]
        attrs, params, optional = operation.attrs, operation.params, operation.optional
        if self.op == "Neuron" and "kind" in self.attrs:
            equation = get_equation(self.attrs["kind"])
            attrs, params, optional = attrs + equation.attrs, params + equation.params, optional + equation.optional
            if equation.check is not None:
                equation.check(self.attrs, self.params, len(self.inputs), f"layer {self.name}")
                optional += tuple(self.params)
        missing = [key for key in attrs if key not in self.attrs] + [key for key in params if key not in self.params]
        unknown = [key for key in self.params if key not in params + optional]
        if missing or unknown:
            raise PlifError(
                f"layer {self.name} ({self.op}): missing {missing or 'nothing'}, unexpected {unknown or 'nothing'}"
            )

    @property
    def layer(self) -> str:
        """The name of a neuron layer in cards and reports."""
        return str(self.attrs["layer"])

    @property
    def values(self) -> str:
        """The kind of a neuron layer's output: "spikes" (0 or 1), "graded" or "membrane".

        Graded spikes have several sizes. A layer with "membrane" does not spike: it is a leaky integrator.
        """
        return output_kind(self.attrs)

    @property
    def initial(self) -> dict[str, float]:
        """The value of each state variable of a neuron layer after a reset; {"v": v_reset} for plif's own neurons."""
        return get_equation(self.attrs["kind"]).initial(self.attrs)

    def with_(self, **changes: Any) -> Node:
        """Return a copy of a graph node with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Counts:
    """The range of values k / area with whole k, 0 <= k <= most, such as spikes and their sums."""

    most: int = 1
    area: int = 1


@dataclass(frozen=True)
class GraphTensor:
    """A tensor of a graph that is being read: its node, or x for the input, and its shape without the batch."""

    node: str
    shape: Shape


@dataclass
class NewNode:
    """A node that a reader of PyTorch operations wants to add to the graph.

    inputs  tensors of the graph, or further new nodes
    shape   of its output without the batch; None: the shape that was recorded
    """

    op: str
    inputs: tuple[GraphTensor | NewNode, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    params: dict[str, np.ndarray] = field(default_factory=dict)
    shape: Shape | None = None


ReadTorch = Callable[[Any], NewNode | GraphTensor]  # of a TorchCall


@dataclass(frozen=True)
class Operation:
    """The record of one kind of graph node: its meaning (a function), attributes, parameters, readers and writers.

    name      in graphs and cards
    meaning   (m, node, params, *inputs) -> its output. None for nodes that hold state, or nothing
    attrs     attributes that a node must have; it may have others, for which its meaning has a default
    params    arrays that it must have;  optional: arrays that it may have
    fits      (node, shapes of its inputs) -> the end of a sentence that says what does not fit, or None
    reads_constants   whether one of its inputs may be a Constant
    onnx      (emitter, node, *tensors) -> tensor, if ONNX has an operator for it or for most of it
    torch     {name under which PyTorch records it: (call) -> NewNode, or a tensor that exists}
    layer     (name of the PyTorch function that plif's own layer calls, the layer's attributes that are its
              arguments)
    counts    (node, shapes, counts of its inputs) -> the counts of its output, if whole numbers stay whole
    measured  whether rounding bounds come from moving the inputs, and no value counts as exact; else they
              follow from the meaning
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


def make_pad_node(x: GraphTensor, before: Sequence[int], after: Sequence[int], mode: str) -> NewNode:
    """Return a Pad node that adds cells before and after each axis of a tensor.

    mode  "zeros", "edge" or "reflect"
    """
    shape = tuple(b + n + a for b, n, a in zip(before, x.shape, after, strict=True))
    return NewNode("Pad", (x,), {"before": list(before), "after": list(after), "mode": mode}, shape=shape)


OPERATIONS: Registry[Operation] = Registry("operations")


def register(name: str, meaning: Callable[..., Value] | None = None, **facts: Any) -> None:
    """Register a graph operation under a name; `facts` are the other fields of its Operation record."""
    OPERATIONS.entries[name] = Operation(name, meaning, **facts)


def names(text: str, read: ReadTorch) -> dict[str, ReadTorch]:
    """Return {PyTorch name: reader} for the names in a text that share a reader; ?d stands for 1d, 2d and 3d."""
    return {name.replace("?", size): read for name in text.split() for size in ("123" if "?" in name else "1")}


def expand_sizes(value: Sizes, dims: int) -> tuple[int, ...]:
    """Expand a kernel, stride, padding or dilation to one number for each of `dims` spatial axes."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


def conv_geometry(node: Node, dims: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return (stride, padding, dilation) of a convolution or pool over `dims` spatial axes."""
    keys = (("stride", 1), ("padding", 0), ("dilation", 1))
    stride, padding, dilation = (expand_sizes(node.attrs.get(key, default), dims) for key, default in keys)
    return stride, padding, dilation


def reshape_broadcast(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Reshape a parameter [], [C] or [*shape] so that it broadcasts over [*shape]."""
    return values if values.ndim in (0, len(shape)) else values.reshape(-1, *(1,) * (len(shape) - 1))


def selection_matrix(places: np.ndarray, n: int) -> np.ndarray:
    """Return the float32 matrix [len(places), n] that picks some of n positions."""
    rows = np.zeros((len(places), n), np.float32)
    rows[np.arange(len(places)), places] = 1
    return rows


def window_view(x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """Return a view of the sliding windows over the last axes: [..., space] -> [..., places, kernel]."""
    axes = tuple(range(x.ndim - len(kernel), x.ndim))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    steps = [slice(None)] * axes[0] + [slice(None, None, step) for step in (*stride, *dilation)]
    view: np.ndarray = sliding_window_view(x, reach, axis=axes)[tuple(steps)]
    return view


def compact_sizes(value: Sizes, dims: int) -> int | list[int]:
    """Return a size as one number if all `dims` axes agree, as a list otherwise.

    JSON has no tuples.
    """
    values = (value,) * dims if isinstance(value, int) else tuple(int(v) for v in value)
    return values[0] if len(set(values)) == 1 else list(values)


def expand_short_form(values: Sizes, dims: int) -> Sizes:
    """Expand PyTorch's short form of a size: a list of one number means all `dims` axes."""
    return values if isinstance(values, int) or len(values) == dims else [values[0]] * dims


def first(node: Node, shapes: Sequence[Shape], counts: Sequence[Counts]) -> Counts:
    """Return the range (Counts) of the first input, for an operation that moves values or picks some of them."""
    return counts[0]
