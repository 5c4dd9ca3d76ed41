"""Passes that need no rounding of weights: what becomes part of the layer before it, disappears, or is computed once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime.core.model.graph import Graph, Node, initial_v


def drop_dropout(graph: Graph) -> Graph:
    """Removes dropout, which is the identity after training. Requires nothing. Preserves every value exactly."""
    return graph.rewrite({}, {node.name for node in graph if node.op == "Dropout"})


def fold_batchnorm(graph: Graph) -> Graph:
    """Batch normalisation becomes part of the convolution or linear layer before it.

        y = (W x + b - mean) * g / sigma + beta,  sigma = sqrt(var + eps)
          = (W g / sigma) x + ((b - mean) g / sigma + beta)

    Requires a Conv or Linear that only the BatchNorm reads; a BatchNorm elsewhere becomes an Affine (scale, shift).
    Preserves values up to rounding. The products are formed in float64 and rounded once.
    Source: main paper section 3.4 ("BN can be absorbed into its front Conv2d").
    """
    changed: dict[str, Node] = {}
    dropped: set[str] = set()
    for node in graph:
        if node.op != "BatchNorm":
            continue
        p = {key: value.astype(np.float64) for key, value in node.params.items()}
        scale = p["weight"] / np.sqrt(p["var"] + node.attrs["eps"])
        shift = p["bias"] - p["mean"] * scale
        before = product_before(graph, node)
        if before is not None:
            changed[before.name] = scaled(before, scale, shift)
            dropped.add(node.name)
        else:
            changed[node.name] = node.with_(op="Affine", attrs={}, params=_affine(scale, shift))
    return graph.rewrite(changed, dropped)


def product_before(graph: Graph, node: Node) -> Node | None:
    """The Conv or Linear whose output nothing but `node` reads, so that its weights may be scaled; None elsewhere.

    A Linear over tokens makes [tokens, features], and what reads it scales its first axis, the tokens: it is not one.
    """
    before = next((n for n in graph if n.name == node.inputs[0]), None)
    if before is None or not graph.feeds_only(before.name, node.name):
        return None
    return before if before.op == "Conv" or (before.op == "Linear" and len(before.shape) == 1) else None


def scaled(node: Node, scale: np.ndarray, shift: np.ndarray) -> Node:
    """A Conv or Linear whose output is `scale * y + shift`: W' = scale W, b' = scale b + shift.

    scale [] or [O] and shift [O] in float64, O output channels; the weights are rounded to float32 once.
    """
    weight = node.params["weight"].astype(np.float64)
    bias = node.params["bias"].astype(np.float64) if "bias" in node.params else np.zeros(weight.shape[0])
    per_output = np.broadcast_to(scale, weight.shape[:1]).reshape(-1, *(1,) * (weight.ndim - 1))
    params = {"weight": (weight * per_output).astype(np.float32)}
    new_bias = (bias * scale + shift).astype(np.float32)
    if "bias" in node.params or new_bias.any():
        params["bias"] = new_bias
    return node.with_(params=params)


def _affine(scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray]:
    return {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}


def fold_tau(graph: Graph) -> Graph:
    """The membrane time constant moves into the weights, so that a step costs one multiplication less.

        exact    h = v + (x - (v - v_reset)) * alpha
        folded   h = v * (1 - alpha) + x'        x' = alpha x + alpha v_reset     decay_input true
                                                 x' =       x + alpha v_reset     decay_input false

    Where one Conv or Linear feeds only this neuron, x' comes for free: W' = alpha W, b' = alpha b + alpha v_reset. Elsewhere
    (a pool between them, say) an Affine in front of the neuron does it. IF neurons have no alpha and stay as they are, and so
    do the kinds of other libraries, whose equations keep their own order.
    Requires batch normalisation folded before. Preserves h up to rounding, alpha itself is taken in float32 as trained.
    """
    changed: dict[str, Node] = {}
    inserted: dict[str, Node] = {}  # neuron -> the Affine to put in front of it
    for node in graph.neurons:
        if "charge" not in node.attrs or "alpha" not in node.params:
            continue
        alpha = node.params["alpha"].astype(np.float64)
        scale = alpha if node.attrs["decay_input"] else np.ones_like(alpha)
        shift = alpha * initial_v(node)
        folded = node.with_(attrs={**node.attrs, "charge": "folded"})
        before = product_before(graph, node)
        if before is not None:
            changed[before.name] = scaled(before, scale, np.broadcast_to(shift, before.params["weight"].shape[:1]))
        elif np.any(scale != 1) or np.any(shift != 0):
            name = f"{node.layer}_charge"
            inserted[node.name] = Node(name, "Affine", node.inputs, node.shape, params=_affine(scale, shift))
            folded = folded.with_(inputs=(name,))
        changed[node.name] = folded
    nodes = (each for node in graph for each in (inserted.get(node.name), node) if each is not None)
    return replace(graph, nodes=tuple(nodes)).rewrite(changed)


def hoist_static_input(graph: Graph) -> Graph:
    """Marks what depends on a static image alone, so that the unrolled form computes it once, not T times.

    The authors' code does the same: the first convolution and its batch normalisation run once per image, and the constant
    current feeds the first neurons at all T steps (their `static_conv`).
    Requires a graph whose input does not change over time. Preserves every value exactly.
    """
    still = {graph.input}
    for node in graph:
        if node.op not in ("Neuron", "State") and all(name in still for name in node.inputs):
            still.add(node.name)
    return replace(graph, hoisted=frozenset(still - {graph.input}))
