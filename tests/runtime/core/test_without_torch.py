"""The runtime is what goes onto the edge box: it must work where torch and onnx are not installed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import plif_train
import runtime
from plif_export import export
from runtime import native
from runtime.core.events import write_nmnist
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit
from tests.networks import firing

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


# Runs several commands in one process and prints what each gave.
COMMANDS = """
import contextlib, io, json
from runtime.core.cli.main import run
outcomes = []
for command in {commands!r}:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command)
    outcomes.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(outcomes))
"""

WORKS = (
    "--help",
    "info model.onnx",
    "info model.pt",
    "info",
    "data",
    "eval model.onnx --data digits:20",
    "stream model.onnx seven.bin --json",
)
WORKS_WITHOUT_AN_ENGINE = ("info model.onnx", "data")
MISSES = {
    "export model.pt": "plif[cpu,export]",
    "train nmnist --data digits": "plif[train]",
    "verify model.onnx --against model.pt": "plif[cpu,export]",
    "demo": "plif[cpu,export]",
    "stream model.onnx seven.bin --engine onnxruntime": "plif[cpu]",
    "eval model.pt --data digits": "plif[train]",
}
EVENT = "eval model.onnx --data digits:20 --json"

Outcomes = dict[str, tuple[int, str, str]]  # command -> exit code, stdout, stderr


def without(blocked: tuple[str, ...], commands: tuple[str, ...], folder: Path) -> Outcomes:
    code = BLOCK.format(blocked=blocked) + COMMANDS.format(commands=[command.split() for command in commands])
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return dict(zip(commands, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def without_torch(folder: Path) -> Outcomes:
    return without(TRAINING, WORKS, folder)


@pytest.fixture(scope="module")
def without_an_engine(folder: Path) -> Outcomes:
    commands = (*WORKS_WITHOUT_AN_ENGINE, *MISSES, *([EVENT] if native.is_built() else []))
    return without((*TRAINING, "onnxruntime"), commands, folder)


@pytest.mark.parametrize("command", WORKS)
def test_info_eval_and_stream_work_without_torch(without_torch: Outcomes, command: str) -> None:
    code, out, err = without_torch[command]
    assert code == 0, err
    assert out


@pytest.mark.parametrize("command", WORKS_WITHOUT_AN_ENGINE)
def test_info_and_data_work_without_an_engine(without_an_engine: Outcomes, command: str) -> None:
    code, _, err = without_an_engine[command]
    assert code == 0, err


@pytest.mark.parametrize("command", MISSES)
def test_a_missing_extra_is_one_line_that_says_what_to_install(without_an_engine: Outcomes, command: str) -> None:
    code, _, err = without_an_engine[command]
    assert code == 2
    assert f"pip install '{MISSES[command]}'" in err and err.count("\n") == 1, err


def test_help_says_which_commands_are_not_installed(without_torch: Outcomes) -> None:
    lines = [line.strip() for line in without_torch["--help"][1].splitlines()]
    for command, extra in (("train", "train"), ("paper", "train"), ("export", "cpu,export"), ("check", "cpu,export")):
        assert any(line.split() == [command, *f"Not installed: pip install 'plif[{extra}]'".split()] for line in lines)


@pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler")
def test_without_onnx_runtime_the_event_engine_serves_and_says_why(without_an_engine: Outcomes) -> None:
    code, out, err = without_an_engine[EVENT]
    assert code == 0, err
    assert json.loads(out)["engine"] == "event"
    assert err == "plif: engine event: ONNX Runtime is not installed: pip install 'plif[cpu]'\n"


# What each way in may load. Names, not times: a name that creeps in costs every start of every process.
ENGINES = ("torch", "onnx", "onnxruntime", "openvino", "matplotlib")
HEAVY = (*ENGINES, "typer", "rich", "importlib.metadata", "subprocess")
# What `plif --help` and `plif info MODEL` start without (python bench/startup.py --command).
NOT_TO_START = (
    *ENGINES, "numpy", "pydantic", "rich", "_hashlib", "asyncio", "ctypes", "email", "importlib.metadata",
    "importlib.resources", "socket", "tempfile", "zipfile", "runtime.core.api", "runtime.formats.child.children",
    "runtime.formats.hdf5.tree",
)  # fmt: skip


def loaded(program: str, names: tuple[str, ...], folder: Path) -> list[str]:
    # -S: no site-packages hooks, which import what they like; the path is handed over instead
    code = f"import sys; sys.path[:] = {sys.path!r}\n{program}\nprint([m for m in {names!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_importing_the_runtime_loads_nothing_at_all(folder: Path) -> None:
    heavy = (
        *HEAVY,
        "numpy",
        "json",
        "pathlib",
        "dataclasses",
        "ctypes",
        "runtime.core.engines.session",
        "runtime.core.events",
    )
    assert loaded("import runtime", heavy, folder) == []


@pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler")
def test_loading_an_artifact_loads_no_engine_but_its_own_and_no_command_line(folder: Path) -> None:
    heavy = (*HEAVY, "zipfile", "shutil", "xml.etree.ElementTree", "runtime.artifacts.plif_file.facts")
    found = loaded("import runtime; runtime.load('model.onnx', 'event').session()", heavy, folder)
    assert set(found) <= set(loaded("import numpy", heavy, folder))  # NumPy 1.26 loads subprocess


def test_the_names_of_the_runtime_are_there_although_they_come_late() -> None:
    assert {"load", "Model", "Session", "PlifError", "CheckFailed"} <= set(dir(runtime))
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        runtime.lod  # noqa: B018


def test_info_loads_no_module_of_another_command(folder: Path) -> None:
    program = """
import contextlib, io
from runtime.core.cli.main import list_all_commands, run
with contextlib.redirect_stdout(io.StringIO()):
    assert run(["info", "model.onnx"]) == 0
ours = [name for name in sys.modules if name.partition(".")[0] in ("runtime", "plif_train", "plif_export")]
assert len(ours) <= 32, ours
every = list_all_commands().values()
assert {f"{each.module}.{each.run}".partition(":")[0] for each in every} & set(ours) == {"runtime.core.cli.info"}
"""
    assert loaded(program, NOT_TO_START, folder) == []


def test_help_names_every_command_with_what_it_does_and_loads_none(folder: Path) -> None:
    program = """
import contextlib, io, sys
from runtime.core.cli.main import list_all_commands, run
with contextlib.redirect_stdout(io.StringIO()) as out:
    assert run(["--help"]) == 0
lines = [line for line in out.getvalue().partition("Commands:")[2].splitlines() if line[2:3].strip()]
assert [line.split("  ")[1] for line in lines] == list(list_all_commands()), lines
assert all(len(line.split()) > 3 for line in lines), lines
every = list_all_commands().values()
assert not {f"{each.module}.{each.run}".rpartition(":")[0] or each.module for each in every} & set(sys.modules)
"""
    assert loaded(program, NOT_TO_START, folder) == []


def test_the_runtime_imports_nothing_of_the_other_packages() -> None:
    root = Path(runtime.__file__).parent
    for path in root.rglob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            assert words[:1] not in (["import"], ["from"]) or not words[1].startswith(("plif_", "torch", "onnx.")), (
                path,
                line,
            )


def test_onnx_runtime_reports_to_nobody_unless_the_user_wants_it_to() -> None:
    program = "import os, runtime.core.engines.onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for set_by_user, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
        done = subprocess.run(
            [sys.executable, "-c", program], env={**environment, **set_by_user}, capture_output=True, text=True
        )
        assert done.stdout.split() == [expected], done
