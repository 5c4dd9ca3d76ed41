"""plif as researchers use it: train(), a torch data set, loops of their own, torch.compile, the notebook, a page's programs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import plif_train
from plif_train.core.loop.hooks import Epoch
from runtime.core.base.errors import PlifError
from runtime.core.data import open_dataset
from tests.conftest import REPOSITORY
from tests.plif_train.core.small import NOTATION, TrainingRun, bars, network

PAGE = REPOSITORY / "docs" / "python.md"
NOTEBOOK = REPOSITORY / "docs" / "quickstart.ipynb"


def test_train_goes_on_from_a_model_with_several_sets_as_the_command_does(
    plif: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plif_train.save(
        plif_train.build("c4k5s4-BN-PLIF-FC30-PLIF-APk3s3", shape=(2, 34, 34), T=3, framing="duration:30ms"), "a.pt"
    )
    recipe = plif_train.Recipe(epochs=1, batch_size=4, seed=5, loss="step-mse", protocol="C")
    sets, vary = ["digits:12", "digits:8"], ["thin:0.5", "shift:3"]
    ours = plif_train.train(None, sets, "b.pt", recipe, start="a.pt", mix=[0.7, 0.3], vary=vary, dropout=0.1)
    command = [
        "train",
        "--from",
        "a.pt",
        "--data",
        sets[0],
        "--data",
        sets[1],
        "--mix",
        "0.7,0.3",
        "--vary",
        vary[0],
        "--vary",
        vary[1],
    ]
    command += [
        "--set",
        "dropout=0.1",
        "--epochs",
        "1",
        "--batch-size",
        "4",
        "--seed",
        "5",
        "--set",
        "loss=step-mse",
        "--protocol",
        "C",
    ]
    code, _, err = plif(*command, "--device", "cpu", "--out", "c.pt")
    assert code == 0, err
    one, two = (plif_train.load(name).state_dict() for name in ("b.pt", "c.pt"))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert ours["from"] == "a.pt" and ours["recipe"]["mix"] == [0.7, 0.3]
    with pytest.raises(PlifError, match="init_tau is that of the file"):
        plif_train.train(None, "digits:12", "d.pt", recipe, start="a.pt", init_tau=3.0)
    with pytest.raises(PlifError, match="expected a network, or --from"):
        plif_train.train(None, "digits:12", "d.pt", recipe)


def test_train_does_what_the_command_does(tmp_path: Path) -> None:
    epochs: list[Epoch] = []
    recipe = plif_train.Recipe(epochs=2, batch_size=6, seed=5)
    record = plif_train.train(
        "nmnist", "digits:12", tmp_path / "a.pt", recipe, T=3, channels=2, hidden=20, on_epoch=epochs.append
    )
    command = [
        "train",
        "nmnist",
        "--data",
        "digits:12",
        "--epochs",
        "2",
        "--batch-size",
        "6",
        "--seed",
        "5",
        "--T",
        "3",
    ]
    command += ["--set", "channels=2", "--set", "hidden=20", "--out", str(tmp_path / "b.pt")]
    program, one_thread = (
        [sys.executable, "-m", "runtime.core.cli"],
        {**os.environ, "OMP_NUM_THREADS": "1"},
    )  # as conftest.py has here
    done = subprocess.run([*program, *command], capture_output=True, text=True, timeout=300, env=one_thread)
    assert done.returncode == 0, done.stderr
    ours, theirs = plif_train.load(tmp_path / "a.pt"), plif_train.load(tmp_path / "b.pt")
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert [epoch.epoch for epoch in epochs] == [1, 2] and record["test_accuracy"] == ours.meta.training[
        "test_accuracy"
    ]


def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="channels"):
        plif_train.train("nmnist", "digits:12", tmp_path / "m.pt", channels=0)
    with pytest.raises(PlifError, match=r"none\.toml: no such file; expected a recipe, or one that ships: authors"):
        plif_train.train("nmnist", "digits:12", tmp_path / "m.pt", "none.toml")
    with pytest.raises(PlifError, match="several devices"):
        plif_train.train("nmnist", "digits:12", tmp_path / "m.pt", plif_train.Recipe(device="cpu:2"))
    assert list(tmp_path.iterdir()) == []


def test_samples_are_a_data_set_that_a_loader_batches() -> None:
    data = open_dataset("digits:10", "train", framing="count:T=3", shape=(2, 34, 34))
    samples = plif_train.load_samples(data)
    assert isinstance(samples, torch.utils.data.Dataset) and len(samples) == 10
    x, y = samples[4]
    assert np.array_equal(x.numpy(), data.sample(4)) and int(y) == data.label(4)
    batches = list(torch.utils.data.DataLoader(samples, batch_size=4))
    assert [tuple(x.shape) for x, _ in batches] == [(4, 3, 2, 34, 34)] * 2 + [(2, 3, 2, 34, 34)]
    assert torch.equal(torch.cat([y for _, y in batches]), samples.y)


@pytest.mark.large
def test_a_compiled_network_is_one_graph_and_is_not_compiled_again_each_step() -> None:
    testing = pytest.importorskip("torch._dynamo.testing")
    x = bars(4).x.float().transpose(0, 1)
    for training in (True, False):
        torch._dynamo.reset()
        net = network()
        net.train(training)
        counter = testing.CompileCounter()
        compiled = torch.compile(net, backend=counter, fullgraph=True)
        for _ in range(4):
            net.reset()
            y = compiled(x)
            if training:
                y.mean().backward()
        assert counter.frame_count == 1
        if not training:
            net.reset()
            assert torch.equal(y, net(x))  # the native kernels give the same spikes
    torch._dynamo.reset()
    net.eval()
    counter = testing.CompileCounter()
    step = torch.compile(net.step, backend=counter, fullgraph=True)
    for _ in range(3):
        net.reset()
        for x_t in x:
            step(x_t)
    assert counter.frame_count == 2  # without a state and with one
    torch._dynamo.reset()


def test_a_loop_without_reset_is_told_so() -> None:
    net = network()
    net(bars(4).x.float().transpose(0, 1))
    with pytest.raises(PlifError, match=r"call reset\(\) before another batch"):
        net(bars(2).x.float().transpose(0, 1))


def programs(marker: str) -> list[str]:
    return re.findall(
        rf"<!-- {re.escape(marker)} -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )


def test_the_loop_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = programs("run")
    exec(compile(program, str(PAGE), "exec"), {"__name__": "page"})
    assert plif_train.load(tmp_path / "model.pt").T == 4


def test_the_network_trains_inside_a_lightning_module(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed")
    (program,) = programs("run: lightning")
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(program, str(PAGE), "exec"), names)
    data = open_dataset("digits:16", "train", framing="count:T=4", shape=(2, 34, 34))
    loader = torch.utils.data.DataLoader(plif_train.load_samples(data), batch_size=8)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    classifier = names["Classifier"]()  # type: ignore[operator]
    before = {name: weight.clone() for name, weight in classifier.named_parameters()}
    trainer.fit(classifier, loader)
    assert [name for name, weight in classifier.named_parameters() if torch.equal(weight, before[name])] == []
    plif_train.save(classifier.net, tmp_path / "model.pt")


@pytest.mark.large
def test_every_cell_of_the_notebook_runs_and_leaves_the_backend_alone(tmp_path: Path) -> None:
    """The cells in one interpreter, as a kernel runs them; the value of a last expression is what a reader sees."""
    program = """
