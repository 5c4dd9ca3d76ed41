"""A card that asks for an upright view: turned recordings are turned, it is said once, and other turns are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import plif_export
import runtime
from plif_train.core.loop import checkpoint
from plif_train.core.network.presets import build
from runtime.commands.predict.unlabelled import UnlabelledRecordings
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.data import open_dataset
from runtime.core.events import make_events, open_source
from runtime.core.events.framing import Framing, resolve_framing
from runtime.core.events.sources import split_orientation
from runtime.core.model.card import read_card
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
    data = open_dataset(f"folder:{tmp_path}", framing=resolve_framing(card), shape=(2, 128, 128))
    assert bool(data.sample(0)[..., :40].sum() > 0) == (view is None)


def test_a_view_that_contradicts_is_refused() -> None:
    assert str(Framing.parse("duration:10ms").with_view("upright")) == "duration:10ms,orientation=upright"
    assert str(Framing.parse("duration:10ms").with_view(None)) == "duration:10ms"
    with pytest.raises(PlifError, match="orientation=sj, but the network needs an upright view; leave it out"):
        Framing.parse("duration:10ms,orientation=sj").with_view("upright")


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


def rows_seen(model: runtime.Model, source: str, **options: object) -> tuple[np.ndarray, list[str]]:
    """Events in each row of the frames, float32 [H], and the notes."""
    stream = model.stream(source, **options)
    rows = sum(stream.last_frame.x.sum((0, 2)) for _ in stream)
    return rows, stream.summary()["notes"]


@pytest.mark.parametrize("up", SIDES)
def test_people_stand_upright_whichever_side_their_heads_are_on(
    artifact: tuple[str | None, Path], tmp_path: Path, up: str
) -> None:
    view, path = artifact
    model, file = runtime.load(path), standing(tmp_path, up)
    for rows, notes in (rows_seen(model, f"{file}?up={up}"), rows_seen(model, str(file), up=up)):
        assert (rows[20:].sum() == 0 < rows[:20].sum()) == (view is not None or up == "top")
        assert any("up= changes nothing" in note for note in notes) == (view is None)
        assert not any("stored turned" in note for note in notes)
    (tmp_path / "set" / "0").mkdir(parents=True)
    file.rename(tmp_path / "set" / "0" / "a.aedat")
    data = open_dataset(f"folder:{tmp_path}/set?up={up}", framing=resolve_framing(read_card(path)), shape=(2, 128, 128))
    assert (data.sample(0)[:, :, 20:].sum() == 0) == (view is not None or up == "top")


def test_a_source_says_it_before_the_command_does_and_a_file_of_that_name_is_that_file(tmp_path: Path) -> None:
    file = standing(tmp_path, "left")
    assert open_source(f"{file}?up=left", up="top").upright == "rotate90"
    assert open_source("sim:digits?up=right&seed=3&seconds=1").upright == "rotate270"
    assert split_orientation("udp://a:1?up=top&format=jaer") == ("udp://a:1?format=jaer", "top")
    odd = tmp_path / "a?up=left"
    odd.write_bytes(file.read_bytes())
    assert open_source(str(odd)).upright == "rotate180" and not open_source(str(odd)).has_user_orientation
    for wrong in (f"{file}?up=north", f"{file}?up=", f"{file}?up=top&up=left"):
        with pytest.raises(PlifError, match=r"up="):
            open_source(wrong)


def test_frames_of_recordings_are_those_of_a_stream_whichever_side_is_up(
    artifact: tuple[str | None, Path], tmp_path: Path
) -> None:
    _, path = artifact
    file, model = standing(tmp_path, "right"), runtime.load(path)
    (tmp_path / "set" / "0").mkdir(parents=True)
    (tmp_path / "set" / "0" / file.name).write_bytes(file.read_bytes())
    for up in (None, *SIDES):
        samples = UnlabelledRecordings((str(file),), up=up).open(model)
        assert np.array_equal(samples.sample(0).sum((0, 1, 3)), rows_seen(model, str(file), up=up)[0])
    words = ["--up", "right", "--json"]
    assert run(["predict", str(path), str(file), *words]) == 0
    assert run(["eval", str(path), "--data", f"nmnist:{tmp_path}", *words]) == 2  # of folder:DIR alone


def test_a_person_is_shown_what_a_format_turns_and_asked(
    artifact: tuple[str | None, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Heads are on the stored picture's top, so the format's turn puts them at the bottom, which the picture shows."""
    view, path = artifact
    file = standing(tmp_path, "top")
    assert run(["stream", str(path), str(file)]) == 0
    told = capsys.readouterr().err.splitlines()
    asked = [i for i, line in enumerate(told) if line.startswith("plif: /") and "Is this upright?" in line]
    assert bool(asked) == bool(view)
    if view:
        picture = told[asked[0] - 24 : asked[0]]
        assert not "".join(picture[:19]).strip() and all(len(row) > 30 for row in picture[-3:])
    assert run(["stream", str(path), str(file), "--up", "top"]) == 0
    assert "Is this upright?" not in capsys.readouterr().err
