"""The golden model: the SNN graph in NumPy, independent of torch and of ONNX.

Passes and writers are checked against it. It runs in float32 or float64, one time-step at a time, and is written for
reading, not for speed. The neurons' equations are those of runtime/model/neurons.py, each kind by its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from plif_export.proof.elementwise import Numpy
from plif_export.proof.maps import MAPS
from plif_export.proof.tensors import TENSORS
from runtime.model.graph import Graph, Node, spatial, state_key
from runtime.model.neurons import Terms, equation_of

Array = np.ndarray
State = dict[str, Array]
Inputs = Array | tuple[Array, ...]  # of a neuron: a tuple where it has several


@dataclass(frozen=True)
class LayerStep:
    """What one neuron layer does in one step, arrays [B, ...]: the membrane h before the reset, the spikes s, {0, 1} or bool,
    and every state variable after the step.

    values  what s holds: "spikes", "graded" or "membrane" (runtime.model.graph.Node.values)
    jumps   hair [B, ...] -> bool [B, ...]: where input and membrane that move h so much, up or down, change what the neuron
            decides; None where h and v_threshold say that
    """

    h: Array
    s: Array
    after: State
    values: str = "spikes"
    jumps: Callable[[Array], Array] | None = None

    @property
    def v(self) -> Array:
        """The membrane after the step, [B, ...]."""
        return self.after["v"]


def start(graph: Graph, batch: int, dtype: type = np.float32) -> State:
    """The state after a reset: {layer: v [B, ...]} of `dtype`, further variables by their key (runtime.model.graph.state_key)."""
    return {
        state_key(n.layer, variable): np.full((batch, *n.shape), value, dtype)
        for n in graph.neurons
        for variable, value in n.initial.items()
    }


def step(graph: Graph, x: Array, state: State, dtype: type = np.float32) -> tuple[Array, State, dict[str, LayerStep]]:
    """One time-step, computed in `dtype`: x [B, C, H, W] and a state {layer: v [B, ...]} -> (y [B, classes], the state after
    it, {layer: what its neurons did}). The given state is not changed."""
    layers: dict[str, LayerStep] = {}
    values: dict[str, Array] = {graph.input: np.asarray(x, dtype)}
    after: State = {}
    for node in graph:
        if node.op == "State":
            held = state if node.attrs["when"] == "before" else after
            values[node.name] = np.asarray(held[state_key(node.layer, node.attrs["variable"])], dtype)
            continue
        if node.op != "Neuron":
            values[node.name] = _apply(node, values, dtype)
            continue
        before: State = {name: np.asarray(state[state_key(node.layer, name)], dtype) for name in node.initial}
        fired = layers[node.layer] = neuron(
            node, inputs_of(node, values.__getitem__), before, _params(node, dtype), dtype
        )
        values[node.name] = fired.s
        after.update({state_key(node.layer, name): value for name, value in fired.after.items()})
    return values[graph.output], after, layers


def inputs_of(node: Node, value: Callable[[str], Array]) -> Inputs:
    """What a neuron reads: one array, or a tuple of several."""
    read = tuple(value(name) for name in node.inputs)
    return read[0] if len(read) == 1 else read


def _apply(node: Node, values: dict[str, Array], dtype: type) -> Array:
    """The output of a node that is no neuron, from the outputs of those before it."""
    return OPS[node.op](node, *(values[name] for name in node.inputs), _params(node, dtype))


def _params(node: Node, dtype: type) -> dict[str, Array]:
    return {key: np.asarray(value, dtype) for key, value in node.params.items()}


def run(graph: Graph, x: Array, state: State | None = None, dtype: type = np.float32) -> tuple[Array, State]:
    """T time-steps, computed in `dtype`: x [T, B, C, H, W] -> (y [T, B, classes], state {layer: v [B, ...]})."""
    state = start(graph, x.shape[1], dtype) if state is None else state
    outputs = []
    for x_t in x:
        y, state, _ = step(graph, x_t, state, dtype)
        outputs.append(y)
    return np.stack(outputs), state


def neuron(node: Node, x: Inputs, state: State, params: dict[str, Array], dtype: type = np.float32) -> LayerStep:
    """One step of a neuron layer by the equation of its kind, in NumPy and `dtype`: current x [B, ...], state {"v": [B, ...],
    ...} and the parameters, each one number, one per channel, or one per neuron."""
    equation, shape = equation_of(node.attrs["kind"]), (1, *node.shape)
    inputs = x if isinstance(x, tuple) else (x,)

    def at(dtype: type, by: Array | None = None) -> LayerStep:
        """The step in `dtype`; by: how far all inputs and the membrane are moved."""

        def moved(value: Array) -> Array:
            return np.asarray(value, dtype) if by is None else np.asarray(value, dtype) + by

        values = {key: broadcast(np.asarray(value, dtype), shape) for key, value in params.items()}
        terms = Terms(node.attrs, values, lambda name, number: dtype(number))
        known: State = {name: np.asarray(value, dtype) for name, value in state.items()}
        known["v"] = moved(known["v"])
        read = tuple(moved(one) for one in inputs)
        with np.errstate(all="ignore"):
            fired = equation.step(Numpy(dtype), terms, read[0] if len(read) == 1 else read, known)
        return LayerStep(*fired, node.values)

    def jumps(hair: Array) -> Array:
        """A straight line has no second difference; a step, in the spikes or in any state, has one."""
        moves = np.abs(at(np.float64, hair).h - at(np.float64, -hair).h) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            by = hair * np.where(moves > 0, np.clip(hair / moves, 0.1, 10), 1)  # so that h moves by a hair
        below, here, above = ({"": step.s, **step.after} for step in (at(np.float64, one) for one in (-by, None, by)))
        found = np.zeros(shape, bool)
        with np.errstate(invalid="ignore"):
            for name, value in here.items():
                found = found | (np.abs(above[name] - 2 * value + below[name]) > 10 * hair)
        return found

    done = at(dtype)
    return done if equation.check is None or done.values == "membrane" else replace(done, jumps=jumps)


def broadcast(values: Array, shape: tuple[int, ...]) -> Array:
    """A scalar, one value per neuron, or one per channel, shaped to broadcast over [B, C, ...]."""
    return values[None] if values.ndim == len(shape) - 1 and values.ndim > 1 else per_channel(values, len(shape))


def per_channel(values: Array, ndim: int) -> Array:
    """A scalar as it is; one value per channel shaped to broadcast over [B, C, ...]."""
    return values if values.ndim == 0 else values.reshape(1, -1, *(1,) * (ndim - 2))


def _conv(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return _current(node, x, p, _convolve)


def _current(node: Node, x: Array, p: dict[str, Array], weigh: Callable[[Node, Array, Array], Array]) -> Array:
    """A Conv or Linear in the precision of its weight (runtime/model/graph.py): weigh(node, x, weight) is the sum."""
    dtype = x.dtype
    channels = (-1, *(1,) * (len(node.shape) - 1)) if node.op == "Conv" else (-1,)
    if "scale" in p:  # whole numbers: the sums are exact in float64
        area = node.attrs.get("area", 1)
        y = weigh(node, np.rint(x * area).astype(np.float64), p["weight"].astype(np.float64)).astype(dtype)
        scale = p["scale"] if area == 1 else p["scale"] * dtype.type(1 / area)
        y = y * scale.reshape(channels)
    elif node.params["weight"].dtype == np.float16:
        y = weigh(node, x.astype(np.float16).astype(dtype), p["weight"])
    else:
        y = weigh(node, x, p["weight"])
    return y + p["bias"].reshape(channels) if "bias" in p else y


def _convolve(node: Node, x: Array, weight: Array) -> Array:
    groups = node.attrs["groups"]  # weight [O, I / groups, k...]
    windows = _windows(node, x, weight.shape[2:])  # [B, I, H, W, k, k]
    dims = weight.ndim - 2
    b, i, *where = windows.shape[: 2 + dims]
    windows = windows.reshape(b, groups, i // groups, *where, *weight.shape[2:])
    weight = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    space, kernel = "hw"[:dims], "kl"[:dims]
    y = np.einsum(f"bgi{space}{kernel},goi{kernel}->bgo{space}", windows, weight, optimize=True)
    return y.reshape(b, -1, *where)


def _windows(node: Node, x: Array, kernel: tuple[int, ...], fill: float = 0.0) -> Array:
    """[B, C, ...] -> [B, C, ..., k...], with the node's padding, stride and dilation."""
    dims = x.ndim - 2
    padding, stride, dilation = (
        spatial(node.attrs.get(key, default), dims) for key, default in (("padding", 0), ("stride", 1), ("dilation", 1))
    )
    if any(padding):
        x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=fill)
    axes = tuple(range(2, 2 + dims))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    windows = sliding_window_view(x, reach, axis=axes)
    steps = (slice(None), slice(None), *(slice(None, None, step) for step in (*stride, *dilation)))
    return windows[steps]


