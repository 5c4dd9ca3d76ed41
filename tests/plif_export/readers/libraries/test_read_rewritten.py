"""Neurons whose own code is no step: written again and compared with it, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from plif_export import check, export
from plif_export.readers.libraries import rewritten

snn = pytest.importorskip("snntorch")


def net_of(part: nn.Module, mode: str = "s") -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(layer.Linear(10, 16), part, layer.Linear(16, 5), neuron.IFNode()).eval()
    with torch.no_grad():
        for at in (0, 2):
            nn.init.normal_(net[at].weight, 0.2, 1.0)  # type: ignore[arg-type]
    functional.set_step_mode(net, mode)
    return net


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("k", [2, 5])
def test_a_window_over_the_last_inputs_becomes_states(tmp_path: Path, k: int, mode: str) -> None:
    example = torch.zeros(1, 10) if mode == "s" else torch.zeros(6, 1, 10)
    report = export(net_of(neuron.SlidingPSN(k=k, exp_init=False), mode), tmp_path / "m.onnx", example).verify
    assert report is not None and report.passed and report.spikes > 20


def test_what_is_written_again_is_compared_with_the_class_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest weight for the newest."""

    def turned(m: neuron.SlidingPSN) -> rewritten.Forward:
        with torch.no_grad():
            m.weight.copy_(m.weight.flip(0))
        return rewritten._rewrite_sliding_psn(m)

    name = next(iter(rewritten.REWRITTEN))
    monkeypatch.setitem(rewritten.REWRITTEN, name, turned)
    found = check(net_of(neuron.SlidingPSN(k=3)), torch.zeros(1, 10)).problems
    assert len(found) == 1 and "of the module is not what its layers make, one after the other (first in 1)" in found[0]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: neuron.PSN(T=4), "a step of it reads the inputs of later steps; train SlidingPSN"),
        (lambda: neuron.MaskedPSN(k=2, T=4), "each of its T steps has weights of its own; train SlidingPSN"),
        (lambda: neuron.GatedLIFNode(T=4), "each of its T steps has a weight of its own (conduct); train LIFNode"),
    ],
)
def test_steps_that_differ_are_refused_with_the_reason(make: Callable[[], nn.Module], reason: str) -> None:
    part = make()
    net = nn.Sequential(nn.Linear(4, 4), part)
    assert check(net, torch.zeros(4, 1, 4)).problems[0].startswith(f"1 ({type(part).__name__}): {reason}")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: snn.StateLeaky(0.9, 4, kernel_truncation_steps=3), "it forgets after kernel_truncation_steps"),
        (lambda: snn.LeakyParallel(4, 4, weight_hh_enable=True), "its membranes go through a layer"),
    ],
)
def test_what_no_neuron_of_snntorch_can_do_in_a_step_is_said(make: Callable[[], nn.Module], reason: str) -> None:
    part = make()
    problems = check(nn.Sequential(nn.Linear(4, 4), part), torch.zeros(5, 1, 4)).problems
    assert problems[0].startswith(f"1 ({type(part).__name__}): {reason}")


@pytest.mark.parametrize("recurrent", [
    lambda: layer.LinearRecurrentContainer(neuron.IFNode(), 16, 16),
    lambda: layer.ElementWiseRecurrentContainer(neuron.LIFNode(), lambda x, y: x + 0.5 * y),
])  # fmt: skip
def test_recurrent_containers_feed_spikes_back_a_step_later(tmp_path: Path, recurrent: type) -> None:
    report = export(net_of(recurrent()), tmp_path / "m.onnx", torch.zeros(1, 10)).verify
    assert report is not None and report.passed and report.spikes > 20
