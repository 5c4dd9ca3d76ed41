"""How commands end: a reader that goes away, outputs that are closed or full, Ctrl-C while the command is being loaded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from runtime.core.api import load
from runtime.core.events import write_nmnist
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit
from tests.conftest import REPOSITORY, interruptible

PLIF = [sys.executable, "-m", "runtime.core.cli"]
DIGITS = ["stream", "m.onnx", "sim:digits?seed=1&seconds=80000"]


@pytest.fixture(scope="module")
def folder(digits_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ends")
    rng = np.random.default_rng(0)
    write_nmnist(folder / "seven.bin", record_digit(draw_digit(7, rng), rng))
    (folder / "m.onnx").symlink_to(digits_onnx)
    (folder / "m.pt").symlink_to(REPOSITORY / "models" / "nmnist-digits.pt")
    return folder


def unread(folder: Path, arguments: list[str], of: str = "stdout") -> tuple[int, str]:
    """The exit code of a command whose output nobody reads, and what it says on the other one."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as pipe:
        outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, of: pipe}
        done = subprocess.run([*PLIF, *arguments], cwd=folder, timeout=100, text=True, **outputs)
    return done.returncode, (done.stdout or "") + (done.stderr or "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["info", "m.onnx", "--json"],
        DIGITS,
        ["eval", "m.onnx", "--data", "digits:20", "--json"],
        ["predict", "m.onnx", "seven.bin", "--sensor", "34x34"],
        pytest.param(["bench", "m.onnx", "--seconds", "0.1", "--threads", "1"], marks=pytest.mark.large),
        pytest.param(["check", "m.pt"], marks=pytest.mark.large),
        pytest.param(["check", "m.pt", "--json"], marks=pytest.mark.large),
        pytest.param(["export", "m.pt", "--no-verify", "-o", "x.onnx"], marks=pytest.mark.large),
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[3:]),
)
def test_a_command_whose_output_nobody_reads_ends_as_yes_does_and_says_nothing(
    folder: Path, arguments: list[str]
) -> None:
    code, said = unread(folder, arguments)
    assert code == 141 and all("engine event" in line or "without proof" in line for line in said.splitlines()), said


def test_so_does_one_whose_errors_nobody_reads(folder: Path) -> None:
    assert unread(folder, ["nonsense"], "stderr") == (141, "")


def test_a_stream_to_head_ends_and_its_recording_is_whole(folder: Path, tmp_path: Path) -> None:
    process = interruptible([*PLIF, *DIGITS, "--json", "--record", str(tmp_path / "r")], cwd=folder)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(60) == 141 and said.count("\n") == said.count("plif: engine"), said
    summary = json.loads((tmp_path / "r" / "metrics.json").read_text())
    lines = (tmp_path / "r" / "decisions.jsonl").read_text().splitlines()
    assert summary["complete"] and len(lines) == summary["frames"] > 0
    assert len(list(load(folder / "m.onnx").stream(str(tmp_path / "r")))) == len(lines)


def test_the_step_whose_line_nobody_reads_is_recorded_too(folder: Path, tmp_path: Path) -> None:
    assert unread(folder, [*DIGITS, "--record", str(tmp_path / "r")])[0] == 141
    summary = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert len((tmp_path / "r" / "decisions.jsonl").read_text().splitlines()) == summary["decisions"] > 0


def test_a_pipe_of_another_kind_that_breaks_is_an_error() -> None:
    program = "from runtime.core.cli import main as cli\ndef run(_):\n    raise BrokenPipeError(32, 'Broken pipe')\n"
    program += "cli.invoke = run\ncli.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "plif: error: Broken pipe\n")


