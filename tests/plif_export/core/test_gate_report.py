"""What a proof says beside passed: layers that nothing makes fire, where the first difference is, its seed, how far it went."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import plif_train
from plif_export import export, verify
from plif_export.core.prove import prove
from plif_train.core.network.network import Network
from runtime.core.cli.main import run
from runtime.core.model.graph import Graph
from tests.networks import firing
from tests.plif_export.core.test_parity_can_fail import change_attribute, replace_initializer, written
from tests.programs import PLIF, linear, proved, traced


def with_a_layer_that_nothing_makes_fire() -> Network:
    """fc2 gets no current, and forgets its membrane in each step."""
    net = firing()
    with torch.no_grad():
        net.get_submodule("fc2").weight.mul_(0)
        net.neurons()["fc2"].w.fill_(100.0)
    return net


def test_require_tested_fails_for_a_layer_that_nothing_makes_fire(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = tmp_path / "m.pt", tmp_path / "m.onnx"
    plif_train.save(with_a_layer_that_nothing_makes_fire(), model)
    assert run(["export", str(model), "-o", str(path), "--require-tested"]) == 1
    assert "layer fc2" in capsys.readouterr().err and not path.exists()
    assert run(["export", str(model), "-o", str(path)]) == 0
    output = capsys.readouterr()
    assert "untested: fc2" in output.out and "fc2" in output.err
    assert run(["verify", str(path), "--against", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["untested"] == ["fc2"]
    assert run(["verify", str(path), "--against", str(model), "--require-tested"]) == 1
    assert "nothing made these layers fire: fc2" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_spikes_that_rounded_weights_had_no_part_in_are_no_praise_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    """An untrained network: the first layer, whose weights are as they were, fires on bright frames, and no other ever does."""
    torch.manual_seed(0)
    net = plif_train.build("c8k3s1-BN-PLIF-MPk2s2-FC10-PLIF", shape=(2, 16, 16), T=4, framing="duration:10ms")
    report = export(net, tmp_path / "m.onnx", precision=precision).verify
    assert report is not None and report.passed and report.spikes > 1000
    assert (report.rounded_spikes, report.rounded_fire) == (0, False)
    said = f"{precision} weights contributed to 0; no layer with such weights fires on this input from reset"
    assert said in report.sentence()
    assert run(["info", str(tmp_path / "m.onnx")]) == 0
    assert "rounded weights contributed to 0" in capsys.readouterr().out


def test_the_spikes_that_rounded_weights_had_a_part_in_are_counted(tmp_path: Path) -> None:
    report = export(firing(), tmp_path / "m.onnx", precision="int8").verify
    assert report is not None and report.rounded_fire and 0 < report.rounded_spikes < report.spikes
    assert f"int8 weights contributed to {report.rounded_spikes}; " in report.sentence()
    assert "from reset" not in report.sentence()


def test_spikes_of_the_membranes_that_a_proof_draws_are_not_counted(tmp_path: Path) -> None:
    """The second layer gets no spike, ever; a current that its proof draws makes it fire all the same."""
    current = {
        "states": {"v": 0.0, "i": 0.0},
        "program": [
            ["i1", "Add", "i", "x"], ["h", "Add", "v", "i1"], ["fires", "GreaterOrEqual", "h", 1.0],
            ["s", "Cast", "fires"], ["v1", "Where", "fires", 0.0, "h"], ["i2", "Mul", "i1", 0.5],
        ],
        "h": "h", "s": "s", "next": {"v": "v1", "i": "i2"},
    }  # fmt: skip
    nodes = (
        linear("fc1", "x", 4, 6, gain=0.001),
        traced("first", ("fc1",), (6,), PLIF, 1.0, alpha=0.5),
        linear("fc2", "first_neuron", 6, 50),
        traced("second", ("fc2",), (50,), current, 1.0),
    )
    report = proved(Graph((4,), nodes, "second_neuron"), tmp_path / "m.onnx", precision="int8")
    assert report.passed and report.spikes > 20
    assert (report.rounded_spikes, report.rounded_fire) == (0, False)


def test_verify_draws_a_seed_and_says_it_and_an_export_is_the_same_every_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, model = firing(), tmp_path / "m.pt"
    plif_train.save(net, model)
    paths = [export(model, tmp_path / name / "m.onnx").path for name in ("a", "b") if not (tmp_path / name).mkdir()]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    first, second = (verify(paths[0], net) for _ in range(2))
    assert first.seed != second.seed
    one, other = (verify(paths[0], net, seed=seed) for seed in (1, 2))
    assert one.layers != other.layers, "each seed has an input of its own"
    again = verify(paths[0], net, seed=first.seed)
    assert again.to_dict() == first.to_dict() and again.inputs == [0, 255]
    assert run(["verify", str(paths[0]), "--against", str(model), "--seed", "7"]) == 0
    assert "--seed 7 gives it again" in capsys.readouterr().out


def test_the_first_divergence_is_named_wherever_something_differs() -> None:
    """Changes of a threshold, a weight, an output and the card: in 2 of 8 of them nothing was named."""
    net = firing()
    for layer, off in (("fc2", 1e-4), ("fc2", 0.5), ("conv1", 1e-4)):
        changed = written(net, "step", "exact", lambda g: change_attribute(g, f"{layer}_neuron", v_threshold=1.0 + off))  # noqa: B023
        report = prove(*changed, net)
        assert not report.passed and report.first_divergence is not None and report.first_divergence["layer"] == layer
    for form in ("step", "unrolled"):
        proto, card = written(net, form, "folded")
        replace_initializer(
            proto, "fc2.weight", lambda w: np.where(np.arange(w.size).reshape(w.shape) == 7, w + 1e-4, w)
        )
        report = prove(proto, card, net)
        assert not report.passed and report.first_divergence is not None
    report = prove(*written(net, "step", "folded"), net)
    assert report.passed and report.first_divergence is None
