"""Mutations of a graph: what can be wrong with a neuron, a weight, or how layers hang together (mutations.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, Node

SLIGHTLY = (0.999, 1.001)
EPS = 1e-5


@dataclass(frozen=True)
class Mutant:
    """One artifact that is wrong in one place; what is None is as it should be."""

    where: str
    graph: Graph | None = None
    file: Callable[[onnx.ModelProto], None] | None = None
    card: Card | None = None


Made = Iterator[Mutant]


# --- neurons -----------------------------------------------------------------------------------------------------------


def _with(graph: Graph, node: Node, params: dict[str, Any] | None = None, **attrs: Any) -> Graph:
    changed = node.with_(attrs={**node.attrs, **attrs}, params={**node.params, **(params or {})})
    return graph.replace_nodes({node.name: changed})


def comparison(graph: Graph, rng: np.random.Generator) -> Made:
    """>= for > and > for >=: for float32 h that is a threshold one float further."""
    for node in graph.neurons:
        strict = node.attrs["kind"] in ("Leaky", "LIFBox", "LIFCell") or node.attrs.get("fire") == ">"
        top = np.float32(node.attrs["v_threshold"])
        other = float(np.nextafter(top, np.float32(-np.inf if strict else np.inf)))
        yield Mutant(node.layer, _with(graph, node, v_threshold=other))


def threshold(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph.neurons:
        for factor in SLIGHTLY:
            yield Mutant(f"{node.layer} x {factor}", _with(graph, node, v_threshold=node.attrs["v_threshold"] * factor))


def reset_kind(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph.neurons:
        if "reset" in node.attrs:
            for other in {"subtract", "zero", "none"} - {node.attrs["reset"]}:
                yield Mutant(f"{node.layer} {other}", _with(graph, node, reset=other))
        else:
            yield Mutant(node.layer, _with(graph, node, v_reset=0.0 if node.attrs["v_reset"] is None else None))


def reset_value(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph.neurons:
        if node.attrs["v_reset"] is not None and "reset" not in node.attrs:
            off = 0.001 * node.attrs["v_threshold"]
            yield Mutant(node.layer, _with(graph, node, v_reset=node.attrs["v_reset"] + off))


def resting_value(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph.neurons:
        if "v_leak" in node.attrs:
            off = 0.001 * node.attrs["v_threshold"]
            yield Mutant(node.layer, _with(graph, node, v_leak=node.attrs["v_leak"] + off))


def time_constant(graph: Graph, rng: np.random.Generator) -> Made:
    """Each parameter of the neurons: alpha, beta, k, k_syn, gain, r."""
    for node in graph.neurons:
        for key, value in node.params.items():
            for factor in SLIGHTLY:
                more = {"tau": node.attrs["tau"] / factor} if "tau" in node.attrs else {}
                changed = {key: np.asarray(value * np.float32(factor), np.float32)}
                yield Mutant(f"{node.layer} {key} x {factor}", _with(graph, node, changed, **more))


def time_constant_of_one_channel(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph.neurons:
        for key, value in node.params.items():
            if value.ndim:
                changed = value.copy()
                changed[rng.integers(len(value))] *= np.float32(rng.choice(SLIGHTLY))
                yield Mutant(f"{node.layer} {key}", _with(graph, node, {key: changed}))


def order_of_charge_and_leak(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph.neurons:
        for key in ("decay_input", "reset_delay"):
            if key in node.attrs and not (node.attrs["kind"] == "IF" or node.attrs.get("reset") == "none"):
                yield Mutant(f"{node.layer} {key}", _with(graph, node, **{key: not node.attrs[key]}))


# --- weights -----------------------------------------------------------------------------------------------------------


def one_weight(graph: Graph, rng: np.random.Generator) -> Made:
    """By 10 eps of the sum of its output's |weights|."""
    for node in graph:
        if "weight" in node.params and node.op != "BatchNorm":
            weight = node.params["weight"].copy()
            at = tuple(rng.integers(n) for n in weight.shape)
            weight[at] += np.float32(10 * EPS * np.abs(weight[at[0]]).sum() * rng.choice((-1, 1)))
            yield Mutant(node.name, _with(graph, node, {"weight": weight}))