@pytest.mark.parametrize("arguments", (["--version"], ["info", "m.onnx", "--json"], ["nonsense"]))
def test_a_full_disk_behind_an_output_is_exit_code_2_and_at_most_a_line(folder: Path, arguments: list[str]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    for errors, said in ((subprocess.PIPE, "plif: error: "), (subprocess.STDOUT, None)):
        with open("/dev/full", "w") as full:
            done = subprocess.run([*PLIF, *arguments], cwd=folder, stdout=full, stderr=errors, text=True, timeout=60)
        assert done.returncode == 2
        assert said is None or (done.stderr.startswith(said) and done.stderr.count("\n") == 1), done.stderr


def test_outputs_that_were_closed_are_nobodys(folder: Path, tmp_path: Path) -> None:
    """Neither a file that is opened later nor the other output gets what was meant for them."""
    plif = " ".join(f"'{part}'" for part in PLIF)
    run = f"{plif} stream m.onnx 'sim:digits?seed=1&seconds=1' --json --record '{tmp_path}'"
    done = subprocess.run(f"{run}/out >&-; {run}/err 2>&-", cwd=folder, shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and all(json.loads(line) for line in done.stdout.splitlines())
    assert not [line for line in done.stderr.splitlines() if not line.startswith("plif: engine ")]
    for name in ("events.aedat", "decisions.jsonl"):
        first, second = ((tmp_path / which / name).read_text(errors="replace") for which in ("out", "err"))
        assert first.count("latency_ms") == second.count("latency_ms")
    done = subprocess.run(f"{plif} nonsense 2>&-", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")


# --- Ctrl-C while a command is loaded -------------------------------------------------------------------------------

AT_AN_IMPORT = """
import os, signal, sys
class At:
    def find_spec(self, name, *_):
        if name == at:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, At())
at = sys.argv.pop(1)
from runtime.core.cli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "at"),
    [
        (["info"], "runtime.core.cli.main"),
        (["info"], "typing"),
        (["info"], "runtime.core.base.errors"),
        (["info"], "typer"),
        (["info"], "runtime.core.cli.info"),
        (DIGITS, "runtime.core.cli.stream"),
        (DIGITS, "numpy"),
        (DIGITS, "runtime.core.stream.run"),
    ],
)
def test_ctrl_c_at_any_import_is_an_interrupt(folder: Path, arguments: list[str], at: str) -> None:
    process = interruptible([sys.executable, "-c", AT_AN_IMPORT, at, *arguments], cwd=folder)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.splitlines()[-1] == "plif: interrupted" and "Traceback" not in err, err
    assert at not in ("typing", "typer") or out == ""


@pytest.mark.parametrize("how", (signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.large)))
@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "m.pt", "-o", "x.onnx"],
        ["train", "mnist", "--data", "digits:20", "--out", "x.pt"],
        ["eval", "m.pt", "--data", "digits:20"],
        ["stream", "m.pt", "sim:digits?seed=1&seconds=1"],
        pytest.param(["verify", "m.onnx", "--against", "m.pt"], marks=pytest.mark.large),
        pytest.param(["check", "m.pt"], marks=pytest.mark.large),
        pytest.param(["demo"], marks=pytest.mark.large),
    ],
    ids=lambda arguments: arguments[0],
)
def test_ctrl_c_while_a_command_loads_pytorch_ends_it_at_once(
    folder: Path, arguments: list[str], how: signal.Signals
) -> None:
    """It would take a minute here, which nobody waits for."""
    program = AT_AN_IMPORT.replace("SIGINT)", f"{how.name})\n            import time; time.sleep(30)")
    process = interruptible([sys.executable, "-c", program, "torch", *arguments], cwd=folder)
    out, err = process.communicate(timeout=15)
    assert process.returncode == (130 if arguments[0] == "stream" else 128 + how), err
    assert (out, err) == ("", "plif: interrupted\n")


def test_ctrl_c_during_an_import_of_a_command_that_has_begun_waits_until_it_is_over(tmp_path: Path) -> None:
    """Somebody has files open, and removes them."""
    (tmp_path / "slow.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\nprint('loaded')")
    (tmp_path / "deep.py").write_text(
        "def go(_):\n try:\n  import slow, time\n  time.sleep(60)\n finally:\n  print('removed')"
    )
    program = "from runtime.core.cli import main as cli\nimport deep\ncli.run = deep.go\ncli.main()"
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"}
    process = interruptible([sys.executable, "-c", program], env=environment)
    out, err = process.communicate(timeout=15)
    assert (process.returncode, out, err) == (130, "loaded\nremoved\n", "plif: interrupted\n")


def test_ctrl_c_in_a_destructor_is_not_lost() -> None:
    program = """
import os, signal, time
from runtime.core.cli import main as cli
class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        len([None for _ in range(1000)])
def run(_):
    Held()
    time.sleep(100)
cli.run = run
cli.main()
"""
    process = interruptible([sys.executable, "-c", program])
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "plif: interrupted\n")


@pytest.mark.parametrize(
    ("how", "seconds", "code"), [("INT", 3600, 130), ("INT INT", 3600, 130), ("TERM", 3600, 143), ("KILL", 0.1, -9)]
)
def test_processes_that_simulate_end_with_their_command(tmp_path: Path, how: str, seconds: float, code: int) -> None:
    """However it ends. They hold its stderr, so nobody reads to the end of that before they are gone."""
    job = f"__import__('time').sleep({seconds}) or 1"
    program = f"""
from runtime.core.cli import main as cli
from runtime.datasets.simulated_camera.simulated_set import run_jobs
def run(_):
    run_jobs(eval, ["1", "1", *[{job!r}] * 1000], 2, 0, 1002, lambda done, total: print(done, flush=True))
cli.run = run
cli.main()
"""
    process = interruptible([sys.executable, "-c", program])
    assert process.stdout is not None
    while process.stdout.readline() != "2\n":
        assert process.poll() is None
    for name in how.split():
        process.send_signal(signal.Signals[f"SIG{name}"])
    _, err = process.communicate(timeout=60)
    assert process.returncode in (code, -2 if "INT INT" in how else code) and "Traceback" not in err


def test_the_command_holds_ctrl_c_before_it_loads_what_takes_long() -> None:
    assert '\nplif = "runtime.core.cli.__main__:main"\n' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    program = "import sys, runtime.core.cli.__main__; print({'typing', 'typer', 'contextlib'} & {*sys.modules})"
    bare = {"env": {"PYTHONPATH": str(REPOSITORY)}, "capture_output": True, "text": True}
    assert subprocess.run([sys.executable, "-S", "-c", program], **bare).stdout == "set()\n"


@pytest.mark.large
@pytest.mark.parametrize("arguments", (["--version"], DIGITS, ["export", "m.pt", "--no-verify", "-o", "x.onnx"]))
def test_ctrl_c_at_any_moment_of_the_first_half_second_is_an_interrupt(folder: Path, arguments: list[str]) -> None:
    """But for Python's own start, which is over when the command's first file is there; and what is done stays done."""
    for wait_ms in range(0, 500, 20):
        process = interruptible([*PLIF, *arguments], cwd=folder, stdout=subprocess.DEVNULL)
        time.sleep(wait_ms / 1000)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        if "Traceback" in err:
            assert "runtime/core/cli" not in err, (wait_ms, err)
        else:
            assert process.returncode in (0, 130, -signal.SIGINT), (wait_ms, err)
