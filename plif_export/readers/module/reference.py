"""A live module as the reference that a proof compares an artifact with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.reference import GraphReference, History, LayerHistory, empty_histories, one_thread
from plif_export.readers.step_program.reading import ModuleReading
from plif_export.readers.tracing.nodes import TraceNode
from runtime.core.model.graph import state_key


class ModuleReference(GraphReference):
    """The reference of an export proof: a live PyTorch module, whose recorded operations run step by step.

    It runs batch 1 on one thread, with the states outside. Spikes, states and outputs are the module's own
    operations. h is recorded too. A known kind of neuron may have no code for h: then it is recomputed by the
    equation from the same current and state.
    """

    def __init__(self, reading: ModuleReading) -> None:
        assert reading.graph is not None
        super().__init__(reading.graph)
        self.reading, self.program = reading, reading.program
        self.layers_of = {n.layer: reading.layers[n.layer] for n in self.graph.neurons}
        self.nodes = {n.layer: n for n in self.graph.neurons}

    def run(self, x: Array, state: State) -> History:
        """Run T steps of a reference module on one stream, x float32 [T, 1, ...], from a state {key: [1, ...]}."""
        layers = empty_histories(self.graph, state)
        program, tail = self.program, self.reading.readout.tail if self.reading.readout.folded else []
        states: dict[TraceNode, Tensor] = {}
        for name, layer in self.layers_of.items():
            for variable, s in layer.variables.items():
                states[s.before] = torch.from_numpy(np.array(state[state_key(name, variable)], np.float32))
        outputs = []
        fixed = None
        with one_thread():
            for x_t in x:
                x_tensor = torch.from_numpy(np.array(x_t, np.float32))
                if fixed is None or program.image:
                    image = x_tensor if program.image else None
                    fixed = program.fold_constants(1, image, tail, self.reading.readout.reduced)
                values = program.run_step(fixed, states, x_tensor, 1)
                self._append_history(layers, values)
                states = program.next_states(values)
                y = self.reading.readout.compute_step_output(values, 1)
                outputs.append(y.reshape(1, *self.graph[self.graph.output].shape).numpy().copy())
        return History(x, np.stack(outputs), layers)

    def _append_history(self, layers: dict[str, LayerHistory], values: dict[TraceNode, Tensor]) -> None:
        for name, layer in self.layers_of.items():
            node = self.nodes[name]
            x = tuple(values[n].numpy() for n in layer.inputs)
            before = {variable: values[s.before].numpy() for variable, s in layer.variables.items()}
            before |= {
                variable: np.zeros((1, *node.shape), np.float32) for variable in node.initial if variable not in before
            }
            fired = interpret.step_neuron(node, x if len(x) > 1 else x[0], before)
            after = {variable: values[n].numpy().copy() for variable, n in layer.after.items()}
            s = values[layer.spikes].numpy().copy()
            fired = replace(fired, s=s > 0.5 if fired.values == "spikes" else s, after={**fired.after, **after})
            if layer.h is not None and fired.values == "spikes" and node.attrs["kind"] == "Traced":
                fired = replace(fired, h=values[layer.h].numpy().copy())
            layers[name].steps.append(fired)
