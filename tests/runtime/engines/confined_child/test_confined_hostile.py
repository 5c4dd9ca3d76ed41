"""What a graph does that was made to harm, and what a process that fell to one may answer: one line, and nothing else."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.engines.confined_child import engine
from runtime.formats.child.children import find_missing_protections
from tests.conftest import REPOSITORY
from tests.networks import digits_network, frames
from tests.runtime.engines.confined_child.attacks import write_memory_hog

# A process that was taken over: the program as it is, but for what it answers to the message number NUMBER (0: it is open).
TAKEN_OVER = """
import os, runpy, sys, time
import numpy as np
from runtime.engines.confined_child import memory
from runtime.formats.child import records

answers, write, shared = [], records.write_record, []

def lie(tag, payload=b""):
    answers.append(tag)
    if len(answers) == NUMBER + 1:
        LIE
    write(tag, payload)

share = memory.SharedMemory.share_arrays

def remember(self, *arguments, **options):
    shared.append((self, share(self, *arguments, **options)))
    return shared[-1][1]

memory.SharedMemory.share_arrays = remember
records.write_record = lie
runpy.run_path(PROGRAM, run_name="__main__")
"""
OTHER_ANSWER = "gave another answer than was asked for"
LIES = {
    "another tag": ('tag = b"X"', OTHER_ANSWER),
    "a payload": ('payload = b"12345678"', OTHER_ANSWER),
    "a record of a terabyte": (
        'sys.stdout.buffer.write(b"Z" + (1 << 40).to_bytes(8, "little")); os._exit(0)',
        OTHER_ANSWER,
    ),
    "half a record": ('sys.stdout.buffer.write(b"Z123"); sys.stdout.flush(); os._exit(7)', "ended with code 7"),
    "nothing": ("os._exit(3)", "ended with code 3"),
    "a crash": ("import ctypes; ctypes.string_at(0)", "crashed"),
    "an abort": ("os.abort()", "crashed"),
    "silence": ("time.sleep(1000)", "has not come to an end after 3 s"),
    "a closed output": ("sys.stdout.close(); time.sleep(1000)", "has not come to an end after 3 s"),
    "lines and colours": (r'tag, payload = b"E", b"a\nb\x1b[31mc" * 1000', "a?b?[31mc"),
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("confined")
    export(digits_network(), folder / "step.onnx", verify=False)
    export(digits_network(), folder / "loop.onnx", form="loop", verify=False)
    return folder


def take_over(monkeypatch: pytest.MonkeyPatch, folder: Path, lie: str, number: int) -> None:
    program = folder / "taken_over.py"
    text = TAKEN_OVER.replace("NUMBER", str(number)).replace("LIE", lie).replace("PROGRAM", repr(str(engine.PROGRAM)))
    program.write_text(text)
    monkeypatch.setattr(engine, "PROGRAM", program)
    monkeypatch.setattr(engine, "CALL_S", 3.0)


def step(path: Path, steps: int = 2) -> np.ndarray:
    session = runtime.load(path, "onnxruntime", confined="on").session()
    return session.run(frames(digits_network(), np.random.default_rng(0), T=steps, streams=1))


@pytest.mark.parametrize("number", [0, 1, 3])  # when it has opened the file, made a session, run a step
@pytest.mark.parametrize("lie", LIES)
def test_a_process_that_was_taken_over_is_one_line_whatever_it_answers(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str, number: int
) -> None:
    code, said = LIES[lie]
    take_over(monkeypatch, tmp_path, code, number)
    began = time.monotonic()
    with pytest.raises(PlifError) as caught:
        step(digits / "step.onnx")
    assert said in str(caught.value) and str(caught.value).startswith(f"{digits / 'step.onnx'}: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2000
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("array", ["y", "rates[0]", "v[1]"])
def test_numbers_that_are_not_finite_are_refused(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: str, value: str
) -> None:
    lie = f"shared[-1][1].{array}.reshape(-1)[0] = np.float32('{value}')"
    take_over(monkeypatch, tmp_path, lie, number=4 if array[0] == "v" else 3)
    session = runtime.load(digits / "step.onnx", "onnxruntime", confined="on", rates=True).session()
    with pytest.raises(PlifError, match="its answer has numbers that are not finite"):
        session.step(frames(digits_network(), np.random.default_rng(0), T=1, streams=1)[0])
        session.snapshot()


@pytest.mark.parametrize("size", ["0", "1 << 30"])
def test_nobody_there_changes_the_size_of_the_shared_memory(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """Smaller, this process would be killed when it reads; larger, it would be charged for it."""
    if sys.platform != "linux":
        pytest.skip("only Linux has seals")
    lie = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"        try: os.ftruncate(shared[-1][0].descriptor, {size})\n"
        "        except OSError as error: tag, payload = b'E', f'REFUSED {error.errno}'.encode()\n"
    )
    take_over(monkeypatch, tmp_path, lie, number=3)
    with pytest.raises(PlifError, match="REFUSED"):
        step(digits / "step.onnx")


@pytest.mark.parametrize(
    "act",
    [
        "open('/etc/passwd').read()",
        "open(os.path.join(os.path.dirname(sys.argv[0]), 'secret')).read()",
        "open('/tmp/plif-written', 'w').write('x')",
        "__import__('socket').create_connection(('127.0.0.1', 9), 1)",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.fork()",
        "os.kill(os.getppid(), 0)",
    ],
)
def test_it_has_no_right_but_to_read_its_artifact(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    if missing := find_missing_protections():
        pytest.skip(f"this machine lacks {missing}")
    lie = f"try: {act}\n        except OSError: pass\n        else: tag, payload = b'E', b'DONE IT'"
    (tmp_path / "secret").write_text("secret")
    take_over(monkeypatch, tmp_path, lie, number=3)
    step(digits / "step.onnx")


def test_a_process_that_is_killed_is_one_line_and_so_are_later_steps(digits: Path) -> None:
    model = runtime.load(digits / "step.onnx", "onnxruntime", confined="on")
    session, x = model.session(), frames(digits_network(), np.random.default_rng(0), T=1, streams=1)[0]
    session.step(x)
    os.kill(model.engine._child._process.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.raises(PlifError, match=r"step\.onnx: the confined process that runs it was killed"):
        session.step(x)
    with pytest.raises(PlifError, match="has ended; open it again"):
        session.step(x)


def test_the_process_ends_with_its_engine_and_survives_what_a_terminal_and_a_service_send(digits: Path) -> None:
    model = runtime.load(digits / "step.onnx", "onnxruntime", confined="on")
    session, x = model.session(), frames(digits_network(), np.random.default_rng(0), T=1, streams=1)[0]
    process = model.engine._child._process  # type: ignore[attr-defined]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, number)
    session.step(x)
    del model, session
    assert process.wait(10) == -signal.SIGKILL


LIMITED = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
from runtime.core.cli.main import run
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = run(sys.argv[2:])
print(json.dumps([code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


@pytest.mark.parametrize("form", ["step", "loop"])
@pytest.mark.parametrize(
    ("numbers", "copies"), [([1 << 20, 1 << 20], 1), ([1 << 24], 100)], ids=["at once", "without end"]
)
def test_a_graph_that_asks_for_memory_ends_in_one_line_and_this_process_stays_small(
    digits: Path, tmp_path: Path, form: str, numbers: list[int], copies: int
) -> None:
    """2^40 numbers at once; and 64 MiB again and again. With less memory than a user has, so that it ends soon."""
    path = write_memory_hog(digits / f"{form}.onnx", tmp_path / "hog.onnx", numbers, copies)
    words = [
        str(3 << 30),
        "eval",
        str(path),
        "--data",
        "digits:4",
        "--engine",
        "onnxruntime",
        "--threads",
        "1",
        "--batch",
        "1",
    ]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, env=environment)
    assert done.stdout, done.stderr
    code, grown_kb = json.loads(done.stdout.splitlines()[-1])
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert code == 2 and len(errors) == 1 and errors[0].startswith(f"plif: error: {path}: "), done.stderr
    assert "memory" in errors[0] or "Expand" in errors[0] or "bad_alloc" in errors[0]
    assert grown_kb < 300 << 10


WITHOUT_LANDLOCK = """
import ctypes, json, sys
import numpy as np
import runtime
from runtime.formats.child import sandbox
from runtime.formats.child.children import find_missing_protections

