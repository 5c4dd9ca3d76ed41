"""`my_module.py:net`: code that the command line names is run for export, verify and check; nothing else leads to code."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import plif_train
from plif_export import check, export, verify
from plif_train import Network
from runtime import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from tests.code import NEURON
from tests.networks import firing

CODE = """
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from if_neuron import IF

Path(__file__).with_name("was_run").touch()
print("loading")


@dataclass
class Config:
    width: int = 4


class Net(nn.Module):
    def __init__(self, config=Config()):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.fires = nn.Conv2d(2, config.width, 3, padding=1), IF()
        self.last, self.votes = nn.Linear(config.width * 36, 3), IF()
        with torch.no_grad():
            self.last.weight.abs_()

    def forward(self, x):
        print("stepping")
        return self.votes(self.last(self.fires(self.first(x)).flatten(1)))


def build():
    return Net()


def sequence():
    return Sequence(Net())


class Sequence(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, xs):
        return torch.stack([self.net(x) for x in xs])


def wide(width):
    return Net(Config(width))


def number():
    return 3


def broken():
    table = {}
    return table["weights"]


def leaves():
    raise SystemExit("this script trains")


net = Net()

if __name__ == "__main__":
    raise SystemExit("training")
"""


def line_of(text: str) -> int:
    return 1 + next(at for at, line in enumerate(CODE.splitlines()) if text in line)


def small() -> Network:
    return firing("FC12-PLIF-FC10-PLIF", (2, 34, 34), T=4, framing="count:T=4", classes=tuple("0123456789"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_module.py").write_text(CODE)
    (tmp_path / "if_neuron.py").write_text(NEURON)
    (tmp_path / "torn.py").write_text("import torch\n\ndef net(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_a_module_a_function_and_a_class_of_a_python_file_are_exported_verified_and_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, passed in (
        (["export", "my_module.py:net", "--shape", "2,6,6", "--classes", "a,b,c"], "verify"),
        (["verify", "my_module.onnx", "--against", "./my_module.py:build"], "passed"),
        (["check", str(folder / "my_module.py:Net"), "--shape", "2,6,6"], "supported"),
    ):
        assert run([*command, "--json"]) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)[passed], "what the code prints is no part of the document"
        assert "loading" in said.err and "stepping" in said.err
    assert read_card("my_module.onnx")["classes"] == ["a", "b", "c"]


@pytest.mark.large
def test_python_and_every_form_of_forward_do_the_same(folder: Path) -> None:
    assert export("my_module.py:sequence", "s.onnx", shape=(2, 6, 6), framing="count:T=4").passed
    assert verify("s.onnx", "my_module.py:sequence").passed
    (folder / "other.py").write_text(CODE.replace("manual_seed(3)", "manual_seed(4)"))
    assert not verify("s.onnx", "other.py:sequence").passed


def test_a_script_sees_no_option_of_the_command(folder: Path) -> None:
    (folder / "options.py").write_text(f"import sys\n\nassert sys.argv == [__file__], sys.argv\n{CODE}")
    before = list(sys.argv)
    assert run(["export", "options.py:net", "--shape", "2,6,6"]) == 0 and sys.argv == before


def test_a_model_pt_that_code_loads_keeps_its_card(folder: Path) -> None:
    plif_train.save(small(), folder / "model.pt")
    (folder / "load.py").write_text("import plif_train\n\ndef net():\n    return plif_train.load('model.pt')\n")
    assert export("load.py:net").passed
    assert read_card("load.onnx")["framing"] == "count:T=4"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("my_module.py", "my_module.py: is Python code; which network of it? expected my_module.py:NAME"),
        ("my_module.py:", "which network of it?"),
        ("my_module.py:net.first", "which network of it?"),
        ("my_module.py:nett", "has no 'nett'; it has Config, Net, build, sequence"),
        ("my_module.py:wide", "my_module.py:wide: TypeError: wide() missing 1 required positional argument: 'width'"),
        ("my_module.py:number", "my_module.py:number: returns 'int'; expected an nn.Module, or a function without"),
        ("my_module.py:torch", "my_module.py:torch: is 'module'; expected an nn.Module"),
        ("my_module.py:broken", f"my_module.py:broken, line {line_of('table[')}: KeyError: 'weights'"),
        ("my_module.py:leaves", f"line {line_of('this script')}: SystemExit: this script trains"),
        (
            "my_module.py:net",
            "Net: its input shape is unknown; give the shape of one time-step, such as --shape 2,34,34",
        ),
        ("torn.py:net", "torn.py, line 3: SyntaxError: invalid syntax"),
        ("lost.py:net", "lost.py: no such file; expected Python code that makes a network"),
    ],
)
def test_what_is_no_network_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], model: str, says: str
) -> None:
    assert run(["export", model, "-o", "net.onnx"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line not in ("loading", "stepping")]
    assert line.startswith("plif: error: ") and says in line
    assert not (folder / "net.onnx").exists()


def test_no_file_and_no_other_command_leads_to_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plif_train.save(small(), folder / "model.pt")
    export("model.pt", "model.onnx", verify=False)
    refused = "code is run by plif export, verify and check alone"
    for command, says in (
        (["eval", "my_module.py:net", "--data", "digits"], refused),
        (["eval", "model.onnx", "--data", "digits:3", "--against", "my_module.py:net"], refused),
        (["predict", "my_module.py:net", "model.pt"], refused),
        (["stream", "my_module.py:net", "sim:digits?seed=1"], refused),
        (["bench", "my_module.py:net"], refused),
        (["info", "my_module.py:net"], refused),
        (["verify", "my_module.py:net", "--against", "model.pt"], refused),
        (["train", "my_module.py:net", "--data", "digits", "--out", "new.pt"], "my_module.py:net"),
        (["export", "model.pt", "--network", "my_module.py:net"], "leave --network out"),
    ):
        assert run(command) == 2, command
        assert says in capsys.readouterr().err, command
    shutil.copy("model.pt", "my_module.py:net")
    assert run(["export", "my_module.py:net", "--no-verify"]) == 0, "a file of that name is that file"
    assert run(["check", "my_module.py:net"]) == 0
    shutil.copy("model.onnx", "my_module.py:artifact")
    assert run(["verify", "my_module.py:artifact", "--against", "my_module.py:net"]) == 0
    assert not (folder / "was_run").exists()


def test_a_live_module_is_checked_by_the_shape_of_one_step(folder: Path) -> None:
    from torch import nn

    assert not check(nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), shape=(2, 2, 2)).supported, "without state"
    with pytest.raises(PlifError, match="its input shape is unknown"):
        check(nn.Linear(2, 2))


def test_code_that_makes_other_weights_each_time_is_told_so(folder: Path) -> None:
    (folder / "unseeded.py").write_text(CODE.replace("manual_seed(3)", "seed()"))
    export("unseeded.py:net", "net.onnx", shape=(2, 6, 6), verify=False)
    failed = verify("net.onnx", "unseeded.py:net").failed_at
    assert failed and failed["what"].endswith(
        "unseeded.py:net makes other weights each time: load them from a file, or set a seed"
    )