def _linear(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return _current(node, x, p, lambda _, values, weight: values @ weight.T)


def _batch_norm(node: Node, x: Array, p: dict[str, Array]) -> Array:
    scale = p["weight"] / np.sqrt(p["var"] + x.dtype.type(node.attrs["eps"]))
    return (x - per_channel(p["mean"], x.ndim)) * per_channel(scale, x.ndim) + per_channel(p["bias"], x.ndim)


def _affine(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return x * broadcast(p["scale"], x.shape) + broadcast(p["shift"], x.shape)


def _max_pool(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return _pools(node, x, -np.inf).max(axis=tuple(range(x.ndim, 2 * x.ndim - 2)))


def _avg_pool(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return _pools(node, x, 0.0).mean(axis=tuple(range(x.ndim, 2 * x.ndim - 2)), dtype=x.dtype)


def _pools(node: Node, x: Array, fill: float) -> Array:
    return _windows(node, x, spatial(node.attrs["kernel"], x.ndim - 2), fill)


OPS: dict[str, Callable[..., Array]] = {  # (node, *inputs, params) -> output
    "Conv": _conv,
    "Linear": _linear,
    "BatchNorm": _batch_norm,
    "Affine": _affine,
    "MaxPool": _max_pool,
    "AvgPool": _avg_pool,
    "GlobalAvgPool": lambda node, x, p: x.mean(axis=tuple(range(2, x.ndim)), dtype=x.dtype, keepdims=True),
    "Add": lambda node, *values: reduce(np.add, values[:-1]),  # the last are the (empty) parameters
    "Mul": lambda node, *values: reduce(np.multiply, values[:-1]),
    "Flatten": lambda node, x, p: x.reshape(x.shape[0], -1),
    "Dropout": lambda node, x, p: x,  # identity after training
    "Vote": lambda node, x, p: x.reshape(x.shape[0], -1, node.attrs["voters"]).mean(axis=2, dtype=x.dtype),
    **TENSORS,
    **MAPS,
}
