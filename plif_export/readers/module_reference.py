"""A traced module as the reference of a parity check."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plif_export.proof import interpret
from plif_export.proof.interpret import Array, LayerStep, State
from plif_export.proof.reference import GraphReference, History, histories_from
from plif_export.readers.trace import REGISTER, ModuleTrace, Stepper, flat, one_thread, reset_neurons
from runtime.base.errors import PlifError
from runtime.model.graph import Graph, state_key

CHECK_STEPS = 3  # from reset, in which the trace must equal the module bit for bit


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
                outputs.append(_first(out).numpy().copy())
                for path, layer in self.paths.items():
                    current, s, after = stepper.seen[path]
                    node = self.nodes[layer]
                    known = {name: value.numpy() for name, value in before[path].items()}
                    fired = interpret.neuron(node, current.numpy(), known, dict(node.params))
                    values = {name: value.detach().numpy().copy() for name, value in after.items()}
                    layers[layer].steps.append(LayerStep(fired.h, s.numpy() > 0.5, values))
        return History(x, np.stack(outputs), layers)

    def check_against(self, module: nn.Module) -> None:
        """Raises PlifError unless the trace gives, bit for bit, what the module itself gives over a few steps from reset."""
        rng = np.random.default_rng(0)
        x = rng.poisson(1.0, (CHECK_STEPS, 1, *self.graph.input_shape)).astype(np.float32)
        traced = self.run(x, self.initial()).y
        reset_neurons(module)
        states: Any = None
        with torch.no_grad(), one_thread():
            for t, x_t in enumerate(x):
                states, y = _call(module, torch.from_numpy(x_t), states, self.traced, self.graph)
                if not np.array_equal(y.numpy(), traced[t]):
                    raise PlifError(
                        f"{type(module).__name__}: step {t} of the module is not what its layers make, one after the other; "
                        f"it keeps a state that was not found. If it has a neuron of its own, {REGISTER}"
                    )
        reset_neurons(module)


def _call(module: nn.Module, x: Tensor, states: Any, traced: ModuleTrace, graph: Graph) -> tuple[Any, Tensor]:
    """One step of the module itself on x [1, ...] float32 -> (its states, y [1, ...]); it hides its states, or takes and returns
    them."""
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    if traced.fed:  # snnTorch: forward(x, mem1, mem2) -> (y, mem1, mem2)
        if states is None:
            states = {n.layer: torch.zeros(1, *n.shape) for n in graph.neurons}
        out = module(x, *[states[layer] for layer in traced.fed.values()])
        states = {**states, **dict(zip(traced.returned, flat(out[1:]), strict=False))}
    elif traced.returned and parameters:  # Norse: forward(x, state=None) -> (y, state)
        out = module(x, states)
        states = out[1]
    else:
        out = module(x)
    return states, _first(out)


def _first(out: Any) -> Tensor:
    while isinstance(out, tuple | list):
        out = out[0]
    assert isinstance(out, Tensor)
    return out
