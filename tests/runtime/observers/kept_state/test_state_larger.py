"""The state of a stream whose sensor is larger than the network's input."""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from plif_train.core.loop import checkpoint
from runtime import native
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


def test_a_state_of_before_is_gone_on_with(folder: Path, events: np.ndarray, tmp_path: Path) -> None:
    """Its snapshots are of version 6, where a time of another clock lay in place of what was not shown."""
    model, state, kept = runtime.load(folder / "own.onnx"), tmp_path / "s.npz", str(tmp_path / "s.npz")
    whole, told = streamed(model, events, framing=f"{BINARY},resize=sum")
    found, _ = streamed(model, events[:3500], framing=f"{BINARY},resize=sum", state=kept)
    with zipfile.ZipFile(state) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert json.loads(parts["header.json"])["framing"] == f"{BINARY},resize=sum"
    with zipfile.ZipFile(state, "w") as archive:
        for name, data in parts.items():
            if (at := data.find(b"PLIFSNAP")) >= 0:
                assert data[at + 8 : at + 16] == struct.pack("<q", 7)
                data = data[: at + 8] + struct.pack("<q", 6) + data[at + 16 :]
                if name == "0.frames.npy":
                    data = data[: at + 544] + struct.pack("<d", 1234.5) + data[at + 552 :]
            archive.writestr(name, data)
    rest, summary = streamed(model, events[3500:], framing=f"{BINARY},resize=sum", state=kept)
    assert [*found, *rest] == whole[: len(found) + len(rest)] and summary["events_not_shown"] == 0
    assert told["events_in"] == len(events)
