"""A card that asks for an upright view: turned recordings are turned, it is said once, and other turns are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import plif_export
import runtime
from plif_train.loop import checkpoint
from plif_train.network.presets import build
from runtime.base.errors import PlifError
from runtime.data import open_dataset
from runtime.events import make_events
from runtime.events.framing import Framing, framing_of
from runtime.model.card import read_card
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


def recording(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    n = 400
    path = folder / "turned.aedat"
    t, x = np.sort(rng.integers(0, 60_000, n)), rng.integers(0, 40, n)
    path.write_bytes(aedat2_bytes(make_events(t, x, rng.integers(0, 128, n), rng.random(n) < 0.5)))
    return path


def test_the_card_keeps_the_view_and_streams_turn_what_is_stored_turned(
    artifact: tuple[str | None, Path], tmp_path: Path
) -> None:
    view, path = artifact
    assert read_card(path).get("view") == view
    model = runtime.load(path)
    source = recording(tmp_path)
    stream = model.stream(str(source))
    columns = sum(stream.last_frame.x.sum((0, 1)) for _ in stream)
    assert (columns[88:].sum() > 0, columns[:40].sum() > 0) == ((True, False) if view else (False, True))
    notes = [note for note in stream.summary()["notes"] if "stored turned" in note]
    assert len(notes) == (1 if view else 0)
    asked = model.stream(str(source), framing="duration:20ms")
    columns = sum(asked.last_frame.x.sum((0, 1)) for _ in asked)
    assert bool(columns[88:].sum() > 0) == bool(view)  # a framing of one's own changes nothing of the view


def test_data_sets_are_seen_in_the_same_view(artifact: tuple[str | None, Path], tmp_path: Path) -> None:
    view, path = artifact
    card = read_card(path)
    (tmp_path / "0").mkdir()
    recording(tmp_path / "0")
    data = open_dataset(f"folder:{tmp_path}", framing=framing_of(card), shape=(2, 128, 128))
    assert bool(data.sample(0)[..., :40].sum() > 0) == (view is None)


def test_a_view_that_contradicts_is_refused() -> None:
    assert str(Framing.parse("duration:10ms").seen("upright")) == "duration:10ms,orientation=upright"
    assert str(Framing.parse("duration:10ms").seen(None)) == "duration:10ms"
    with pytest.raises(PlifError, match="orientation=sj, but the network needs an upright view; leave it out"):
        Framing.parse("duration:10ms,orientation=sj").seen("upright")
