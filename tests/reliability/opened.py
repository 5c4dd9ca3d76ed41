"""One small network, opened by every engine that runs on this machine; what tests of reliability share."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from plif_train.core.network.network import Network
from runtime.core.api import Model
from runtime.native import is_built
from tests.networks import firing, frames

ENGINES = ("event", "onnxruntime", "openvino")
T, STREAMS = 40, 8


@cache
def spiking_frames() -> np.ndarray:
    """float32 [T, STREAMS, C, H, W], on which every layer fires."""
    return frames(network(), np.random.default_rng(8), T=T, streams=STREAMS)


def needs(engine: str) -> None:
    """Skips a test, with the reason, where this engine is not there."""
    if engine == "event" and not is_built():
        pytest.skip("the event engine is not built here (no C compiler at installation)")
    if engine == "openvino" and find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")


def written(engine: str, net: Network, folder: Path, form: str = "step", math: str = "folded") -> Path:
    """The artifact of this network that the engine opens."""
    needs(engine)
    to, suffix = ("openvino", "_openvino") if engine == "openvino" else ("onnx", ".onnx")
    path = folder / f"{form}_{math}{suffix}"
    return path if path.exists() else export(net, path, to=to, form=form, math=math, verify=False).path


def opened(engine: str, net: Network, folder: Path, form: str = "step", math: str = "folded", **options: Any) -> Model:
    return runtime.load(written(engine, net, folder, form, math), engine, **options)


@cache
def network() -> Network:
    return firing()


class Artifacts:
    """The network of tests.networks in a folder, written once for each engine and form that is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, engine: str) -> Path:
        return written(engine, network(), self.folder)

    def load(self, engine: str, form: str = "step", **options: Any) -> Model:
        return opened(engine, network(), self.folder, form, **options)
