"""The state of a stream whose sensor is larger than the network's input."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime import native
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
                assert data[at + 8 : at + 16] == struct.pack("<q", 8)
                data = data[: at + 8] + struct.pack("<q", 6) + data[at + 16 :]
                if name == "0.frames.npy":
                    data = data[: at + 544] + struct.pack("<d", 1234.5) + data[at + 552 :]
            archive.writestr(name, data)
    rest, summary = streamed(model, events[3500:], framing=f"{BINARY},resize=sum", state=kept)
    assert [*found, *rest] == whole[: len(found) + len(rest)] and summary["events_not_shown"] == 0
    assert told["events_in"] == len(events)
