"""A student has a network of SpikingJelly and one of snnTorch, and takes home what a thesis needs: real command lines alone.

Both are exported from the student's own module, judged on recordings, and written down for LaTeX. What has hurt students is
asserted, too: a word on the screen that says nothing, a card with folders of their machine, two rows of one name, an empty box.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.latex import check_latex, compile_latex, has_latex

pytestmark = pytest.mark.machines  # four processes that load PyTorch
MINE = """
import sys

import snntorch
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import plif
from runtime.core.data import open_dataset
from runtime.core.events.framing import Framing

data = open_dataset(sys.argv[1], "test", framing=Framing.parse("count:T=10"), shape=(2, 34, 34))
x = torch.stack([torch.from_numpy(data.sample(i)).mean(0).flatten() for i in range(len(data))])
y = nn.functional.one_hot(torch.tensor([data.label(i) for i in range(len(data))]), 10).float()
weights = torch.linalg.solve(x @ x.T + torch.eye(len(x)), y).T @ x  # trained in one step, by ridge regression


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(2 * 34 * 34, 10, bias=False)
        self.lif = snntorch.Leaky(beta=0.5, threshold=0.6, init_hidden=True)

    def forward(self, x):
        return self.lif(self.classifier(x.flatten(1)))


jelly = nn.Sequential(layer.Flatten(), layer.Linear(2 * 34 * 34, 10, bias=False), neuron.LIFNode(tau=2.0, v_threshold=0.4))
mine = Mine()
jelly[1].weight.data, mine.classifier.weight.data = weights.clone(), weights.clone()
for name, net in (("jelly", jelly), ("snntorch", mine)):
    example = torch.zeros(1, 2, 34, 34)
    report = plif.export(net.eval(), f"{name}.onnx", example, framing="count:T=10", classes="0,1,2,3,4,5,6,7,8,9")
    print(name, report.verify.sentence())
"""


def in_shell(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(words, cwd=folder, env=settings, capture_output=True, text=True, timeout=600)


def plif(folder: Path, *words: str) -> str:
    """What the command prints; it did what it was asked for."""
    done = in_shell(folder, sys.executable, "-m", "runtime.core.cli", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def desk(nmnist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student's folder, with both networks exported."""
    folder = tmp_path_factory.mktemp("thesis")
    (folder / "mine.py").write_text(MINE)
    done = in_shell(folder, sys.executable, "mine.py", f"nmnist:{nmnist}")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\w+) parity passed: [1-9]\d* spikes", done.stdout, re.MULTILINE) == ["jelly", "snntorch"]
    return folder


@pytest.fixture(scope="module", params=("jelly", "snntorch"))
def home(request: pytest.FixtureRequest, desk: Path, nmnist: Path) -> Path:
    """What `plif eval --latex` of one network has written."""
    name = request.param
    told = plif(desk, "eval", f"{name}.onnx", "--data", f"nmnist:{nmnist}", "--out", name, "--latex")
    assert f"wrote {name}/latex/results.tex" in told
    assert json.loads((desk / name / "metrics.json").read_text())["accuracy"] >= 0.5, "it has learned something"
    return desk / name


def test_the_thesis_has_tables_figures_and_the_proof_and_compiles(home: Path) -> None:
    text, metrics = check_latex(home / "latex"), json.loads((home / "metrics.json").read_text())
    assert f"{100 * metrics['accuracy']:.2f} & [" in text and "time-steps none differed" in text
    assert "Not proved: more than 64 steps in a row" in text, "what the proof does not say stands there too"
    cited = (home / "latex" / "references.bib").read_text()
    assert "fang2023spikingjelly" in cited and "eshraghian2023snntorch" in cited
    assert "fang2021plif" not in text, "it has no PLIF neurons"
    if has_latex():
        assert "Overfull" not in compile_latex(home / "latex")


def test_the_card_for_a_hub_is_for_others(home: Path, nmnist: Path) -> None:
    card, page = ((home / name).read_text() for name in ("README.md", "report.html"))
    rows = re.findall(r"^\| (.+?) \|", card, re.MULTILINE)
    assert len(rows) == len(set(rows)) and "image-classification" not in card
    assert not any(str(folder) in text for folder in (home.parent, nmnist) for text in (card, page))


def test_nothing_that_is_shown_is_none_and_no_figure_is_an_empty_box(desk: Path, nmnist: Path) -> None:
    assert "None" not in plif(desk, "info", "jelly.onnx")
    plif(desk, "paper", "figures", "jelly.onnx", "--out", "figures")
    page = (desk / "figures" / "report.html").read_text()
    assert "<pre></pre>" not in page and "<figure>" in page


def test_both_networks_stand_side_by_side(desk: Path, nmnist: Path) -> None:
    words = ("jelly.onnx", "--data", f"nmnist:{nmnist}", "--against", "snntorch.onnx", "--out", "both", "--latex")
    assert "McNemar" in plif(desk, "eval", *words)
    text = check_latex(desk / "both" / "latex")
    assert re.search(r"^jelly\.onnx & .*\nsnntorch\.onnx & ", text, re.MULTILINE) and r"\cite{mcnemar1947}" in text
