"""The digits network on an emulated Cortex-M4F (QEMU, board mps2-an386): in 400 kB of flash and 256 K of RAM, the same spikes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from plif_export.core.prove import prove
from plif_export.core.readers import read_model
from plif_export.targets.c.compiled import CompiledProgram
from plif_export.targets.c.size import CORTEX_M4
from runtime.artifacts.c.source import read_texts
from runtime.core.model.card import read_card
from tests.board import QEMU
from tests.networks import firing, frames

ROOT = Path(__file__).parents[4]
BOARD = ROOT / "tests" / "data" / "cortex_m"
TOOLS = ("arm-none-eabi-gcc", "qemu-system-arm", "make")

missing = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [pytest.mark.machines, pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")]


def run_on_board(program: Path, request: bytes) -> subprocess.CompletedProcess[bytes]:
    """A program under proof on the emulated board: what it is asked and answers are files of the host."""
    folder = program.parent
    (folder / "request.bin").write_bytes(request)
    command = [*QEMU, "-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
    return subprocess.CompletedProcess(command, done.returncode, (folder / "answer.bin").read_bytes(), done.stderr)


def on_board(path: Path) -> CompiledProgram:
    flags = (*CORTEX_M4, "-DPLIF_FILES", str(BOARD / "start.c"), "--specs=rdimon.specs", "-T", str(BOARD / "big.ld"))
    return CompiledProgram(read_texts(path), read_card(path), "arm-none-eabi-gcc", flags, run_on_board)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    model = ROOT / "models" / "nmnist-digits.pt"
    made = export(model, folder / "digits.c", to="c", precision="int8", flash="400K", ram="256K", verify=False)
    assert made.size is not None and made.size.flash <= 400_000
    export(model, folder / "digits.onnx", precision="int8", verify=False)
    return made.path


@pytest.fixture(scope="module")
def recording(nmnist: Path, digits: Path) -> np.ndarray:
    """The frames of a real recording, float32 [T, 2, 34, 34]."""
    from runtime.core.data import open_dataset

    card = read_card(digits)
    c, h, w = card["input"]["shape"]
    return np.asarray(open_dataset(f"nmnist:{nmnist}", "test", framing=card["framing"], shape=(c, h, w)).sample(0))


def test_the_linked_program_fits_and_votes_as_the_engine_does(digits: Path, recording: np.ndarray) -> None:
    """Linked for 400,000 bytes of flash, and for the RAM that the card says with 1.5 K for the example's own; instructions a step
    are counted by the board's clock."""
    recording.astype(np.float32).tofile(digits.with_name("frames.f32"))
    words = ["make", "-s", "-C", str(ROOT / "examples" / "cortex-m"), "run", f"NETWORK={digits}", "FLASH=400000"]
    words.append(f"RAM={read_card(digits)['memory']['ram'] + 1536}")
    done = subprocess.run(
        [*words, f"FRAMES={digits.with_name('frames.f32')}", f"OUT={digits.with_name('build')}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"step (\d+): (\d+) instructions, votes ([\d ]+)\n", done.stdout)
    session, votes = runtime.load(digits.with_name("digits.onnx")).session(), np.zeros(10, np.int64)
    for t, frame in enumerate(recording):
        votes += np.rint(session.step(frame[None].astype(np.float32))[0] * 10).astype(np.int64)
        assert [int(v) for v in lines[t][2].split()] == votes.tolist()
        assert 100_000 < int(lines[t][1]) < 50_000_000
    assert len(lines) == len(recording) and f"decision {votes.argmax()}\n" in done.stdout and votes.max() > 10


def test_every_spike_of_the_recording_is_the_references(digits: Path, recording: np.ndarray) -> None:
    """The gate's questions, layer by layer, to the program compiled for the Cortex-M4F; int8 sums are exact."""
    source = read_model(ROOT / "models" / "nmnist-digits.pt")
    report = prove(None, read_card(digits), source, recording[:2, None].astype(np.float32), opened=on_board(digits))
    assert report.passed and report.spike_mismatches == 0 and report.spikes > 1000, report.sentence()
    assert report.free_running_mismatches >= 0 and [layer.name for layer in report.layers] == [
        "conv1",
        "conv2",
        "fc1",
        "fc2",
    ]


@pytest.mark.large
def test_a_small_float_network_passes_the_whole_gate_on_the_board(tmp_path: Path) -> None:
    net = firing()
    path = export(net, tmp_path / "net.c", to="c", verify=False).path
    x = frames(net, np.random.default_rng(0), T=3, streams=1)
    report = prove(None, read_card(path), read_model(net), x, opened=on_board(path))
    assert report.passed, report.sentence()
