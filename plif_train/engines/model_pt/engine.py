"""The torch engine: a model.pt as an engine of the runtime, so that `plif eval model.pt` evaluates the original.

It is a part, so that the runtime itself never imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from plif_train.core.loop.checkpoint import load
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines import Engine
from runtime.core.engines.buffers import Arrays, Rates
from runtime.core.model.card import Card
from runtime.core.model.graph import make_output_record, make_state_record
from runtime.native import wrap_flushing


class TorchEngine(Engine):
    """The engine that runs a model.pt in PyTorch: single time-steps, evaluation mode, float32.

    `card` is the model's, with states and output added as in an artifact's card.
    """

    name: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth")
    keeps_subnormals: ClassVar[bool] = True
    start_s: ClassVar[float] = 5.0

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        try:
            self.device = torch.device(options.device or "cpu")
            self.net = load(path).to(self.device).eval()
        except (RuntimeError, AssertionError) as error:  # PyTorch raises these for a device that does not exist
            reason = " ".join(str(error).split())[:120]
            raise PlifError(f"engine torch: device '{options.device}' cannot be used ({reason})") from None
        self.flush = bool(options.flush_denormals)  # off by default, as in PyTorch: this engine runs the original model
        self._rates: Rates = None
        shapes = [named.out_shape for named in self.net.named_layers if named.op == "Neuron"]
        neurons = self.net.neurons().items()
        last = self.net.named_layers[-1]
        self.card: Card = {
            **card,
            "form": "step",
            "precision": "fp32",
            "math": "exact",
            "batch": None,
            "states": [
                make_state_record(name, shape, n.v_reset) for (name, n), shape in zip(neurons, shapes, strict=True)
            ],
            "output": make_output_record(last.op, last.in_shape[0] // last.out_shape[0]),
            **({"sensor": list(self.net.meta.sensor)} if self.net.meta.sensor else {}),
        }
        if options.rates:
            self.net.watch = self._count

    def bind(self, x: np.ndarray, v: Arrays, y: np.ndarray, v_next: Arrays, rates: Rates = None) -> Callable[[], None]:
        """Return a function that runs one time-step of a model in PyTorch on fixed float32 buffers.

        x [B, C, H, W], membranes v [B, ...] -> y [B, classes], v_next [B, ...]; rates [B].
        """
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

        return wrap_flushing(self.flush, call)

    def _count(self, layer: str, s: Tensor) -> None:
        if self._rates:
            self._rates[layer][...] = s.flatten(1).mean(1).cpu().numpy()


ENGINES = (TorchEngine,)
