"""Networks of SpikingJelly's older versions, each read in an environment of that version."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]

PROGRAM = """
import json, sys
import torch
from torch import nn
from plif_export import export
from plif_export.core.readers import read

if sys.argv[1] == "0.0.0.0.12":
    from spikingjelly.clock_driven import functional, layer, neuron
else:
    from spikingjelly.activation_based import functional, neuron
from spikingjelly.clock_driven import layer as old_layer, neuron as old_neuron


class Loop(nn.Module):  # the tutorial's: T as an attribute, the sum begun with the first step
    def __init__(self, make):
        super().__init__()
        self.T = 4
        self.static = nn.Conv2d(1, 4, 3, padding=1)
        self.net = nn.Sequential(make(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5), make())

    def forward(self, x):
        x = self.static(x)
        out = self.net(x)
        for _ in range(1, self.T):
            out += self.net(x)
        return out / self.T


class ManySteps(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.net = nn.Sequential(
            old_layer.SeqToANNContainer(nn.Flatten(), nn.Linear(36, 12)), make(),
            old_layer.SeqToANNContainer(nn.Linear(12, 5)), make(),
        )

    def forward(self, x):
        return self.net(x).mean(0)


CASES = {
    "IF": (Loop, neuron.IFNode), "LIF": (Loop, neuron.LIFNode), "PLIF": (Loop, neuron.ParametricLIFNode),
    "QIF": (Loop, neuron.QIFNode), "LIF, input not decayed": (Loop, lambda: neuron.LIFNode(tau=1.7, decay_input=False)),
    "clock-driven LIF": (Loop, old_neuron.LIFNode), "many steps": (ManySteps, old_neuron.MultiStepLIFNode),
}
found = {}
for name, (net, make) in CASES.items():
    torch.manual_seed(0)
    net = net(make).eval()
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() > 1:
                p.abs_().mul_(3)
    shape = (3, 1, 1, 6, 6) if name == "many steps" else (1, 1, 6, 6)
    result = export(net, "m.onnx", torch.zeros(shape))
    found[name] = [n.attrs["kind"] for n in read(net, torch.zeros(shape)).graph.neurons] if result.passed else None
print(json.dumps(found))
"""


@pytest.mark.large
@pytest.mark.parametrize("version", ("0.0.0.0.12", "0.0.0.0.14"))
def test_networks_of_an_older_spikingjelly_are_read_by_their_operations(tmp_path: Path, version: str) -> None:
    library = (
        tmp_path / "library"
    )  # in front of the SpikingJelly of this environment; torch and the rest are of this one
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(library)]
    done = subprocess.run([*install, f"spikingjelly=={version}"], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"spikingjelly {version} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    (tmp_path / "read.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(library), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, "read.py", version], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("LIF, input not decayed") == (["Traced"] * 2 if version == "0.0.0.0.12" else ["LIF"] * 2)
    assert found == {
        "IF": ["IF"] * 2, "LIF": ["LIF"] * 2, "PLIF": ["PLIF"] * 2, "QIF": ["Traced"] * 2,
        "clock-driven LIF": ["LIF"] * 2, "many steps": ["Traced"] * 2,
    }  # fmt: skip
