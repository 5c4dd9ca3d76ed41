"""What the rounded weights of an artifact change, against the model itself: a question of the gate beside those that it asks of
all artifacts.

The gate judges a file by the interpreter on the weights that the same pass rounded, so a pass that rounds badly would be judged
by its own mistake. Hence one bound here: rounding alone may not change a tenth of a layer's spikes, or what the grid of fewer
bits says.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array, State, neuron
from plif_export.core.proof.reference import History, Reference
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.subject import Subject, cases
from runtime.core.model.graph import Graph, state_key
from runtime.core.model.grids import GRIDS

FEW = 20  # flips say nothing about layers that hardly fire


class Flips:
    """How many spikes of the model rounded weights change, from its own states, and how many they could have changed.

    model  in fp32;  rounded: the layers whose input comes of rounded weights
    """

    def __init__(self, model: Reference, graph: Graph) -> None:
        self.model, self.rounded = model, _rounded_layers(graph)

    def count(self, subject: Subject, x: Array, state: State, bounds: Bounds, report: Report) -> History:
        """Each layer's spikes that differ from the model's when it gets the model's spikes and membranes, on x [T, 1, ...]. (What
        the whole file does on its own spikes adds the consequences of those flips.) The subject must show spikes. Returns what
        the model did.

        Counted beside them are the spikes that a layer with rounded weights would not have fired without input: what its
        membranes or its bias fire says nothing about rounding.
        """
        history = self.model.run(x, state)
        most = GRIDS.get(report.precision, GRIDS["int8"]).flips
        flips = dict.fromkeys(history.layers, 0)
        silence = {layer: np.zeros_like(seen.steps[0].s) for layer, seen in history.layers.items()}
        still = bounds.step(
            np.zeros_like(history.x[0]), silence, lambda layer, name, when: np.zeros_like(silence[layer])
        )
        for name in self.rounded:
            node, fired = bounds.neurons[name], history.layers[name]
            for t, step in enumerate(fired.steps if fired.spiking else []):
                alone = neuron(node, still.current(node), fired.before(t)).s
                report.rounded_spikes += int(np.sum((step.s != 0) & (alone != step.s)))
        for case in cases(history, subject.chunk):
            for name, steps in subject.forced(case).layers.items():
                for k, seen in steps.items():
                    assert seen.s is not None, "the subject shows no spikes"
                    if case.expected[name][k].values == "spikes":  # any value is rounded a little, and no spike of it
                        flips[name] += int(np.sum((seen.s > 0.5) != case.expected[name][k].s))
        for layer in report.layers:
            layer.rounding_mismatches += flips[layer.name]
            spikes = history.layers[layer.name].spikes
            if flips[layer.name] > FEW + most * spikes:
                what = f"{report.precision} weights change {flips[layer.name]} of its {spikes} spikes, too many for rounding"
                report.fail(layer.name, 0, f"{what}; use a higher precision")
        return history

    def any_fires(self, x: Array) -> bool:
        """Whether any of these layers of the model fires on x [T, B, ...] from reset, without membranes that were drawn."""
        for b in range(x.shape[1]):
            state = self.model.initial()
            for x_t in x[:, b : b + 1]:
                history = self.model.run(x_t[None], state)
                if any(history.layers[layer].spikes for layer in self.rounded if history.layers[layer].spiking):
                    return True
                after = {layer: seen.steps[-1].after for layer, seen in history.layers.items()}
                state = {state_key(layer, name): v for layer, own in after.items() for name, v in own.items()}
        return False


def _rounded_layers(graph: Graph) -> set[str]:
    """The layers whose input comes of rounded weights."""

    @cache
    def is_rounded(name: str) -> bool:
        if name == graph.input or graph[name].op in ("Neuron", "State"):
            return False
        node = graph[name]
        own = any(np.asarray(value).dtype != np.float32 for value in node.params.values())
        return own or any(map(is_rounded, node.inputs))

    return {n.layer for n in graph.neurons if any(map(is_rounded, n.inputs))}
