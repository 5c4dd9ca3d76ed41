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
from runtime.api import Model
from runtime.native import is_built
from tests.networks import firing, frames

ENGINES = ("event", "onnxruntime", "openvino")
T, STREAMS = 40, 8


@cache
def spiking_frames() -> np.ndarray:
    """float32 [T, STREAMS, C, H, W], on which every layer fires."""
    return frames(firing(), np.random.default_rng(8), T=T, streams=STREAMS)


def needs(engine: str) -> None:
    """Skips a test, with the reason, where this engine is not there."""
    if engine == "event" and not is_built():
        pytest.skip("the event engine is not built here (no C compiler at installation)")
    if engine == "openvino" and find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")


class Artifacts:
    """The network in a folder of its own, written once for each engine and form that asks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, engine: str, form: str = "step") -> Path:
        target = "openvino" if engine == "openvino" else "onnx"
        path = self.folder / f"{form}{'_openvino' if target == 'openvino' else '.onnx'}"
        if not path.exists():
            export(firing(), path, to=target, form=form, verify=False)
        return path

    def load(self, engine: str, form: str = "step", **options: Any) -> Model:
        needs(engine)
        return runtime.load(self.path(engine, form), engine, **options)
