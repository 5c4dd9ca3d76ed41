"""examples/nano.py, the whole idea on one page: on the shipped digits network it does what plif does, spike by spike."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

import plif
import plif_train
from runtime.core.events import write_nmnist
from tests.conftest import REPOSITORY, load_script

PAGE = REPOSITORY / "examples" / "nano.py"
FAR = 2e-6  # from the threshold: more than float32 and the order of a sum can move a membrane


@pytest.fixture(scope="module")
def nano() -> ModuleType:
    return load_script(PAGE)


class Digit:
    """What the page does on a recording: x, votes and answers of each step, spikes and membranes {layer: [T, ...]}"""

    def __init__(self, nano: ModuleType, net: dict, events: np.ndarray) -> None:
        self.events = events
        steps = list(nano.run(net, [events[name].astype(np.int64) for name in "txyp"]))
        self.x = np.stack([x for x, *_ in steps]).astype(np.float32)
        self.votes = np.stack([c for _, c, *_ in steps])
        self.spikes = {name: np.stack([s[name] for _, _, s, *_ in steps]) for name in net}
        self.membranes = {name: np.stack([v[name] for *_, v, _ in steps]) for name in net}
        self.answers = [answer for *_, answer in steps]
        self.nearest = min(np.abs(h[name] - 1).min() for _, _, _, h, *_ in steps for name in net)


@pytest.fixture(scope="module")
def digits(nano: ModuleType) -> list[Digit]:
    data = plif.open_dataset("digits:20", framing="count:T=10", shape=(2, 34, 34))
    net = nano.fold(nano.read(nano.MODEL))
    found = [Digit(nano, net, data.recording(i)[0]) for i in range(20)]
    assert all(np.array_equal(digit.x, data.sample(i)) for i, digit in enumerate(found))
    return found


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plif.load(REPOSITORY / "models" / "nmnist-digits.pt").export(tmp_path_factory.mktemp("nano") / "m.onnx").path


def far(digits: list[Digit]) -> Iterator[Digit]:
    """The digits on which float32 in any order must give the same spikes: all but one."""
    found = [digit for digit in digits if digit.nearest > FAR]
    assert len(found) == 19
    yield from found


def test_the_page_is_a_page_and_needs_numpy_and_onnx_alone() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    tree = ast.parse(text)
    ours = [node for node in ast.walk(tree) if isinstance(node, ast.Import) and node.names[0].name == "plif"]
    assert len(ours) == 1 and all(node not in tree.body for node in ours)  # to compare with, in main
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
             for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}  # fmt: skip
    assert {name for name in names if name not in sys.stdlib_module_names} == {"numpy", "onnx", "plif"}


def test_every_spike_and_every_vote_of_twenty_digits_is_that_of_plif(digits: list[Digit], artifact: Path) -> None:
    """A membrane is 0 where its neuron fired and its charge elsewhere, so equal membranes are equal spikes."""
    session = plif.load(artifact, engine="event").session()
    for digit in digits:
        session.reset()
        for k, x in enumerate(digit.x):
            y = session.step(x[None])[0]
            assert np.array_equal(np.rint(10 * y), digit.votes[k])
            for name, v in digit.membranes.items():
                assert np.abs(session.state[f"v.{name}"][0] - v[k]).max() < 1e-4, (name, k, digit.nearest)
    assert sum(int(s.sum()) for digit in digits for s in digit.spikes.values()) > 200_000
    assert sum(digit.votes.sum(0).argmax() == i % 10 for i, digit in enumerate(digits)) == 20


def test_pytorch_fires_the_same_spikes(digits: list[Digit]) -> None:
    net = plif_train.load(REPOSITORY / "models" / "nmnist-digits.pt")
    for digit in far(digits):
        fired: dict[str, np.ndarray] = {}
        net.reset()
        with torch.no_grad(), net.watch_spikes(lambda name, s, fired=fired: fired.update({name: s[:, 0].numpy() > 0})):
            net(torch.from_numpy(digit.x[:, None]))
        assert set(fired) == set(digit.spikes)
        assert all(np.array_equal(s, digit.spikes[name]) for name, s in fired.items())


def test_the_file_of_the_page_has_the_weights_of_plif_s_and_votes_as_the_page_does(
    nano: ModuleType, digits: list[Digit], artifact: Path
) -> None:
    net = nano.fold(nano.read(nano.MODEL))
    theirs = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(artifact).graph.initializer}
    for name, layer in net.items():
        assert np.allclose(theirs[f"{name}.weight"], layer.W.reshape(theirs[f"{name}.weight"].shape), rtol=3e-7, atol=0)
    session = onnxruntime.InferenceSession(nano.to_onnx(net).SerializeToString(), providers=["CPUExecutionProvider"])
    for digit in far(digits):
        v = {f"v.{name}": state[None].astype(np.float32) for name, state in nano.reset().items()}
        for k, x in enumerate(digit.x):
            y, *after = session.run(None, {"x": x[None], **v})
            v = dict(zip(v, after, strict=True))
            assert np.array_equal(y[0], digit.votes[k])


def test_its_fading_votes_answer_as_plif_s_do(
    nano: ModuleType, digits: list[Digit], artifact: Path, tmp_path: Path
) -> None:
    model = plif.load(artifact, engine="event")
    for digit in digits[8:16]:
        recording = tmp_path / "digit.bin"
        write_nmnist(recording, digit.events)
        for mine, theirs in zip(nano.read_events(recording), (digit.events[name] for name in "txyp"), strict=True):
            assert np.array_equal(mine, theirs)
        decisions = model.stream(str(recording), decide="leak:120ms,margin=0.2", sensor=(34, 34))
        assert [None if d.label is None else int(d.label) for d in decisions] == digit.answers
    assert any(None in digit.answers for digit in digits[8:16])


def test_it_reads_a_recording_and_says_how_near_the_nearest_membrane_was(
    nano: ModuleType,
    digits: list[Digit],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_nmnist(tmp_path / "seven.bin", digits[7].events)
    monkeypatch.setattr(sys, "argv", ["nano.py", str(tmp_path / "seven.bin")])
    nano.main()
    said = capsys.readouterr().out
    spikes = sum(int(s.sum()) for s in digits[7].spikes.values())
    assert "in all 7" in said and f"{spikes:,} spikes" in said and f"{digits[7].nearest:.1e} away" in said
