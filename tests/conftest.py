"""Fixtures for all tests."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import runtime  # noqa: F401  # before the libraries whose reports it switches off (runtime/base/telemetry.py)
from tests.recorded import SHARED, unpack_clips, write_digits

pytest_plugins = ("tests.standin.fixtures",)

REPOSITORY = Path(__file__).resolve().parent.parent

# `auto` is the same engine in every run; the calibration has tests of its own.
os.environ.setdefault("PLIF_NO_CALIBRATION", "1")


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
    """N-MNIST in its layout, 100 recordings in Test/: real ones where they are on this machine, else simulated; read only."""
    real = SHARED / "nmnist_small"
    return real if real.is_dir() else write_digits(tmp_path_factory.mktemp("nmnist"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings that may not be published with the project; tests that need them skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("the real recordings (../shared/data) are not on this machine")
    return SHARED
