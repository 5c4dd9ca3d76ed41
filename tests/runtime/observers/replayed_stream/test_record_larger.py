"""A recording of a sensor that is larger than the network's input."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime import native
from runtime.core.base.errors import PlifWarning
from runtime.observers.replayed_stream.recorder import Recorder
from tests.larger import BINARY, events_of_camera, streamed, written

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("larger"))


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return events_of_camera()


def test_a_recording_of_before_is_replayed_with_sums(folder: Path, events: np.ndarray, tmp_path: Path) -> None:
    model = runtime.load(folder / "own.onnx")
    with Recorder(tmp_path / "r") as recorder:
        first, _ = streamed(model, events, framing=f"{BINARY},resize=sum", observers=[recorder])
    place = tmp_path / "r" / "recording.json"
    assert place.read_text().count(f'"{BINARY},resize=sum"') == 1
    place.write_text(place.read_text().replace(f'"{BINARY},resize=sum"', f'"{BINARY}"'))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlifWarning)
        again = [(d.t_us, d.step, d.label, d.score, [*map(float, d.votes)]) for d in model.stream(str(tmp_path / "r"))]
    assert again == first != streamed(model, events, framing=BINARY)[0]
