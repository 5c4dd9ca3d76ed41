"""Passes that do not round weights: they fold a layer into the previous one, remove it, or compute it once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime.core.model.graph import Graph, Node, initial_membrane


def drop_dropout(graph: Graph) -> Graph:
    """Remove the dropout nodes of a graph, which do nothing after training.

    Requires nothing. Preserves every value exactly.
    """
    return graph.replace_nodes({}, {node.name for node in graph if node.op == "Dropout"})


def fold_batchnorm(graph: Graph) -> Graph:
    """Fold batch normalisation into the convolution or linear layer before it.

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
        before = find_product_before(graph, node)
        if before is not None:
            changed[before.name] = scale_output(before, scale, shift)
            dropped.add(node.name)
        else:
            changed[node.name] = node.with_(op="Affine", attrs={}, params=_affine_params(scale, shift))
    return graph.replace_nodes(changed, dropped)


def find_product_before(graph: Graph, node: Node) -> Node | None:
    """Return the Conv or Linear that feeds only this node, so that its weights may be scaled; else None.

    A Linear over tokens makes [tokens, features], and its reader scales the first axis, the tokens: it does not
    count.
    """
    before = next((n for n in graph if n.name == node.inputs[0]), None)
    if before is None or not graph.has_only_reader(before.name, node.name):
        return None
    return before if before.op == "Conv" or (before.op == "Linear" and len(before.shape) == 1) else None


def scale_output(node: Node, scale: np.ndarray, shift: np.ndarray) -> Node:
    """Return a Conv or Linear node with the output `scale * y + shift`: W' = scale W, b' = scale b + shift.

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


def _affine_params(scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray]:
    return {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}


def fold_tau(graph: Graph) -> Graph:
    """Fold the membrane time constant tau into the weights, which saves one multiplication per step.

        exact    h = v + (x - (v - v_reset)) * alpha
        folded   h = v * (1 - alpha) + x'        x' = alpha x + alpha v_reset     decay_input true
                                                 x' =       x + alpha v_reset     decay_input false

    Where one Conv or Linear feeds only this neuron, x' costs nothing: W' = alpha W, b' = alpha b + alpha v_reset.
    Elsewhere (after a pool, say) an Affine in front of the neuron computes it. IF neurons have no alpha and stay as
    they are, and so do the kinds of other libraries, which keep the order of their equations. Requires batch
    normalisation folded before. Preserves h up to rounding; alpha itself is the trained float32.
    """
    changed: dict[str, Node] = {}
    inserted: dict[str, Node] = {}  # neuron -> the Affine to put in front of it
    for node in graph.neurons:
        if "charge" not in node.attrs or "alpha" not in node.params:
            continue
        alpha = node.params["alpha"].astype(np.float64)
        scale = alpha if node.attrs["decay_input"] else np.ones_like(alpha)
        shift = alpha * initial_membrane(node)
        folded = node.with_(attrs={**node.attrs, "charge": "folded"})
        before = find_product_before(graph, node)
        if before is not None:
            changed[before.name] = scale_output(
                before, scale, np.broadcast_to(shift, before.params["weight"].shape[:1])
            )
        elif np.any(scale != 1) or np.any(shift != 0):
            name = f"{node.layer}_charge"
            inserted[node.name] = Node(name, "Affine", node.inputs, node.shape, params=_affine_params(scale, shift))
            folded = folded.with_(inputs=(name,))
        changed[node.name] = folded
    nodes = (n for node in graph for n in (inserted.get(node.name), node) if n is not None)
    return replace(graph, nodes=tuple(nodes)).replace_nodes(changed)


def hoist_static_input(graph: Graph) -> Graph:
    """Mark the nodes that depend on a static image alone, so that a file of T steps computes them only once.

    The authors' code does the same: the first convolution and its batch normalisation run once per image, and the
    constant current feeds the first neurons at all T steps (their `static_conv`). Requires a graph with an input that
    does not change over time. Preserves every value exactly.
    """
    static = {graph.input}
    for node in graph:
        if node.op not in ("Neuron", "State") and all(name in static for name in node.inputs):
            static.add(node.name)
    return replace(graph, hoisted=frozenset(static - {graph.input}))
