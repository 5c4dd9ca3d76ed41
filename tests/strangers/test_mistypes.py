"""Somebody who mistypes: each mistake is one line that says what was found, what was expected and what to type; exit code 2."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from plif_export import export
from tests.conftest import REPOSITORY

MODEL = str(REPOSITORY / "models" / "nmnist-digits.pt")

# what is typed, and what the line has to hold
AT_ONCE = {  # before anything large is loaded
    "strem model.onnx": "No such command 'strem'. Did you mean 'stream'? (see plif --help)",
    "--hlep": "'--hlep'",
    "info modle.onnx": "modle.onnx: no such file; expected a model.pt or an exported artifact such as model.onnx",
    "info https://example.com/m.onnx": "https://example.com/m.onnx: an address, and plif downloads nothing: fetch the file first",
    "info -json model.onnx": "'-j'. Did you mean '--json'? (see plif info --help)",
    f"eval {MODEL} --dat nmnist:DIR": "--data",
    f"eval {MODEL}": "Missing option '--data'. (see plif eval --help)",
    f"verify {MODEL}": "Missing option '--against'. (see plif verify --help)",
}
LATER = {
    f"eval {MODEL} --data nmnist:DIR --batch two": "'--batch': 'two' is not a valid int. (see plif eval --help)",
    f"eval {MODEL} --data nmist:DIR": "'nmist' is not known; expected NAME:DIR with NAME one of",
    f"eval {MODEL} --data nmnist": "no folder named, expected nmnist:DIR",
    f"eval {MODEL} --data 'nmnist:~/nowhere'": "/nowhere: no such folder, expected one with Train/ and Test/ in it",
    "train nmnist --data nmnist:DIR --lerning-rate 1": "--lerning-rate: no such option",
    "train nmnst --data nmnist:DIR": "nmnst",
    f"export {MODEL} --to onx": "--to onx: this version writes onnx, c,",
    f"export {MODEL} --precision int9": "--precision int9: --to onnx writes fp32, fp16, int8",
    f"export {MODEL} -o nowhere/m.onnx": "nowhere/m.onnx: its folder does not exist",
    "data gestures": "did you mean 'dvs128-gesture'?",
    "data nmnist --root nowhere": "nowhere: no such folder, expected one with Train/ and Test/ in it",
    "paper tabel-2": "row 'tabel-2' is not known; plif paper --list names all",
    "stream m.plif recording.cvs": "recording.cvs: no such file; expected a recording",
    "stream m.plif r.csv --framing durration:10ms": "'durration' is no kind of framing; expected count:T=20, duration:10ms",
    "stream m.plif r.csv --framing duration:10": "'10', is not a time; expected a whole number of microseconds from 1 on",
    "stream m.plif r.csv --decide leek:500ms": "--decide leek:500ms: expected sum, leak[:500ms], kofn[:3/5], own[:80ms] or",
    "stream m.plif r.csv --filter hott": "'hott' is no filter; expected hot, refractory,",
    "stream m.plif udp://7777": "expected a host and a port from 1 to 65535, as udp://127.0.0.1:7777",
    "stream m.plif sim:digit": "'digit' is not simulated, expected sim:digits?seed=7",
    "stream m.plif r.csv --engine onnx": "engine 'onnx' is not known here; expected auto or one of:",
    "predict m.plif": "Missing argument 'RECORDINGS...'. (see plif predict --help)",
    "predict m.plif folder": "folder",
    "send r.csv udp://127.0.0.1:7777?format=t65": "t64",
}  # fmt: skip


def typed(words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.core.cli", *shlex.split(words)]
    where = {"PYTHONPATH": str(REPOSITORY), "HOME": str(folder), "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, timeout=300)


def one_line(done: subprocess.CompletedProcess[str], expected: str) -> None:
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("plif: error: ") and done.stderr.count("\n") == 1 and expected in done.stderr, (
        done.stderr
    )


@pytest.mark.parametrize("words", AT_ONCE)
def test_a_slip_of_the_keyboard_is_one_line_that_says_what_to_type(words: str, tmp_path: Path) -> None:
    one_line(typed(words, tmp_path), AT_ONCE[words])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    export(MODEL, folder / "m.plif", to="plif", verify=False)
    (folder / "r.csv").write_text("t,x,y,p\n1,2,3,1\n500,30,20,0\n9000,20,11,1\n")
    return folder


@pytest.mark.machines
@pytest.mark.parametrize("words", LATER)
def test_a_wrong_name_or_value_is_one_line_and_leaves_nothing(words: str, desk: Path) -> None:
    before = sorted(desk.iterdir())
    one_line(typed(words, desk), LATER[words])
    assert sorted(desk.iterdir()) == before


@pytest.mark.machines
def test_a_warning_is_said_once_however_often_it_is_found(tmp_path: Path) -> None:
    """The splits of a set each find that its sensors differ."""
    for split, x in (("train", 200), ("test", 20)):
        for name in "ab":
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            (folder / "1.csv").write_text(f"t,x,y,p\n1,2,3,1\n500,{x},20,0\n")
    words = "train c2k4s4-PLIF-FC4-PLIF-APk2s2 --data folder:set --T 2 --epochs 1 --out t.pt"
    done = typed(words, tmp_path, PYTHONWARNINGS="always")
    assert done.returncode == 0 and done.stderr.count("the sensors of its recordings differ") == 1, done.stderr
