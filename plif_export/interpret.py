"""The golden model: the SNN graph in NumPy, independent of torch and of ONNX.

Passes and writers are checked against it. It runs in float32 or float64, one time-step at a time, and is written for
reading, not for speed. The equations are those of runtime/graph.py, with the same letters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from runtime.graph import Graph, Node, initial_v

Array = np.ndarray
State = dict[str, Array]


@dataclass
class Fired:
    """What one neuron layer did in one step: current x, membrane before the reset h, spikes s, membrane after it v."""

    x: Array
    h: Array
    s: Array
    v: Array


@dataclass
class Trace:
    values: dict[str, Array] = field(default_factory=dict)  # node name -> output
    fired: dict[str, Fired] = field(default_factory=dict)  # layer -> what its neurons did


def start(graph: Graph, batch: int, dtype: type = np.float32) -> State:
    """The state after a reset: {layer: v [B, ...]}."""
    return {n.layer: np.full((batch, *n.shape), initial_v(n), dtype) for n in graph.neurons}


def step(graph: Graph, x: Array, state: State, dtype: type = np.float32) -> tuple[Array, State, Trace]:
    """One time-step: x [B, C, H, W] and {layer: v} -> (y, {layer: v}, trace). The given state is not changed."""
    trace = Trace(values={graph.input: np.asarray(x, dtype)})
    after: State = {}
    for node in graph:
        inputs = [trace.values[name] for name in node.inputs]
        params: dict[str, Array] = {key: np.asarray(value, dtype) for key, value in node.params.items()}
        if node.op == "Neuron":
            fired = neuron(node, inputs[0], np.asarray(state[node.layer], dtype), params, dtype)
            trace.fired[node.layer] = fired
            trace.values[node.name] = fired.s
            after[node.layer] = fired.v
        else:
            trace.values[node.name] = OPS[node.op](node, inputs[0], params)
    return trace.values[graph.output], after, trace


def run(graph: Graph, x: Array, state: State | None = None, dtype: type = np.float32) -> tuple[Array, State]:
    """T time-steps: x [T, B, C, H, W] -> (y [T, B, ...], state)."""
    state = start(graph, x.shape[1], dtype) if state is None else state
    outputs = []
    for x_t in x:
        y, state, _ = step(graph, x_t, state, dtype)
        outputs.append(y)
    return np.stack(outputs), state


def neuron(node: Node, x: Array, v: Array, params: dict[str, Array], dtype: type = np.float32) -> Fired:
    a = node.attrs
    v_threshold = dtype(a["v_threshold"])
    r = dtype(initial_v(node))
    alpha = per_channel(params["alpha"], x.ndim) if "alpha" in params else None
    if alpha is None:
        h = v + x
    elif a["charge"] == "folded":
        h = v * (dtype(1) - alpha) + x
    elif a["decay_input"]:
        h = v + (x - (v - r)) * alpha
    else:
        h = v - (v - r) * alpha + x
    fires = h >= v_threshold
    s = fires.astype(dtype)
    v = h - s * v_threshold if a["v_reset"] is None else np.where(fires, r, h)
    return Fired(x, h, s, v)


def per_channel(values: Array, ndim: int) -> Array:
    """A scalar as it is; one value per channel shaped to broadcast over [B, C, ...]."""
    return values if values.ndim == 0 else values.reshape(1, -1, *(1,) * (ndim - 2))


def _conv(node: Node, x: Array, p: dict[str, Array]) -> Array:
    pad, stride, groups = node.attrs["padding"], node.attrs["stride"], node.attrs["groups"]
    weight = p["weight"]  # [O, I / groups, k, k]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = _windows(x, weight.shape[2], stride)  # [B, I, H, W, k, k]
    b, i, h, w = windows.shape[:4]
    windows = windows.reshape(b, groups, i // groups, h, w, *weight.shape[2:])
    weight = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    y = np.einsum("bgihwkl,goikl->bgohw", windows, weight, optimize=True).reshape(b, -1, h, w)
    return y + p["bias"].reshape(1, -1, 1, 1) if "bias" in p else y


def _windows(x: Array, kernel: int, stride: int) -> Array:
    return sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def _linear(node: Node, x: Array, p: dict[str, Array]) -> Array:
    y = x @ p["weight"].T
    return y + p["bias"] if "bias" in p else y


def _batch_norm(node: Node, x: Array, p: dict[str, Array]) -> Array:
    scale = p["weight"] / np.sqrt(p["var"] + x.dtype.type(node.attrs["eps"]))
    return (x - per_channel(p["mean"], x.ndim)) * per_channel(scale, x.ndim) + per_channel(p["bias"], x.ndim)


def _affine(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return x * per_channel(p["scale"], x.ndim) + per_channel(p["shift"], x.ndim)


def _max_pool(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return _windows(x, node.attrs["kernel"], node.attrs["stride"]).max(axis=(4, 5))


def _avg_pool(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return _windows(x, node.attrs["kernel"], node.attrs["stride"]).mean(axis=(4, 5), dtype=x.dtype)


def _flatten(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return x.reshape(x.shape[0], -1)


def _dropout(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return x  # identity after training


def _vote(node: Node, x: Array, p: dict[str, Array]) -> Array:
    return x.reshape(x.shape[0], -1, node.attrs["voters"]).mean(axis=2, dtype=x.dtype)


OPS: dict[str, Callable[[Node, Array, dict[str, Array]], Array]] = {
    "Conv": _conv,
    "Linear": _linear,
    "BatchNorm": _batch_norm,
    "Affine": _affine,
    "MaxPool": _max_pool,
    "AvgPool": _avg_pool,
    "Flatten": _flatten,
    "Dropout": _dropout,
    "Vote": _vote,
}
