"""Networks that give a map at every step (flow, depth, segments): exported, proved and stepped; nobody decides about one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import plif_export
import runtime

SHAPE = (2, 16, 20)


class Flow(nn.Module):
    """Down and up again: float32 [B, 2, 16, 20] -> [B, 2, 16, 20]."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.fire = nn.Conv2d(2, 8, 3, stride=2, padding=1), neuron.IFNode()
        self.up = nn.ConvTranspose2d(8, 2, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.up(self.fire(self.down(x)))
        return made


def flow() -> nn.Module:
    torch.manual_seed(0)
    net = Flow().eval()
    with torch.no_grad():
        net.down.weight.mul_(4)
    return net


@pytest.mark.parametrize("form", ("step", "unrolled"))
def test_a_map_is_exported_proved_and_stepped(tmp_path: Path, form: str) -> None:
    path, T = tmp_path / "flow.onnx", 4
    made = plif_export.export(flow(), path, torch.zeros(1, *SHAPE), framing="duration:10ms", form=form, T=T)
    assert made.verify is not None and made.verify.passed and made.verify.spikes > 500
    assert "nothing is decided" in made.verify.sentence()
    model = runtime.load(path)
    assert model.card["output"]["shape"] == list(SHAPE)
    x = np.random.default_rng(0).poisson(0.4, (T, 1, *SHAPE)).astype(np.float32)
    net = flow()
    functional.reset_net(net)
    with torch.no_grad():
        wanted = torch.stack([net(torch.from_numpy(x_t)) for x_t in x]).numpy()
    session = model.session()
    found = session.run(x) if form == "unrolled" else np.stack([session.step(x_t) for x_t in x])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_map_that_is_moved_fails_the_proof(tmp_path: Path) -> None:
    path = tmp_path / "flow.onnx"
    plif_export.export(flow(), path, torch.zeros(1, *SHAPE), framing="duration:10ms")
    other = flow()
    with torch.no_grad():
        other.up.bias[1] += 0.01  # type: ignore[index, union-attr, operator]
    report = plif_export.verify(path, other)
    assert not report.passed


@pytest.mark.parametrize("command", (["stream"], ["eval", "--data"], ["predict"]))
def test_who_decides_says_that_a_map_is_none_of_it(tmp_path: Path, command: list[str]) -> None:
    path, events = tmp_path / "flow.onnx", tmp_path / "a.csv"
    plif_export.export(flow(), path, torch.zeros(1, *SHAPE), framing="duration:10ms")
    events.write_text("t,x,y,p\n1,2,3,1\n20000,3,3,0\n")
    name, *more = command
    given = [f"folder:{tmp_path}"] if more else [str(events)]
    command = [sys.executable, "-m", "runtime.core.cli", name, str(path), *more, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"gives a map {list(SHAPE)} at every step" in done.stderr, done.stderr


@pytest.mark.parametrize(("target", "suffix"), (("plif", ".plif"), ("c", ".c"), ("triton", "_triton")))
def test_a_target_that_gives_numbers_for_classes_refuses_a_map(tmp_path: Path, target: str, suffix: str) -> None:
    with pytest.raises(runtime.PlifError, match=r"map \[2, 16, 20\]"):
        plif_export.export(
            flow(), tmp_path / f"flow{suffix}", torch.zeros(1, *SHAPE), to=target, framing="duration:10ms"
        )
    assert list(tmp_path.iterdir()) == []
