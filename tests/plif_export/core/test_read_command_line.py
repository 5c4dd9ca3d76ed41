"""The command line on models of other libraries: what a user types, what is printed, which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import plif_train
from plif_export import export
from runtime.core.cli.main import run
from tests.foreign import scale_to_threshold
from tests.networks import firing

NETWORK = "c4k3s2-IF-FC6-IF-APk2s2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    weights = {"conv.weight": torch.randn(4, 2, 3, 3), "fc.weight": torch.randn(6, 4 * 17 * 17) / 8}
    torch.save({"state_dict": weights}, tmp_path / "net.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "pickled.pth")
    plif_train.save(firing(), tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: Any, *arguments: str, code: int = 0) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_a_state_dict_is_exported_verified_and_described(folder: Path, capsys: Any) -> None:
    given = ["--network", NETWORK]
    assert run(["export", "net.pth", *given, "--classes", "cat,dog,bird", "--framing", "count:T=4"]) == 0
    out, err = capsys.readouterr()
    assert "parity passed" in out and "plif info net.onnx" in out
    assert "net.onnx: input 2x34x34: fits the weights" in err
    card = printed(capsys, "info", "net.onnx")
    assert (card["classes"], card["T"], card["framing"]) == (["cat", "dog", "bird"], 4, "count:T=4")
    assert card["notation"] == NETWORK and len(card["source_sha256"]) == 64
    found = printed(capsys, "verify", "net.onnx", "--against", "net.pth", *given)
    assert found["passed"] and found["untested"] == []
    assert run(["verify", "net.onnx", "--against", "net.pth", *given, "--neuron", "v_threshold=1.5"]) == 1
    assert "parity failed: layer conv1" in capsys.readouterr().err


def test_check_says_what_is_supported_and_where(folder: Path, capsys: Any) -> None:
    export("model.pt")
    for arguments in (["net.pth", "--network", NETWORK], ["model.pt"], ["model.onnx"]):
        found = printed(capsys, "check", *arguments)
        assert found["supported"] is True and found["to"] == "onnx" and found["problems"] == []
        assert {"path", "type", "op", "supported", "rule", "advice"} == set(found["layers"][0])
        assert any(layer["op"] == "Neuron" for layer in found["layers"])
    assert run(["check", "net.pth", "--network", NETWORK]) == 0
    assert capsys.readouterr().out.rstrip().endswith("onnx: can be exported")


def test_check_of_a_file_with_problems_lists_all_and_exits_with_1(folder: Path, capsys: Any) -> None:
    nir = pytest.importorskip("nir")
    np = pytest.importorskip("numpy")
    full = np.ones(3)
    nodes = {
        "input": nir.Input(input_type={"input": np.array([3])}),
        "a": nir.LIF(full / 1e6, full, full, full),
        "b": nir.LIF(full / 1e6, full, full, full),
        "output": nir.Output(output_type={"output": np.array([3])}),
    }
    nir.write("net.nir", nir.NIRGraph(nodes, [("input", "a"), ("a", "b"), ("b", "output")], type_check=False))
    found = printed(capsys, "check", "net.nir", code=1)
    assert [layer["path"] for layer in found["layers"]] == ["a", "b"] and len(found["problems"]) == 2
    assert run(["check", "net.nir"]) == 1
    out, err = capsys.readouterr()
    assert out.count("NO  ") == 2 and "onnx: 2 problems" in out and err.startswith("plif: error: net.nir: a (LIF): ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["export", "net.pth"], "--network"),
        (["export", "net.pth", "--network", "c4k3-IF"], "character 1"),
        (["export", "net.pth", "--network", "mnits"], "--network 'mnits'"),
        (["export", "net.pth", "--network", NETWORK, "--classes", "a,b"], "classes"),
        (["export", "net.pth", "--network", NETWORK, "--framing", "sometimes"], "sometimes"),
        (["export", "net.pth", "--network", NETWORK, "--kind", "sound"], "--kind sound"),
        (["export", "net.pth", "--network", NETWORK, "--shape", "big"], "--shape big"),
        (["export", "net.pth", "--network", NETWORK, "--shape", "2,16,16"], "fc.weight is [6, 1156]"),
        (["export", "net.pth", "--network", NETWORK, "--neuron", "fast"], "--neuron fast"),
        (["export", "net.pth", "--network", NETWORK, "--neuron", "speed=1"], "--neuron speed"),
        (["export", "net.pth", "--network", NETWORK, "--neuron", "v_threshold=high"], "v_threshold"),
        (["export", "net.pth", "--network", NETWORK, "--T", "0"], "--T 0"),
        (["export", "pickled.pth", "--network", NETWORK], "docs/other-libraries.md"),
        (["export", "pickled.pth"], "docs/other-libraries.md"),
        (["export", "model.pt", "--network", NETWORK], "leave --network out"),
        (["export", "model.pt", "--classes", "a,b,c"], "leave --classes out"),
        (["check", "missing.pt"], "missing.pt: no such file"),
        (["check", "model.pt", "--to", "paper"], "--to paper"),
        (["verify", "model.onnx", "--against", "net.pth"], "model.onnx"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_code_2(
    folder: Path, arguments: list[str], says: str, capsys: Any
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert says in err and err.startswith("plif: error: ") and err.count("\n") == 1, err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_of_vectors_says_that_it_takes_no_frames(folder: Path, capsys: Any) -> None:
    from spikingjelly.activation_based import neuron

    vector = nn.Sequential(nn.Linear(7, 20), neuron.IFNode(), nn.Linear(20, 3), neuron.IFNode())
    export(scale_to_threshold(vector, (7,)), "vector.onnx", torch.zeros(1, 7))
    assert run(["stream", "vector.onnx", "sim:digits?seed=1&seconds=1", "--framing", "duration:10ms"]) == 2
    assert "takes inputs of shape [7], not frames" in capsys.readouterr().err
    assert run(["eval", "vector.onnx", "--data", "digits"]) == 2
    assert "takes inputs of shape [7], not frames" in capsys.readouterr().err
    assert run(["info", "vector.onnx"]) == 0


def test_check_of_an_artifact_does_not_answer_for_another_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.conftest import REPOSITORY

    path = tmp_path / "d.onnx"
    assert run(["export", str(REPOSITORY / "models" / "nmnist-digits.pt"), "-o", str(path)]) == 0
    assert run(["check", str(path)]) == 0
    assert run(["check", str(path), "--to", "nir"]) == 2
    assert "the model it was made from" in capsys.readouterr().err
