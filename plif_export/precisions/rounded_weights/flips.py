"""The spikes that rounded weights of an artifact change, against the model itself: a check of the gate.

The gate judges a file by the interpreter on the weights that the same pass rounded, so a pass that rounds badly would
be judged by its own mistake. Hence one bound here: rounding alone may not change a tenth of a layer's spikes, or the
share that the grid of fewer bits allows.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.proof.arithmetic.interpret import Array, State, step_neuron
from plif_export.core.proof.reference import History, Reference
from plif_export.core.proof.report import Report
from plif_export.core.proof.subjects.subject import Subject, split_calls
from runtime.core.model.graph import Graph, state_key
from runtime.core.model.grids import GRIDS

MIN_FLIPS = 20  # fewer flips are ignored, for layers that hardly fire


class FlipCounter:
    """A counter of the spikes of a model that change when its weights are rounded, and of those that could.

    model  in fp32;  rounded: the layers with input from rounded weights
    """

    def __init__(self, model: Reference, graph: Graph) -> None:
        self.model, self.rounded = model, _find_rounded_layers(graph)

    def count_flips(self, subject: Subject, x: Array, state: State, bounds: Bounds, report: Report) -> History:
        """Count the spikes of an artifact that differ from the model's, with every layer fed by the model's values.

        The input is x [T, 1, ...]; each layer gets the model's spikes and membranes.

        (On its own spikes, the whole file adds the consequences of those flips.) The subject must show spikes.
        Returns the model's history.

        The report also counts the spikes that a layer with rounded weights would not have fired without input: spikes
        that membranes or bias alone cause say nothing about rounding.
        """
        history = self.model.run(x, state)
        most = GRIDS.get(report.precision, GRIDS["int8"]).flips
        flips = dict.fromkeys(history.layers, 0)
        silence = {layer: np.zeros_like(layer_history.steps[0].s) for layer, layer_history in history.layers.items()}
        silent_step = bounds.step(
            np.zeros_like(history.x[0]), silence, lambda layer, name, when: np.zeros_like(silence[layer])
        )
        for name in self.rounded:
            node, fired = bounds.neurons[name], history.layers[name]
            for t, step in enumerate(fired.steps if fired.is_spiking else []):
                without_input = step_neuron(node, silent_step.input_current(node), fired.before(t)).s
                report.rounded_spikes += int(np.sum((step.s != 0) & (without_input != step.s)))
        for case in split_calls(history, subject.chunk):
            for name, steps in subject.run_forced(case).layers.items():
                for k, layer_history in steps.items():
                    assert layer_history.s is not None, "the subject shows no spikes"
                    if case.expected[name][k].values == "spikes":  # graded values always differ by rounding
                        flips[name] += int(np.sum((layer_history.s > 0.5) != case.expected[name][k].s))
        for layer in report.layers:
            layer.rounding_mismatches += flips[layer.name]
            spikes = history.layers[layer.name].spikes
            if flips[layer.name] > MIN_FLIPS + most * spikes:
                problem = f"{report.precision} weights change {flips[layer.name]} of its {spikes} spikes, too many for rounding"
                report.fail(layer.name, 0, f"{problem}; use a higher precision")
        return history

    def any_fires(self, x: Array) -> bool:
        """Return whether any layer with rounded weights fires on x [T, B, ...], from a reset."""
        for b in range(x.shape[1]):
            state = self.model.initial()
            for x_t in x[:, b : b + 1]:
                history = self.model.run(x_t[None], state)
                if any(history.layers[layer].spikes for layer in self.rounded if history.layers[layer].is_spiking):
                    return True
                after = {layer: layer_history.steps[-1].after for layer, layer_history in history.layers.items()}
                state = {state_key(layer, name): v for layer, states in after.items() for name, v in states.items()}
        return False


def _find_rounded_layers(graph: Graph) -> set[str]:
    """Return the neuron layers whose input comes from a layer with rounded weights."""

    @cache
    def is_rounded(name: str) -> bool:
        if name == graph.input or graph[name].op in ("Neuron", "State"):
            return False
        node = graph[name]
        has_rounded = any(np.asarray(value).dtype != np.float32 for value in node.params.values())
        return has_rounded or any(map(is_rounded, node.inputs))

    return {n.layer for n in graph.neurons if any(map(is_rounded, n.inputs))}