import ast, json, re, sys
import matplotlib
matplotlib.use("svg")
names, shown = {"__name__": "__main__"}, []
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] != "code":
        continue
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is not None:
        shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
assert shown[0] == ((4, 2, 34, 34), "3"), shown[0]
assert set(shown[1]) == {"conv1", "fc1", "fc2"}, shown[1]
assert isinstance(shown[2], matplotlib.figure.Figure), shown[2]
assert shown[3][0] is True and shown[3][1] > 0 and shown[3][2] == 0, shown[3]
assert len(shown[4]) == 3, shown[4]
# what the file shows is what a kernel shows: the same words, and the same numbers but for what training makes of them
masked = lambda text: re.sub(r"\\d+(\\.\\d+)?", "#", "".join(text.split()))
cells = json.load(open(sys.argv[1], encoding="utf-8"))["cells"]
kept = ["".join(o["data"]["text/plain"]) for c in cells for o in c.get("outputs", []) if o["output_type"] == "execute_result"]
assert kept[0] == repr(shown[0]), kept[0]
assert [masked(text) for text in kept] == [masked(repr(value)) for i, value in enumerate(shown) if i != 2], kept
assert matplotlib.get_backend() == "svg"
"""
    command = [sys.executable, "-c", program, str(NOTEBOOK)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_notebook_is_one_that_jupyter_opens_and_holds_the_outputs_of_its_cells() -> None:
    """After a change: python -m nbconvert --execute --inplace --to notebook docs/quickstart.ipynb."""
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code[1:]) and "/tmp" not in NOTEBOOK.read_text(encoding="utf-8")
    if importlib.util.find_spec("nbformat"):
        import nbformat

        nbformat.validate(nbformat.from_dict(book))


def test_the_notation_of_the_tests_is_public() -> None:
    assert plif_train.build(NOTATION, shape=(1, 8, 8), T=4).T == 4
