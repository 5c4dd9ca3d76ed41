"""Every command in the README and docs/ is one that the real programs take, and each runs here or says why it does not.

A `plif` line of a page's shell blocks is run, in the page's order, in a folder with small files of the names that the page
uses (tests/docs/workshop.py); numbers that only cost time are made smaller. What is not run stands in NOT_RUN, with the
reason. A line that is neither is an error.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.core.cli.main import run
from tests.conftest import REPOSITORY
from tests.docs.commands import PAGES, Line, inline_lines, refusal, shell_lines
from tests.docs.workshop import fill

TIME, OWN, GPU = "takes minutes or hours", "the reader's own system", "needs an NVIDIA GPU"
NOT_RUN = {  # the beginning of a line (a pattern) -> why it is not run here
    r"make (lint(ers)?|newest|machines( PYTHONS=)?)$": TIME,
    r"make (demo|quick|test(-all)?|performance|web|wasm|oldest|jetson|licences|site|wheels|debug|format)$": TIME,
    r"make wheels release \[?ARCH=aarch64\]?$": "tests/pipeline/test_aarch64.py",
    r"make audit": "needs the advisories of PyPI; docs/releasing.md",
    r"make (cortex-m|-C src)": "a compiler; tests/plif_export/targets/c, tests/runtime/core/test_libplif_build.py",
    r"(python bench|models)/": f"{TIME}: measures, or trains",
    r"\.venv/bin/(python -m pytest|ruff)": "the tests themselves",
    r"(\S*sudo|journalctl|apt-get|ray|docker|tritonserver|ssh-keygen|curl|jq|echo|\. |cp|taskset|install -d|export)": OWN,
    r"python3? -m venv|(\.venv/bin/python -m )?pip (un)?install": "an environment of its own: tests/docs/test_installs.py",
    r"python -c import tensorrt": GPU,
    r"pipx run cibuildwheel": "needs Docker",
    r"(tar|cd|cc|\./decide) ?.*": "tests/pipeline/test_release.py runs it",
    r"(g\+\+|\./step) ": "tests/plif_export/core/test_cpp_example.py runs it",
    r"plif (train (authors|nmnist --data nmnist:mixed)|paper table-\S+ --data)": TIME,
    r"plif (paper figures|export) runs\b|plif (eval|paper figures) fmnist": "what those leave; "
    "tests/plif_train/commands/paper_figures/test_figures_runs.py",
    r"plif data nmnist-sim": "needs MNIST; tests/runtime/core/test_data.py simulates",
    r"plif (train (digits|gesture|models/gesture-people(-[23456])?\.toml) |data gesture-sim --part .*--seed 2601)": TIME,
    r"plif train live c16k5s4": TIME,
    r"plif train live --from model.pt --data folder:mine --data": "needs DVS128 Gesture; tests/plif_train/hooks/begin_from",
    r"plif export net\.(pth|nir)": "tests/plif_export/readers/state_dict, tests/plif_export/readers/nir_file",
    r"plif eval net\.onnx": "the network of the line before",
    r"plif eval (model\.onnx .*--calibrate-exit|early\.onnx)": "tests/runtime/observers/calibrate/test_calibrate_exit.py",
    r"plif \S+ .*(--to tensorrt|model\.engine|--device cuda|onnxruntime-tensorrt)": GPU,
    r"plif bench .*--triton": "needs a Triton server; tests/plif_export/targets/triton_repository/test_triton.py",
    r"plif eval .*--cluster": "tests/pipeline/test_eval_survives.py",
    r"plif export model.pt --json && jq": "needs jq; tests/pipeline/test_command_line.py reads that JSON",
    r"plif stream model.onnx recording.bin --sha256 HEX": "tests/plif_export/core/test_digest.py",
    r"python examples/recheck.py": "tests/plif_export/observers/certificate/test_certificate.py",
}
LARGE = r"gesture-sim --|held-out|calibrate-exit|early\.onnx|--stress|bench|predict digits|--to (openvino|triton|c|web)|_openvino"
SMALLER = (  # the same command, with less to do
    (r"digits:\d+", "digits:10"),
    (r"seconds=\d+", "seconds=0.5"),
    (r"--epochs \d+", "--epochs 1"),
    (r"--train \d+ --test \d+", "--train 1 --test 1"),
    (r"\{c32k3s1-BN-PLIF-MPk2s2\}\*4-DP-FC256", "c2k8s8-BN-PLIF-DP-FC16"),
    (
        r"train (live nmnist|nmnist|my.toml) ",
        r"train \1 --set channels=2 --set hidden=20 --T 3 --batch-size 5 --epochs 1 ",
    ),
    (r"--dashboard 8080", "--dashboard 0"),
    (r"folder:DIR|--root DIR", lambda found: found[0].replace("DIR", "three")),
    (r" SOURCE", " recording.raw"),
)
FAILS = r"--min-accuracy|check "  # may say no: a random network is not accurate


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def reasons(line: Line) -> list[str]:
    return [why for pattern, why in NOT_RUN.items() if re.match(pattern, line.text)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_command_line_takes_every_command_that_a_page_shows(page: Path) -> None:
    for whole, lines in ((True, shell_lines(page)), (False, inline_lines(page))):
        for line in lines:
            for words in line.programs:
                if words != ["plif", "per-step"]:  # a name in the table of trainings
                    assert refusal(words, whole) is None, (line.text, refusal(words, whole))


def test_every_line_runs_here_or_says_why_not() -> None:
    lines = [line for page in PAGES for line in shell_lines(page)]
    unlisted = [line.text for line in lines if line.programs[0][0] != "plif" and not reasons(line)]
    assert not unlisted, unlisted
    unused = [pattern for pattern in NOT_RUN if not any(re.match(pattern, line.text) for line in lines)]
    assert not unused, unused
    named = {path for why in NOT_RUN.values() for path in re.findall(r"tests/\S+\.py", why)}
    assert not [path for path in named if not (REPOSITORY / path).is_file()]
    run_here = [line for line in lines if not reasons(line)]
    assert len(run_here) >= 80, len(run_here)  # of some 200


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    fill(folder)
    return folder


@contextmanager
def camera(port: int) -> Iterator[None]:
    """Sends events in the format t64 to a port of this machine for a while."""
    over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for number in range(1000):
                events = ((1000 * number + i, i % 34, number % 34, i % 2) for i in range(30))
                out.sendto(b"".join(struct.pack("<QHHB", *event) for event in events), ("127.0.0.1", port))
                if over.wait(0.01):
                    return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


DONE: set[str] = set()  # lines that several pages show are run once


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("page", "large"),
    [pytest.param(page, large, id=f"{name_of(page)}{'-large' * large}", marks=[pytest.mark.large] * large)
     for page in PAGES for large in (False, True) if any(not reasons(line) for line in shell_lines(page))],
)  # fmt: skip
def test_the_commands_of_a_page_run(
    page: Path,
    large: bool,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(workshop, folder)
    monkeypatch.chdir(folder)
    for line in shell_lines(page):
        if reasons(line) or (not large and (line.text in DONE or re.search(LARGE, line.text))):
            continue
        DONE.add(line.text) if not large else None
        for words in line.programs:
            if words[0] == "plif":
                code = run_smaller(words[1:])
                said = capfd.readouterr()
                assert code == 0 or (code == 1 and re.search(FAILS, line.text)), (line.text, code, said.err)


def test_each_reader_of_the_first_page_succeeds_after_make_demo(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what the demo leaves and with a file of the reader's own; and each finds what brought them."""
    table = (REPOSITORY / "docs" / "README.md").read_text().partition("| you have | type |")[2].partition("\n\n")[0]
    expected = {
        "a trained network and a camera": "answer ",
        "recordings of events": "duration ",
        "code of SpikingJelly, snnTorch or Norse": "0 differ",
        "a pipeline to run it in": '{"t_us": ',
    }
    assert re.findall(r"^\| ([^-|]+) \|", table, re.MULTILINE) == list(expected)
    monkeypatch.chdir(shutil.copytree(workshop, tmp_path / "here"))
    for (reader, said), text in zip(expected.items(), re.findall(r"`(.venv/bin/[^`]+)`", table), strict=True):
        words = shlex.split(text.rpartition(".venv/bin/plif ")[2])
        assert run_smaller(words) == 0, text
        printed = capfd.readouterr()
        assert said in printed.out + printed.err, (reader, printed)


def run_smaller(words: list[str]) -> int:
    """A documented command with less to do; a live one ends when its camera does."""
    text = "\n".join(words)
    for pattern, smaller in SMALLER:
        text = re.sub(pattern.replace(" ", "\n"), smaller if callable(smaller) else smaller.replace(" ", "\n"), text)
    words = text.split("\n")
    if words[0] == "train" and "--out" in words:
        Path(words[words.index("--out") + 1]).unlink(missing_ok=True)
    elif words[:2] == ["data", "gesture-sim"]:
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    live = [i for i, word in enumerate(words) if word.startswith("udp://")]
    if not live or words[0] == "send":
        return run(words)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for i in live:
        words[i] = f"udp://127.0.0.1:{port + i}?{words[i].partition('?')[2]}&end=0.3s"
    code: list[int] = []
    stream = threading.Thread(target=lambda: code.append(run(words)))
    with camera(port + live[0]):
        stream.start()
        stream.join(1.0)
    stream.join(30)
    return code[0] if code else -1
