"""`plif check` names the channels that fire from their biases alone, and what silence costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from plif_export.commands.supported.layers import check, check_file
from plif_train.core.loop import checkpoint
from plif_train.core.network.network import Network
from plif_train.core.network.presets import build
from plif_train.hooks.bias_limit.hook import limit_biases

NOTATION = "c6k4s4-BN-PLIF-FC30-PLIF-APk10s10"


def network(biases: list[float]) -> Network:
    torch.manual_seed(3)
    net = build(NOTATION, shape=(2, 16, 16), T=4, framing="duration:10ms")
    with torch.no_grad():
        net.get_parameter("conv1_bn.bias").copy_(torch.tensor(biases))
    return net.eval()


def test_channels_whose_bias_reaches_the_threshold_are_named(tmp_path: Path) -> None:
    net = network([0.2, 1.3, 0.99, 2.5, -1.0, 0.0])
    checkpoint.save(net, tmp_path / "m.pt")
    report = check_file(tmp_path / "m.pt")
    assert report.supported
    note = next(note for note in report.notes if note.startswith("conv1"))
    assert "2 of 6 channels fire without any input (1, 3)" in note
    # h of channel 1 goes 0.65, 0.975, 1.1375: every third step; channel 3 fires in every one; 16 places each
    spikes = float(note.split("), ")[1].split()[0])
    assert spikes == pytest.approx(16 * (1 + 1 / 3), rel=0.1)
    assert report.lines()[-2].startswith("note: ")


def test_a_network_with_limited_biases_is_silent_in_silence() -> None:
    net = network([0.2, 1.3, 0.99, 2.5, -1.0, 0.0])
    limit_biases(net, 0.95)
    assert check(net).notes == []
