"""Operations as lines of a neuron's program: what the lines give, beside PyTorch's own operation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from plif_export.core.proof.arithmetic.arrays import NumpyBackend
from plif_export.readers.step_program.elementwise import TABLE

SLOPES = torch.linspace(-0.5, 1.5, 3)

# name in PyTorch: its arguments after x
SAME_BITS: dict[str, tuple[Any, ...]] = {
    "hardtanh": (-0.75, 2.5),
    "relu6": (),
    "hardsigmoid": (),
    "hardswish": (),
    "leaky_relu": (0.2,),
    "_prelu_kernel": (SLOPES,),
}
NEAR: dict[str, tuple[Any, ...]] = {"silu": (), "elu": (0.7, 1.25, 0.5), "rsqrt": ()}


@pytest.mark.parametrize("name", [*SAME_BITS, *NEAR])
def test_the_lines_of_an_activation_give_what_pytorch_gives(name: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(0, 3, (2000, 3)) * 10 ** rng.uniform(-3, 1, (2000, 3))).astype(np.float32)
    x[:300] = np.round(2 * x[:300]) / 2  # the corners, too
    x = np.abs(x) + 0.01 if name == "rsqrt" else x
    arguments = {**SAME_BITS, **NEAR}[name]
    node: Any = SimpleNamespace(name=name, path="")
    operands = [x, *(a.numpy() if isinstance(a, torch.Tensor) else a for a in arguments)]
    found = TABLE[name](NumpyBackend(np.float32).op, node, operands)  # type: ignore[arg-type]
    expected = getattr(torch.ops.aten, name)(torch.from_numpy(x), *arguments).numpy()
    if name in SAME_BITS:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-7)
