"""fold_tau: the membrane time constant moves into the weights, so that a step costs one multiplication less.

    exact    h = v + (x - (v - v_reset)) * alpha
    folded   h = v * (1 - alpha) + x'        x' = alpha x + alpha v_reset     decay_input true
                                             x' =       x + alpha v_reset     decay_input false

Where one Conv or Linear feeds only this neuron, x' comes for free: W' = alpha W, b' = alpha b + alpha v_reset. Elsewhere
(a pool between them, say) an Affine in front of the neuron does it. IF neurons have no alpha and stay as they are, and so do
the kinds of other libraries, whose equations keep their own order.
Requires batch normalisation folded before. Preserves h up to rounding, alpha itself is taken in float32 as trained.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from plif_export.passes.fold_batchnorm import product_before, scaled
from runtime.model.graph import Graph, Node, initial_v


def fold_tau(graph: Graph) -> Graph:
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
            affine = Node(
                name=f"{node.layer}_charge",
                op="Affine",
                inputs=node.inputs,
                shape=node.shape,
                params={"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)},
            )
            inserted[node.name] = affine
            folded = folded.with_(inputs=(affine.name,))
        changed[node.name] = folded
    graph = graph if not inserted else _insert(graph, inserted)
    return graph.rewrite(changed)


def _insert(graph: Graph, before: dict[str, Node]) -> Graph:
    nodes: list[Node] = []
    for node in graph:
        if node.name in before:
            nodes.append(before[node.name])
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))
