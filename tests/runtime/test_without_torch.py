"""The runtime is what goes onto the edge box: it must work where torch and onnx are not installed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import plif_train
import runtime
from plif_export import export
from runtime import native
from runtime.events import write_nmnist
from runtime.simulate.digits import draw_digit
from runtime.simulate.saccades import record_digit
from tests.networks import firing

pytestmark = pytest.mark.filterwarnings("ignore:denormals")

# A finder that refuses what an edge box does not have, put in front of all others before anything is imported.
BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None
sys.meta_path.insert(0, Absent())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in {blocked!r} else real(name, package)
"""
TRAINING = ("torch", "onnx", "torchvision", "matplotlib", "spikingjelly")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edge")
    net = firing(
        "{c8k3s1-BN-PLIF-MPk2s2}*2-FC100-PLIF-APk10s10",
        shape=(2, 34, 34),
        T=8,
        classes=tuple("0123456789"),
        framing="count:T=8",
    )
    plif_train.save(net, folder / "model.pt")
    export(folder / "model.pt")
    rng = np.random.default_rng(0)
    write_nmnist(folder / "seven.bin", record_digit(draw_digit(7, rng), rng))
    return folder


def without(blocked: tuple[str, ...], program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = BLOCK.format(blocked=blocked) + program
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)


def outcomes(blocked: tuple[str, ...], commands: list[list[str]], folder: Path) -> list[tuple[int, str, str]]:
    """(exit code, standard output, standard error) of each command, one after the other in one process."""
    program = (
        "import contextlib, io, json\n"
        "from runtime.cli.main import run\n"
        f"for command in {commands!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:\n"
        "        code = run(command)\n"
        "    print(json.dumps([code, out.getvalue(), err.getvalue()]))\n"
    )
    done = without(blocked, program, folder)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_info_eval_and_stream_work_without_torch(folder: Path) -> None:
    commands = [
        ["info", "model.onnx"],
        ["info", "model.pt"],
        ["info"],
        ["eval", "model.onnx", "--data", "digits:20"],
        ["stream", "model.onnx", "seven.bin", "--json"],
        ["data"],
        ["--help"],
    ]
    for command, (code, out, err) in zip(commands, outcomes(TRAINING, commands, folder), strict=True):
        assert code == 0 and out, (command, err)


def test_info_and_data_work_without_an_engine(folder: Path) -> None:
    for code, _, err in outcomes((*TRAINING, "onnxruntime"), [["info", "model.onnx"], ["data"]], folder):
        assert code == 0, err


def test_a_missing_extra_is_one_line_that_says_what_to_install(folder: Path) -> None:
    extras = [
        (["export", "model.pt"], "plif[cpu,export]"),
        (["train", "nmnist", "--data", "digits"], "plif[train]"),
        (["verify", "model.onnx", "--against", "model.pt"], "plif[cpu,export]"),
        (["demo"], "plif[cpu,export]"),
        (["stream", "model.onnx", "seven.bin", "--engine", "onnxruntime"], "plif[cpu]"),
        (["eval", "model.pt", "--data", "digits"], "plif[train]"),
    ]
    found = outcomes((*TRAINING, "onnxruntime"), [arguments for arguments, _ in extras], folder)
    for (arguments, extra), (code, _, err) in zip(extras, found, strict=True):
        assert code == 2, arguments
        assert f"pip install '{extra}'" in err and err.count("\n") == 1, err


@pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler")
def test_without_onnx_runtime_the_event_engine_serves_and_says_why(folder: Path) -> None:
    arguments = ["eval", "model.onnx", "--data", "digits:20", "--json"]
    done = without((*TRAINING, "onnxruntime"), f"from runtime.cli.main import run; sys.exit(run({arguments}))", folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engine"] == "event"
    assert done.stderr == "plif: engine event: ONNX Runtime is not installed\n"


# What each way in may load. Names, not times: a name that creeps in costs every start of every process.
HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "matplotlib", "typer", "rich", "importlib.metadata", "subprocess")


def loaded(program: str, names: tuple[str, ...], folder: Path) -> list[str]:
    # -S: no site-packages hooks, which import what they like; the path is handed over instead
    code = f"import sys; sys.path[:] = {sys.path!r}\n{program}\nprint([m for m in {names!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_importing_the_runtime_loads_nothing_at_all(folder: Path) -> None:
    heavy = (*HEAVY, "numpy", "json", "pathlib", "dataclasses", "ctypes", "runtime.engines.session", "runtime.events")
    assert loaded("import runtime", heavy, folder) == []


@pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler")
def test_loading_an_artifact_loads_no_engine_but_its_own_and_no_command_line(folder: Path) -> None:
    assert loaded("import runtime; runtime.load('model.onnx', 'event')", HEAVY, folder) == []


def test_the_names_of_the_runtime_are_there_although_they_come_late() -> None:
    assert {"load", "Model", "Session", "PlifError", "CheckFailed"} <= set(dir(runtime))
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        runtime.lod  # noqa: B018


def test_the_command_line_loads_torch_only_for_commands_that_need_it(folder: Path) -> None:
    program = "import sys; from runtime.cli.main import run; run(['info', 'model.onnx']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_runtime_imports_nothing_of_the_other_packages() -> None:
    root = Path(runtime.__file__).parent
    for path in root.rglob("*.py"):
        if path.name == "cli.py" and path.parent == root:
            continue  # mounts their commands by name
        for line in path.read_text().splitlines():
            words = line.split()
            assert words[:1] not in (["import"], ["from"]) or not words[1].startswith(("plif_", "torch", "onnx.")), (
                path,
                line,
            )
