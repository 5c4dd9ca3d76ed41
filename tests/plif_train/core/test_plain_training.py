"""Without the part of native kernels PyTorch's own layers and a loop over T train the same network."""

from __future__ import annotations

import pytest
import torch

from plif_train import build
from plif_train.core.network import layers, neuron


def outputs_and_gradients() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    net = build("{c16k3s1-BN-PLIF-MPk2s2}*2-DP-FC20-PLIF-APk10s10", shape=(2, 16, 16), v_threshold=0.3)
    net.bn = "per-step"
    torch.manual_seed(2)
    y = net((torch.rand(6, 4, 2, 16, 16) < 0.3).float())
    (y - 0.5).square().mean().backward()
    return y.detach(), {name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None}


def test_without_the_kernels_a_network_has_the_same_spikes_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    y, gradients = outputs_and_gradients()
    monkeypatch.setattr(neuron, "RUN_NEURON", None)
    monkeypatch.setattr(layers, "PER_STEP", None)
    monkeypatch.setattr(layers, "LAYERS", {})
    plain_y, plain_gradients = outputs_and_gradients()
    assert 0.01 < y.mean() < 0.99 and torch.equal(plain_y, y)
    assert plain_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(plain_gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
