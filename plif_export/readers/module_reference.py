"""A traced module as the reference of a parity check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from plif_export.proof import interpret
from plif_export.proof.interpret import Array, State
from plif_export.proof.reference import GraphReference, History, histories_from
from plif_export.readers.trace import ModuleTrace, Stepper, first_output, one_thread
from runtime.model.graph import state_key


class ModuleReference(GraphReference):
    """The traced module, run node by node, batch 1, one thread; its neurons are the library's own modules.

    Spikes and states are the library's. h, which no library shows, is recomputed by the neuron's equation from the same
    x and state.
    """

    def __init__(self, traced: ModuleTrace) -> None:
        assert traced.graph is not None
        super().__init__(traced.graph)
        self.traced = traced
        self.nodes = {n.layer: n for n in self.graph.neurons}
        self.paths = {path: layer for path, layer in traced.neurons.items() if layer in self.nodes}

    def run(self, x: Array, state: State) -> History:
        """T steps of one stream, x float32 [T, 1, ...], from a state {key: float32 [1, ...]}."""
        layers = histories_from(self.graph, state)
        stepper = Stepper(self.traced.program)
        for path, layer in self.paths.items():
            variables = self.nodes[layer].initial
            stepper.states[path] = {v: torch.from_numpy(np.array(state[state_key(layer, v)])) for v in variables}
        outputs = []
        with torch.no_grad(), one_thread():
            for x_t in x:
                before = dict(stepper.states)
                out = stepper.step(torch.from_numpy(np.array(x_t, np.float32)))
                outputs.append(first_output(out).numpy().copy())
                for path, layer in self.paths.items():
                    current, s, after = stepper.seen[path]
                    node = self.nodes[layer]
                    known = {name: value.numpy() for name, value in before[path].items()}
                    fired = interpret.neuron(node, current.numpy(), known, dict(node.params))
                    values = {name: value.detach().numpy().copy() for name, value in after.items()}
                    spikes = s.numpy() > 0.5 if fired.values == "spikes" else s.numpy().copy()
                    layers[layer].steps.append(replace(fired, s=spikes, after=values))
        return History(x, np.stack(outputs), layers)