always, sandbox.ALWAYS = sandbox.ALWAYS, "syslog 103 116"  # this process still shares memory, and ends its children
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
sandbox.apply_seccomp(sandbox.Rights(None, network=True, processes=True, owners=True))
sandbox.ALWAYS = always
session = runtime.load(sys.argv[1], "onnxruntime", confined="on").session()
y = session.run(np.ones((8, 1, *session.model.card["input"]["shape"]), np.float32))
print(json.dumps([float(y.sum()), find_missing_protections()]))
"""


def test_where_a_protection_is_missing_the_others_are_used_and_it_is_said_as_of_other_processes(digits: Path) -> None:
    """A kernel that does not know landlock: ours, which seccomp makes one for that process and its children."""
    if "seccomp" in find_missing_protections():
        pytest.skip("no seccomp")
    command, environment = [sys.executable, "-c", WITHOUT_LANDLOCK], {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([*command, str(digits / "step.onnx")], capture_output=True, text=True, env=environment)
    total, missing = json.loads(done.stdout)
    session = runtime.load(digits / "step.onnx", "onnxruntime").session()
    assert total == float(session.run(np.ones((8, 1, *session.model.card["input"]["shape"]), np.float32)).sum())
    assert missing == {"landlock": "this kernel has none (Linux has it since 5.13)"}, done.stderr


def test_where_no_memory_can_be_shared_it_is_one_line(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has memory files")

    def refuse(*_: object) -> int:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(PlifError, match="no memory can be shared here"):
        runtime.load(digits / "step.onnx", "onnxruntime", confined="on")
