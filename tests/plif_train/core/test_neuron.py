"""The neuron obeys the paper's equations: forward (1-7), backward (8-17), state."""

from __future__ import annotations

import math

import pytest
import torch

from plif_train.core.network.neuron import Neuron, fire
from runtime.core.base.errors import PlifError

pytestmark = pytest.mark.quick

VARIANTS = [
    {"kind": kind, "v_reset": v_reset, "decay_input": decay}
    for kind in ("IF", "LIF", "PLIF")
    for v_reset in (0.0, -0.3, None)
    for decay in (True, False)
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_steps_and_sequence_give_the_same_bits(options: dict) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 3, 5, 4, 4) + 0.5
    step, sequence = Neuron(**options).eval(), Neuron(**options).eval()
    one_by_one = torch.stack([step(now) for now in x])
    assert 0.02 < one_by_one.mean() < 0.9
    assert torch.equal(one_by_one, torch.cat([sequence.forward_sequence(x[:7]), sequence.forward_sequence(x[7:])]))
    assert torch.equal(step.v, sequence.v)


@pytest.mark.parametrize("v_reset", [0.0, -0.3, None])
def test_a_step_is_the_equation_of_the_paper(v_reset: float | None) -> None:
    neuron = Neuron("PLIF", v_reset=v_reset, init_tau=4.0, v_threshold=0.8)
    neuron.v = v = torch.tensor([[0.2, -0.1, 0.79, 0.5]])
    x = torch.tensor([[0.1, 5.0, 0.9, 2.5]])
    r = 0.0 if v_reset is None else v_reset
    h = v + (x - (v - r)) * torch.sigmoid(neuron.w.detach())
    s = neuron(x)
    assert torch.equal(s, (h >= 0.8).float())
    assert torch.equal(neuron.v, h - s * 0.8 if v_reset is None else torch.where(s == 1, r, h))


def test_a_potential_exactly_at_the_threshold_fires_and_one_bit_below_does_not() -> None:
    below = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    assert fire(torch.stack([torch.tensor(1.0), below]), 1.0).tolist() == [1.0, 0.0]
    neuron = Neuron("IF")
    assert neuron(torch.tensor([[1.0, float(below)]])).tolist() == [[1.0, 0.0]]
    # Two normal numbers whose difference is subnormal: a subtraction that flushes calls them equal, the comparison does not.
    tiny = torch.finfo(torch.float32).tiny
    assert fire(torch.tensor([tiny]), 1.5 * tiny).item() == 0.0


def test_tau_starts_where_asked_and_may_differ_by_channel() -> None:
    assert Neuron("PLIF", init_tau=2.0).w.item() == 0.0
    assert Neuron("PLIF", init_tau=16.0).tau() == pytest.approx(16.0, rel=1e-6)
    assert Neuron("LIF", init_tau=4.0).alpha().item() == 0.25
    assert Neuron("IF").alpha() is None and Neuron("IF").tau() == math.inf
    one, many = Neuron("PLIF", init_tau=3.0), Neuron("PLIF", init_tau=3.0, channels=5)
    assert list(many.w.shape) == [5]
    x = torch.randn(6, 2, 5, 3, 3) * 2
    assert torch.equal(one.forward_sequence(x), many.forward_sequence(x))
    many.reset()
    with torch.no_grad():
        many.w[1] = 4.0
    one.reset()
    s, t = one.forward_sequence(x), many.forward_sequence(x)
    assert torch.equal(s[:, :, [0, 2, 3, 4]], t[:, :, [0, 2, 3, 4]]) and not torch.equal(s[:, :, 1], t[:, :, 1])


def test_another_batch_without_reset_is_refused_rather_than_restarted() -> None:
    neuron = Neuron(name="conv1_neuron").eval()
    neuron(torch.randn(4, 3))
    with pytest.raises(PlifError, match=r"conv1_neuron.*\(4, 3\).*\(2, 3\).*reset"):
        neuron(torch.randn(2, 3))
    neuron.reset()
    neuron(torch.randn(2, 3))


def test_state_is_no_part_of_the_weights_and_starts_at_v_reset() -> None:
    neuron = Neuron(v_reset=-0.3)
    neuron.history = []
    neuron(torch.zeros(1, 2))
    assert list(neuron.state_dict()) == ["w"]
    before, h, s, after = neuron.history[0]
    assert torch.equal(before, torch.full((1, 2), -0.3)) and not s.any() and torch.equal(h, after)


def test_half_precision_currents_charge_a_float32_membrane() -> None:
    neuron = Neuron().eval()
    assert neuron(torch.ones(1, 2, dtype=torch.bfloat16)).dtype == torch.float32
    assert neuron.v is not None and neuron.v.dtype == torch.float32


def test_eval_mode_keeps_no_graph_from_step_to_step() -> None:
    neuron = Neuron().eval()
    neuron(torch.randn(1, 2, requires_grad=True))
    assert neuron.v is not None and not neuron.v.requires_grad


@pytest.mark.parametrize("v_reset", [0.0, -0.3])
@pytest.mark.parametrize("detach", [True, False])
def test_gradients_are_equations_8_to_17_by_hand_for_three_steps(v_reset: float, detach: bool) -> None:
    """L = sum_t c_t s_t; the chain rule of the paper written out, in float64."""
    x = torch.tensor([[0.9], [2.6], [1.7]], dtype=torch.float64, requires_grad=True)
    c = [0.3, -1.1, 0.7]
    neuron = Neuron("PLIF", v_reset=v_reset, init_tau=2.5, detach_reset=detach).double()
    neuron.history = []
    s = neuron.forward_sequence(x.unsqueeze(1))
    (s.flatten() * torch.tensor(c, dtype=torch.float64)).sum().backward()

    k = 1 / (1 + math.exp(-neuron.w.item()))  # k(a) of equation 6
    v, h, spike = ([float(step[i]) for step in neuron.history] for i in (0, 1, 2))
    assert 0 < sum(spike) < 3
    dx, da, dv_next = [0.0] * 3, 0.0, 0.0  # dv_next = dL/dv_t, what later steps ask of this one's potential
    for t in (2, 1, 0):
        surrogate = 1 / (1 + (math.pi * (h[t] - 1.0)) ** 2)  # ATan with alpha 2
        dv_dh = 1 - spike[t] + (0.0 if detach else (v_reset - h[t]) * surrogate)  # equation for dV/dH
        dh = c[t] * surrogate + dv_next * dv_dh
        dx[t] = dh * k
        da += dh * (x[t].item() - (v[t] - v_reset)) * k * (1 - k)
        dv_next = dh * (1 - k)
    assert x.grad is not None and neuron.w is not None and neuron.w.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx(dx, rel=1e-12)
    assert neuron.w.grad.item() == pytest.approx(da, rel=1e-12)


@pytest.mark.parametrize("wrong", [{"kind": "GLIF"}, {"init_tau": 1.0}, {"init_tau": math.nan}])
def test_impossible_neurons_are_refused(wrong: dict) -> None:
    with pytest.raises(PlifError, match="expected"):
        Neuron(**wrong)
