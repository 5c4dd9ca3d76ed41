"""Networks of other libraries in which every layer fires, for tests of the readers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from plif_export.readers.module.reader import examine_module
from plif_export.readers.tracing.copies import make_fresh_copy
from plif_export.readers.tracing.forms import call_steps
from runtime.core.model.graph import Graph


def scale_to_threshold(
    module: nn.Module, shape: tuple[int, ...], *, seed: int = 0, steps: int = 4, gain: float = 1.0
) -> nn.Module:
    """Scales the layer before each neuron so that its current is of the order of the threshold, for one step of `shape`;
    puts the module into evaluation mode."""
    module.eval()
    x = torch.from_numpy(np.random.default_rng(seed).poisson(0.5, (steps, 2, *shape)).astype(np.float32))
    reading, problems = examine_module(module, x[0])
    assert reading is not None and reading.graph is not None and not problems, problems
    paths = {name.replace(".", "_"): name for name, _ in module.named_modules()}
    layers = {layer: path for path, layer in reading.neurons.items()}
    for node in reading.graph.neurons:
        source = _layer_before(reading.graph, node.inputs[0])
        if source is None or source not in paths or not layers[node.layer]:
            continue
        current = _currents(module, layers[node.layer], x)
        assert current.std() > 0, f"{node.layer}: no spike reaches it in {steps} steps"
        factor = gain * float(node.attrs["v_threshold"]) / float(current.std() + 1e-6)
        shift = 0.3 * float(node.attrs["v_threshold"]) - factor * float(current.mean())
        layer = module.get_submodule(paths[source])
        with torch.no_grad():
            layer.weight.mul_(factor)  # type: ignore[operator, union-attr]
            if layer.bias is not None:
                layer.bias.mul_(factor).add_(shift)  # type: ignore[operator, union-attr]
    return module


def _currents(module: nn.Module, path: str, x: torch.Tensor) -> torch.Tensor:
    """What reaches the neurons at a path over the steps of x."""
    seen: list[torch.Tensor] = []
    copied = make_fresh_copy(module)

    def hook(part: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(args[0].clone())

    copied.get_submodule(path).register_forward_pre_hook(hook)
    with torch.no_grad():
        call_steps(copied, list(x))
    return torch.stack(seen)


def _layer_before(graph: Graph, name: str) -> str | None:
    while name != graph.input:
        node = graph[name]
        if node.op in ("Conv", "Linear", "BatchNorm"):
            return name
        name = node.inputs[0]
    return None


def events(steps: int, streams: int, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Event counts, float32 [steps, streams, *shape]."""
    return np.random.default_rng(seed).poisson(0.5, (steps, streams, *shape)).astype(np.float32)


class Residual(nn.Module):
    """A SEW block with plain Python around it: the spikes of conv1 are added to those of conv2."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.conv1, self.conv2 = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.lif1, self.lif2, self.lif3 = (neuron.LIFNode(tau=3.0) for _ in range(3))
        self.fc = nn.Linear(6 * 8 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.lif1(self.conv1(x))
        return self.lif3(self.fc((a + self.lif2(self.conv2(a))).flatten(1)))  # type: ignore[no-any-return]
