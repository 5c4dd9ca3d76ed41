"""The torch engine: a model.pt behind the runtime's engine protocol, so that `plif eval model.pt` evaluates the original.

It comes into the runtime through the entry point `plif.engines`, so that the runtime itself never imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from plif_train.checkpoint import load
from runtime.card import Card
from runtime.engines import EngineOptions
from runtime.graph import state_in, state_out


class TorchEngine:
    """Single-step, evaluation mode, float32. `card` gains what an artifact's card says about states and output."""

    name: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth")

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        if options.flush_denormals:
            torch.set_flush_denormal(True)
        self.device = torch.device(options.device)
        self.net = load(path).to(self.device).eval()
        self._rates: Mapping[str, np.ndarray] | None = None
        shapes = [step.out_shape for step in self.net.plan if step.op == "Neuron"]
        states = [
            {
                "name": state_in(layer),
                "input": state_in(layer),
                "output": state_out(layer),
                "shape": list(shape),
                "dtype": "float32",
                "initial": 0.0 if neuron.v_reset is None else neuron.v_reset,
                "layer": layer,
            }
            for (layer, neuron), shape in zip(self.net.neurons().items(), shapes, strict=True)
        ]
        last = self.net.plan[-1]
        voters = last.in_shape[0] // last.out_shape[0] if last.op == "Vote" else 1
        kind = {"Vote": "votes", "Neuron": "spikes"}.get(last.op, "currents")
        self.card: Card = {
            **card,
            "form": "step",
            "precision": "fp32",
            "math": "exact",
            "batch": None,
            "states": states,
            "output": {"kind": kind, "voters": voters},
        }
        if options.rates:
            self.net.watch = self._count

    def bind(
        self,
        x: np.ndarray,
        v: Sequence[np.ndarray],
        y: np.ndarray,
        v_next: Sequence[np.ndarray],
        rates: Mapping[str, np.ndarray] | None = None,
    ) -> Callable[[], None]:
        layers = [state["layer"] for state in self.card["states"]]

        @torch.no_grad()
        def call() -> None:
            self._rates = rates
            self.net.reset()
            before = {layer: torch.from_numpy(a).to(self.device) for layer, a in zip(layers, v, strict=True)}
            self.net.set_state(before)
            y[...] = self.net.step(torch.from_numpy(x).to(self.device)).cpu().numpy()
            after = self.net.state()
            for layer, array in zip(layers, v_next, strict=True):
                array[...] = after[layer].cpu().numpy()

        return call

    def _count(self, layer: str, s: Tensor) -> None:
        if self._rates:
            self._rates[layer][...] = s.flatten(1).mean(1).cpu().numpy()
