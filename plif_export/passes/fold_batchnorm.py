"""fold_batchnorm: batch normalisation becomes part of the convolution or linear layer before it.

    y = (W x + b - mean) * g / sigma + beta,  sigma = sqrt(var + eps)
      = (W g / sigma) x + ((b - mean) g / sigma + beta)

Requires a Conv or Linear that only the BatchNorm reads; a BatchNorm elsewhere becomes an Affine (scale, shift).
Preserves values up to rounding. The products are formed in float64 and rounded once.
Source: main paper section 3.4 ("BN can be absorbed into its front Conv2d").
"""

from __future__ import annotations

import numpy as np

from runtime.model.graph import Graph, Node


def fold_batchnorm(graph: Graph) -> Graph:
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
            affine = {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}
            changed[node.name] = node.with_(op="Affine", attrs={}, params=affine)
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
