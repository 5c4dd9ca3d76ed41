"""A recording of a sensor that is larger than the network's input."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from plif_train.core.loop import checkpoint
from runtime import native
from runtime.core.base.errors import PlifWarning
from runtime.observers.record.recorder import Recorder
from runtime.sources.push import PushSource
from tests.networks import firing
from tests.recordings import some_events

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]


SMALL, LARGE = (34, 34), (90, 70)  # of the training, and of a camera


BINARY = "duration:9ms,value=binary"


def saved(folder: Path, name: str, size: list[int] | None, text: str = BINARY) -> Path:
    """A network whose card says that it was trained on a sensor of this size."""
    net = firing("c4k4s4-BN-PLIF-FC30-PLIF-APk10s10", (2, 34, 34), T=8, framing=text)
    net.meta = replace(net.meta, trained_on={"samples": 9, "size": size})
    checkpoint.save(net, folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own.plif, of a network that learned single pixels, other.plif, of one that did not; own.pt, own.onnx."""
    place = tmp_path_factory.mktemp("larger")
    for name, size in (("own", [*SMALL]), ("other", [346, 260])):
        export(saved(place, name, size), place / f"{name}.plif", to="plif", verify=False)
    export(place / "own.pt", place / "own.onnx", verify=False)
    return place


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return some_events(6000, seed=4, width=LARGE[0], height=LARGE[1])


def streamed(model: runtime.Model, events: np.ndarray, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    source = PushSource(*LARGE)
    source.push(events)
    source.end()
    running = model.stream(source, decide="sum", reset="never", overload="drop:1000", **options)
    return [(d.t_us, d.step, d.label, d.score, [*map(float, d.votes)]) for d in running], {**running.summary()}


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
