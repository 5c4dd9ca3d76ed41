"""The fused recurrence: the spikes of the step-by-step neuron bit for bit, and its gradients."""

from __future__ import annotations

import itertools
import shutil

import pytest
import torch

from plif_train.core.network.neuron import Neuron

SURROGATES = ("atan", "sigmoid", "piecewise")
CASES = [
    case
    for case in itertools.product(("IF", "LIF", "PLIF"), (0.0, -0.3, None), (True, False), (True, False), (None, 5))
    if case[0] == "PLIF" or case[4] is None
]


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize(("kind", "v_reset", "decay_input", "detach_reset", "channels"), CASES)
def test_fused_steps_give_the_spikes_and_the_gradients_of_autograd(
    kind: str, v_reset: float | None, decay_input: bool, detach_reset: bool, channels: int | None, surrogate: str
) -> None:
    """In float64, in two chunks, so that the gradient crosses a border of the function."""
    found = []
    for fused in (False, True):
        neuron = Neuron(
            kind,
            v_threshold=1.0,
            v_reset=v_reset,
            decay_input=decay_input,
            detach_reset=detach_reset,
            init_tau=2.7,
            surrogate=surrogate,
            channels=channels,
            name="n",
        ).double()
        torch.manual_seed(1)
        x = (1.5 * torch.randn(7, 3, 5, 4, 4, dtype=torch.double) + 0.5).requires_grad_(True)
        weight = torch.randn(7, 3, 5, 4, 4, dtype=torch.double)
        neuron.train()
        neuron.history = None if fused else []  # a neuron that records its history goes step by step
        spikes = torch.cat([neuron.forward_sequence(x[:4]), neuron.forward_sequence(x[4:])])
        (spikes * weight).sum().backward()
        found.append((spikes.detach(), neuron.v.detach(), x.grad, None if neuron.w is None else neuron.w.grad))
    (s, v, gx, gw), (s_fused, v_fused, gx_fused, gw_fused) = found
    assert 0.05 < float(s.mean()) < 0.95
    assert torch.equal(s, s_fused) and torch.equal(v, v_fused)
    torch.testing.assert_close(gx_fused, gx, rtol=1e-12, atol=1e-14)
    if gw is not None:
        torch.testing.assert_close(gw_fused, gw, rtol=1e-12, atol=1e-12)


@pytest.mark.large
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler on a CPU"
)
def test_compiled_steps_give_the_same_spikes_and_gradients() -> None:
    """One graph for all layer sizes; a compiler may round the membrane elsewhere, so currents keep clear of the edge."""
    found = []
    for compiled in (False, True):
        neuron = Neuron("PLIF", v_threshold=1.0, v_reset=0.0, decay_input=True, detach_reset=True, name="n").train()
        neuron.compiled = compiled
        for shape in ((3, 2, 5), (3, 7, 11)):
            torch.manual_seed(1)
            x = torch.randint(-2, 4, shape).float().requires_grad_(True)
            weight = torch.randn(shape)
            neuron.reset()
            spikes = neuron.forward_sequence(x)
            (spikes * weight).sum().backward()
        found.append((spikes.detach(), x.grad, neuron.w.grad))
    assert 0.05 < float(found[0][0].mean()) < 0.95
    assert torch.equal(found[0][0], found[1][0])
    for eager, compiled_ in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(compiled_, eager, rtol=1e-5, atol=1e-6)