def one_bias(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph:
        if "bias" in node.params and node.op != "BatchNorm":
            bias, at = node.params["bias"].copy(), rng.integers(len(node.params["bias"]))
            bias[at] += np.float32(10 * EPS * (np.abs(node.params["weight"][at]).sum() + abs(bias[at])))
            yield Mutant(node.name, _with(graph, node, {"bias": bias}))


def normalisation(graph: Graph, rng: np.random.Generator) -> Made:
    """One number of one channel of a BatchNorm or an Affine by 0.1 % of the largest; eps of 1e-3."""
    for node in graph:
        if node.op in ("BatchNorm", "Affine"):
            for key, value in node.params.items():
                changed = value.copy().reshape(-1)
                changed[rng.integers(changed.size)] += np.float32(0.001 * np.abs(value).max() + 1e-6)
                yield Mutant(f"{node.name} {key}", _with(graph, node, {key: changed.reshape(value.shape)}))
        if node.op == "BatchNorm":
            yield Mutant(f"{node.name} eps", _with(graph, node, eps=1e-3))
            yield Mutant(f"{node.name} dropped", graph.replace_nodes({}, {node.name}))


def weights_in_half(graph: Graph, rng: np.random.Generator) -> Made:
    """Weights rounded to float16, as TF32 rounds them, in a file that says fp32."""
    for node in graph:
        if "weight" in node.params and node.op != "BatchNorm":
            rounded = node.params["weight"].astype(np.float16).astype(np.float32)
            if np.any(rounded != node.params["weight"]):
                yield Mutant(node.name, _with(graph, node, {"weight": rounded}))


def two_outputs_exchanged(graph: Graph, rng: np.random.Generator) -> Made:
    for node in graph:
        if "weight" in node.params and node.op != "BatchNorm":
            changed = {key: np.concatenate([v[1::-1], v[2:]]) for key, v in node.params.items()}
            yield Mutant(node.name, _with(graph, node, changed))


def kernel_turned(graph: Graph, rng: np.random.Generator) -> Made:
    """Convolution for correlation, height for width."""
    for node in graph:
        if node.op == "Conv" and min(node.params["weight"].shape[2:]) > 1:
            weight = node.params["weight"]
            yield Mutant(f"{node.name} turned", _with(graph, node, {"weight": weight[..., ::-1, ::-1].copy()}))
            yield Mutant(f"{node.name} transposed", _with(graph, node, {"weight": weight.swapaxes(-1, -2).copy()}))


# --- how layers hang together --------------------------------------------------------------------------------------------


def flattened_otherwise(graph: Graph, rng: np.random.Generator) -> Made:
    """Channels last, as TensorFlow flattens."""
    shapes = {node.name: node.shape for node in graph}
    for node in graph:
        if node.op == "Flatten" and len(shapes.get(node.inputs[0], ())) == 3:
            order = np.arange(node.shape[0]).reshape(shapes[node.inputs[0]]).transpose(1, 2, 0).ravel()
            for reader in graph.consumers(node.name):
                if reader.op == "Linear" and np.any(order != np.arange(len(order))):
                    weight = reader.params["weight"][:, order].copy()
                    yield Mutant(node.name, _with(graph, reader, {"weight": weight}))


def vote_groups(graph: Graph, rng: np.random.Generator) -> Made:
    """Voters of a class side by side for voters apart: the outputs before a vote in another order."""
    for node in graph:
        if node.op == "Vote":
            order = np.arange(node.shape[0] * node.attrs["voters"]).reshape(node.shape[0], -1).T.ravel()
            last = next(n for n in graph if n.name == node.inputs[0])
            before = next((n for n in graph if n.name == last.inputs[0]), None) if last.op == "Neuron" else last
            uniform = last.op != "Neuron" or all(v.ndim == 0 for v in last.params.values())
            if before is not None and before.op == "Linear" and uniform:
                changed = {key: v[order].copy() for key, v in before.params.items()}
                yield Mutant(node.name, _with(graph, before, changed))


def other_pooling(graph: Graph, rng: np.random.Generator) -> Made:
    other = {"MaxPool": "AvgPool", "AvgPool": "MaxPool"}
    for node in graph:
        if node.op in other:
            yield Mutant(node.name, graph.replace_nodes({node.name: node.with_(op=other[node.op])}))


def other_joint(graph: Graph, rng: np.random.Generator) -> Made:
    other = {"Add": "Mul", "Mul": "Add"}
    for node in graph:
        if node.op in other:
            yield Mutant(node.name, graph.replace_nodes({node.name: node.with_(op=other[node.op])}))
        if node.op == "Concat":
            yield Mutant(node.name, graph.replace_nodes({node.name: node.with_(inputs=node.inputs[::-1])}))


GRAPHS: dict[str, Callable[[Graph, np.random.Generator], Made]] = {
    "`>=` for `>`, or `>` for `>=`": comparison,
    "threshold 0.1 % off": threshold,
    "another kind of reset": reset_kind,
    "reset value 0.1 % of the threshold off": reset_value,
    "resting value 0.1 % of the threshold off": resting_value,
    "tau, beta, k, gain or r 0.1 % off": time_constant,
    "tau of one channel 0.1 % off": time_constant_of_one_channel,
    "charge before leak, reset a step late": order_of_charge_and_leak,
    "one weight 10 eps of its sum off": one_weight,
    "one bias 10 eps of its sum off": one_bias,
    "weights rounded to float16": weights_in_half,
    "one number of a normalisation 0.1 % off": normalisation,
    "two outputs exchanged": two_outputs_exchanged,
    "kernel turned or transposed": kernel_turned,
    "flattened in another order": flattened_otherwise,
    "voters in other groups": vote_groups,
    "maximum for mean": other_pooling,
    "sum for product, joined in another order": other_joint,
}
