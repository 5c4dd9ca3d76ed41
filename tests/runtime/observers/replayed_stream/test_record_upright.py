"""A recording keeps which way is up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import plif_export
import runtime
from plif_train.core.loop import checkpoint
from plif_train.core.network.presets import build
from runtime.core.events import make_events, open_source
from runtime.observers.replayed_stream.recorder import Recorder
from tests.recordings import aedat2_bytes

NOTATION = "c4k8s8-BN-PLIF-FC30-PLIF-APk10s10"


@pytest.fixture(scope="module", params=["upright", None])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str | None, Path]:
    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("view")
    net = build(NOTATION, shape=(2, 128, 128), T=4, framing="duration:10ms", view=request.param)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith(".weight") and weight.dim() > 1:
                weight.mul_(8)
    checkpoint.save(net, folder / "model.pt")
    out = folder / "model.onnx"
    plif_export.export(folder / "model.pt", out)
    return request.param, out


SIDES = {
    "top": (0, -1),
    "bottom": (0, 1),
    "left": (-1, 0),
    "right": (1, 0),
}  # from the middle to where heads are, x and y


def standing(folder: Path, up: str) -> Path:
    """A recording in which everything is on one side of the stored picture, as heads are; its format turns it by 180 degrees."""
    rng, n = np.random.default_rng(1), 5000
    along, across = rng.integers(0, 128, n), rng.integers(0, 20, n)
    dx, dy = SIDES[up]
    x, y = (across if dx < 0 else 127 - across if dx else along), (across if dy < 0 else 127 - across if dy else along)
    path = folder / f"{up}.aedat"
    path.write_bytes(aedat2_bytes(make_events(np.sort(rng.integers(0, 60_000, n)), x, y, rng.random(n) < 0.5)))
    return path


def test_a_recording_of_a_stream_keeps_which_way_is_up(artifact: tuple[str | None, Path], tmp_path: Path) -> None:
    _, path = artifact
    model, file = runtime.load(path), standing(tmp_path, "left")
    with Recorder(tmp_path / "kept") as recorder:
        said = [(d.label, d.score) for d in model.stream(str(file), up="left", observers=[recorder])]
    record = json.loads((tmp_path / "kept" / "recording.json").read_text())
    again = model.stream(str(tmp_path / "kept"))
    assert list(again) and not any("Is this upright?" in note for note in again.streams[0].notes)
    assert record["options"]["up"] == "left" and record["sources"][0]["upright"] == "rotate90"
    assert [(d.label, d.score) for d in model.stream(str(tmp_path / "kept"))] == said
    assert open_source(str(tmp_path / "kept" / "events.aedat")).upright == "rotate90"
    assert model.stream(str(tmp_path / "kept"), up="top").source.upright == "identity"
