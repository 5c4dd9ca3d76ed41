"""The networks of docs/networks.txt, made small: one file a library, each with MAKERS {name: () -> Peer}.

Weights are random and scaled so that neurons fire; sizes are the smallest that keep every layer of the network. A library is
imported only when one of its networks is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LIST = Path(__file__).parents[2] / "docs" / "networks.txt"


@dataclass
class Peer:
    """A network of another library as its users have it.

    model    a live module, or the path of a file
    example  one step [B, ...], or, with `time`, a whole input whose axis `time` counts the steps
    lines    what its owner writes for an export, beside `import plif_export`
    options  of the export, by name
    """

    model: Any
    example: Tensor | None = None
    time: int | None = None
    lines: int = 1
    options: dict[str, Any] = field(default_factory=dict)


Maker = Callable[[], Peer]


def listed() -> list[tuple[str, str, str]]:
    """(library, what it is, name) of every network of the list, in its order."""
    lines = [line.split() for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    return [(library, kind, name) for library, kind, name in lines]


def make(library: str, name: str) -> Peer:
    """One network of the list. Raises ImportError where its library is not installed."""
    torch.manual_seed(0)
    makers: dict[str, Maker] = importlib.import_module(f"tests.peers.{library}_").MAKERS
    return makers[name]()


def strong(layer: nn.Module, gain: float = 3.0) -> nn.Module:
    """The layer with weights that are larger, so that what follows fires."""
    with torch.no_grad():
        layer.weight.mul_(gain)  # type: ignore[operator, union-attr]
    return layer


def counts(*shape: int) -> Tensor:
    """Event counts, float32 of that shape."""
    return torch.poisson(torch.full(shape, 0.7), generator=torch.Generator().manual_seed(1))


def settle(module: nn.Module, run: Callable[[], Any], weight: float = 2.0, bias: float = 0.3) -> nn.Module:
    """Gives every batch norm the statistics of its own input, in a few runs, and a scale that makes neurons fire."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        if norm.affine:
            nn.init.constant_(norm.weight, weight)
            nn.init.constant_(norm.bias, bias)
    module.train()
    with torch.no_grad():
        for _ in range(2):
            run()
    return module.eval()


def liven(module: nn.Module, run: Callable[[], Any], size: float = 2.5) -> None:
    """Scales the weights of every convolution and linear layer, in order, so that its output varies by about `size`."""

    def scaled(layer: Any, args: tuple[Any, ...], out: Tensor) -> Tensor:
        layer.weight.mul_(size / out.std().clamp(min=1e-6))
        return layer.forward(*args)  # type: ignore[no-any-return]

    layers = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(scaled) for layer in layers]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
