"""What may be chosen in training is what its source says: surrogates, losses, batch normalisation over time."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from plif_train import build
from plif_train.core.network.choice import network_overrides, parse_neuron
from plif_train.core.network.layers import BatchNorm
from plif_train.core.network.losses import LOSSES
from plif_train.core.network.neuron import fire
from plif_train.core.network.surrogate import SURROGATES
from plif_train.core.recipe import Recipe
from runtime.core.base.errors import PlifError

# --- surrogates -----------------------------------------------------------------------------------------------------


def slope(name: str, u: torch.Tensor) -> torch.Tensor:
    h = (u + 1.0).requires_grad_()
    fire(h, 1.0, name).sum().backward()
    assert h.grad is not None
    return h.grad


def test_surrogates_are_the_formulas_of_their_sources() -> None:
    u = torch.linspace(-2, 2, 81, dtype=torch.float64)
    y = 1 / (1 + torch.exp(-4 * u))
    expected = {
        "atan": 1 / (1 + (math.pi * u) ** 2),
        "sigmoid": 4 * y * (1 - y),
        "piecewise": torch.relu(1 - u.abs()),
    }
    assert set(expected) == set(SURROGATES)
    for name, formula in expected.items():
        torch.testing.assert_close(slope(name, u), formula, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_is_the_slope_of_a_step_that_was_smoothed(name: str) -> None:
    """Its integral is 1, its largest value at the threshold."""
    u = torch.linspace(-2000, 2000, 2_000_001, dtype=torch.float64)
    g = slope(name, u)
    assert float(torch.trapezoid(g, u)) == pytest.approx(1, abs=1e-3)
    assert float(u[g.argmax()]) == pytest.approx(0, abs=1e-9)


def test_surrogates_are_spikingjellys() -> None:
    pytest.importorskip("spikingjelly", reason="SpikingJelly, the peer to compare with, is not installed")
    from spikingjelly.activation_based import surrogate as sj

    u = torch.linspace(-2, 2, 81, dtype=torch.float64)
    peers = {"atan": sj.ATan(), "sigmoid": sj.Sigmoid(), "piecewise": sj.PiecewiseQuadratic()}
    for name, peer in peers.items():
        x = u.clone().requires_grad_()
        peer(x).sum().backward()
        torch.testing.assert_close(slope(name, u), x.grad, rtol=1e-10, atol=1e-12)


def test_the_surrogate_changes_gradients_and_no_spike_and_is_kept_in_the_card() -> None:
    gradients, outputs = [], []
    for name in SURROGATES:
        torch.manual_seed(0)
        net = build("FC20-PLIF-FC20-PLIF-APk10s10", shape=(1, 4, 4), T=6, surrogate=name).train()
        with torch.no_grad():
            net.get_submodule("fc2").weight.mul_(6)
        x = torch.rand(6, 3, 1, 4, 4) * 8
        y = net(x)
        y.sum().backward()
        outputs.append(y.detach())
        gradients.append(net.get_submodule("fc1").weight.grad)
        assert net.options.surrogate == name
    assert 0 < outputs[0].mean() < 1 and torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    assert not torch.allclose(gradients[0], gradients[1]) and not torch.allclose(gradients[0], gradients[2])
    with pytest.raises(PlifError, match="option surrogate: found 'relu', expected atan, sigmoid, piecewise"):
        build("FC20-PLIF", shape=(1, 4, 4), surrogate="relu")


# --- losses ---------------------------------------------------------------------------------------------------------


def test_losses_are_the_formulas_of_their_sources() -> None:
    torch.manual_seed(0)
    T, B, C = 5, 3, 4
    y, labels = torch.rand(T, B, C, dtype=torch.float64), torch.tensor([2, 0, 3])
    hot = torch.eye(C, dtype=torch.float64)[labels]
    rate = sum(y[t] for t in range(T)) / T
    log_p = [
        [math.log(math.exp(y[t, b, labels[b]]) / sum(math.exp(v) for v in y[t, b])) for b in range(B)] for t in range(T)
    ]
    crosses = -sum(map(sum, log_p)) / (T * B)
    expected = {
        "rate-mse": float(((rate - hot) ** 2).sum() / (B * C)),
        "step-mse": sum(float(((y[t] - hot) ** 2).sum() / (B * C)) for t in range(T)) / T,
        "step-ce": -sum(
            math.log(math.exp(10 * y[t, b, labels[b]]) / (sum(math.exp(10 * v) for v in y[t, b]) + math.exp(3)))
            for t in range(T)
            for b in range(B)
        )
        / (T * B),
        "ce": -sum(math.log(math.exp(rate[b, labels[b]]) / sum(math.exp(v) for v in rate[b])) for b in range(B)) / B,
        "tet": 0.95 * crosses + 0.05 * float(((y - 1) ** 2).mean()),
    }
    assert {name: float(loss(y, labels)) for name, loss in LOSSES.items()} == pytest.approx(expected, rel=1e-12)


# --- batch normalisation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("updates", [1, 3])
def test_statistics_per_step_are_a_plain_loop_over_the_steps(updates: int) -> None:
    """Outputs, gradients and running statistics, in float64, over several batches."""
    torch.manual_seed(0)
    ours, plain = BatchNorm(6).double().train(), nn.BatchNorm2d(6).double().train()
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)
        ours.bias.normal_()
    plain.load_state_dict(ours.state_dict())
    ours.mode = "per-step"
    for _ in range(updates):
        x = (torch.randn(7, 3, 6, 5, 4, dtype=torch.double) * torch.rand(7, 1, 6, 1, 1) + 0.4).requires_grad_()
        z = x.detach().clone().requires_grad_()
        g = torch.randn_like(x)
        y = ours.forward_sequence(x)
        (y * g).sum().backward()
        looped = torch.stack([plain(step) for step in z])
        (looped * g).sum().backward()
        torch.testing.assert_close(y, looped, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x.grad, z.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad, rtol=1e-10, atol=1e-12)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ours.eval().forward_sequence(x), plain.eval()(x.flatten(0, 1)).unflatten(0, (7, 3)))


def test_per_step_joint_and_frozen_statistics_are_three_things() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 2, 3, 5, 5) + torch.arange(4.0).reshape(4, 1, 1, 1, 1)
    found = {}
    for mode in ("per-step", "joint", "frozen"):
        norm = BatchNorm(3).train()
        norm.mode = mode
        found[mode] = norm.forward_sequence(x)
        assert int(norm.num_batches_tracked) == {"per-step": 4, "joint": 1, "frozen": 0}[mode]
    means = {mode: y.mean((1, 3, 4)).detach() for mode, y in found.items()}
    assert float(means["per-step"].abs().max()) < 1e-5  # each step is centred
    assert float(means["joint"].mean(0).abs().max()) < 1e-5 and float(means["joint"][3].min()) > 0.5
    torch.testing.assert_close(found["frozen"], x / math.sqrt(1 + 1e-5))


def test_a_network_in_training_is_the_authors_step_loop_with_bn_per_step() -> None:
    """Multi-step with statistics per step = T calls of step(), gradients and buffers too; with joint statistics not."""
    found = {}
    for way in ("loop", "per-step", "joint"):
        torch.manual_seed(1)
        net = build("{c4k3s1-BN-PLIF-MPk2s2}*2-FC20-PLIF", shape=(2, 8, 8), T=5, classes=range(20)).double().train()
        net.bn = "joint" if way == "loop" else way
        with torch.no_grad():
            net.get_submodule("fc1").weight.mul_(6)
        x = torch.poisson(torch.full((5, 3, 2, 8, 8), 2.0, dtype=torch.double))
        y = torch.stack([net.step(step) for step in x]) if way == "loop" else net(x)
        F.mse_loss(y.mean(0), torch.eye(3, 20, dtype=torch.double)).backward()
        found[way] = (y.detach(), [p.grad for p in net.parameters()], list(net.buffers()))
    (y, grads, buffers), (y_step, grads_step, buffers_step) = found["loop"], found["per-step"]
    assert y.sum() > 0 and torch.equal(y, y_step)
    for a, b in zip(grads, grads_step, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)
    for a, b in zip(buffers, buffers_step, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert not all(torch.allclose(a, b) for a, b in zip(buffers, found["joint"][2], strict=True))
    with pytest.raises(PlifError, match="expected per-step or joint or frozen"):
        net.bn = "both"


def test_a_neuron_s_settings_are_said_behind_its_kind() -> None:
    assert parse_neuron("LIF,v_threshold=0.5,v_reset=none") == ("LIF", {"v_threshold": 0.5, "v_reset": None})
    assert parse_neuron("decay_input=false") == ("PLIF", {"decay_input": False})
    for wrong, message in (
        ("ALIF", "expected PLIF"), ("PLIF,tau=2", "'tau=2', expected v_threshold"),
        ("PLIF,v_threshold=none", "expected v_threshold=a number"),
        ("PLIF,v_reset", "NAME=VALUE"),
    ):  # fmt: skip
        with pytest.raises(PlifError, match=message):
            parse_neuron(wrong)
    recipe = Recipe(network="mnist", neuron="PLIF,v_threshold=0.5,v_reset=none")
    net = build("mnist", **network_overrides(recipe, "mnist:x"))
    assert (net.options.v_threshold, net.options.v_reset, net.options.decay_input) == (0.5, None, True)
