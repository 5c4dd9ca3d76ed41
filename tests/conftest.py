"""Fixtures for all tests, and which of them `make quick` runs."""

from __future__ import annotations

import atexit
import importlib
import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import runtime  # noqa: F401  # before the libraries whose reports it switches off (runtime/core/base/telemetry.py)
from tests.recorded import SHARED, unpack_clips, unpack_digits
from tests.selection.imports import REPOSITORY, is_light, uses_removed_part

pytest_plugins = (
    *("tests.standin.fixtures", "tests.warm_child"),
    *(f"tests.selection.{name}" for name in ("measure", "select", "shards", "skips")),
)

# `auto` is the same engine in every run; the calibration has tests of its own.
os.environ.setdefault("PLIF_NO_CALIBRATION", "1")
# The list of written artifacts is not this user's: it would grow with every run.
if "XDG_STATE_HOME" not in os.environ:
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="plif-tests-state-")
    atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="tests that need neither PyTorch nor another process, and a few more"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files without a test that was asked for are not even imported, with --quick and with -m "machines ..."."""
    if not collection_path.match("test_*.py"):
        return None
    if config.getoption("--quick"):
        left_out = not is_light(collection_path) and "mark.quick" not in collection_path.read_text("utf-8")
    else:
        asked = config.getoption("markexpr").startswith("machines")
        left_out = asked and "mark.machines" not in collection_path.read_text("utf-8")
    return left_out or None


class _OfRemovedParts(pytest.Module):
    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip("it uses a part that was removed", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """A file that imports a part which was removed is skipped."""
    return _OfRemovedParts.from_parent(parent, path=module_path) if uses_removed_part(module_path) else None


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        chosen = {item for item in items if is_light(item.path) or item.get_closest_marker("quick")}
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = [item for item in items if item in chosen]
    tests: dict[str, list[pytest.Function]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("one_in"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tests.values():
        thin([case for case in cases if not case.get_closest_marker("large")])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Skips, with the reason, what needs something that SpikingJelly has since 2.0: Python 3.10 has only older ones."""
    try:
        return (yield)
    except (AttributeError, ImportError, TypeError) as error:
        if "spikingjelly" in str(error):
            needs_spikingjelly_2(str(error))
        raise


def needs_spikingjelly_2(why: str) -> None:
    if (version := importlib.metadata.version("spikingjelly")).startswith("0."):
        pytest.skip(f"SpikingJelly {version}: {why}")


def thin(cases: list[pytest.Function]) -> None:
    """Marks cases of a test `large`: all but one in so many, and but the first of each value of an axis. (A parameter that has
    another value in each case is no axis.)"""
    said = [{name: str(value) for name, value in case.callspec.params.items()} for case in cases]
    axes = [name for name in said[0] if 2 * len({values[name] for values in said}) <= len(cases)] if cases else []
    shown: set[tuple[str, str]] = set()
    for number, (case, values) in enumerate(zip(cases, said, strict=True)):
        mark = case.get_closest_marker("one_in")
        assert mark is not None
        new = {(name, values[name]) for name in axes} - shown
        if number % mark.args[0] and not new:
            case.add_marker(pytest.mark.large)
        else:
            shown |= new


def crossed(*axes: Sequence[Any], one_in: int = 2) -> list[Any]:
    """Parameters of a test: every combination of one value of each axis.

    One in two always runs, the rest is for `-m large`: every value of an axis meets every value of every other where there are
    three axes or more. Of two axes, and where one in more runs, every value still occurs.
    """
    combined = []
    for places in itertools.product(*(range(len(axis)) for axis in axes)):
        values = [axis[place] for axis, place in zip(axes, places, strict=True)]
        marks = [pytest.mark.large] if sum(places) % one_in else []
        combined.append(pytest.param(*values, marks=marks, id="-".join(map(str, values))))
    return combined


def interruptible(command: list[str], deaf_to: tuple[int, ...] = (), **options: Any) -> subprocess.Popen[str]:
    """A process that signals reach, with its output in pipes, wherever the tests run; it ignores those of `deaf_to`.

    A shell starts background jobs with SIGINT ignored, nohup with SIGHUP, and children inherit that.
    """

    def listen() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN if number in deaf_to else signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, preexec_fn=listen, **{**pipes, **options})


def pyproject() -> dict[str, Any]:
    """What pyproject.toml says. (Python 3.10 has no reader of its own; the extra train brings one.)"""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return toml.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))


def load_script(path: Path) -> ModuleType:
    """A program that is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def digits_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network of `tests.networks`, exported as m.onnx: frames of 20 ms. Alone in its folder; read only."""
    from plif_export import export
    from tests.networks import digits_network

    return export(digits_network(), tmp_path_factory.mktemp("digits") / "m.onnx").path


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six real clips of DVS128 Gesture, <label>_<name>.bs2; read only."""
    return unpack_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def nmnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real N-MNIST in its layout, read only: Test/ has 100 recordings, Train/ 60, or 1000 where they are here."""
    more = SHARED / "nmnist_small"
    return more if more.is_dir() else unpack_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings and networks that may not be published; tests that need them skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("needs recordings and networks that may not be published (../shared/data)")
    return SHARED


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Bytes -> a file with them."""

    def write(data: bytes, name: str = "recording.raw") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write
