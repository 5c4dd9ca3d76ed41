"""A sensor that is larger than the network's input: which of its pixels are shown, who says so, and what is said of the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from plif_train.core.loop import checkpoint
from runtime import native
from runtime.artifacts.plif_file import file as plif_file
from runtime.artifacts.plif_file.program import hash_contents
from runtime.core.cli.main import run
from runtime.core.events import Account, make_events, make_frames, open_source
from runtime.core.events.framing import Framing, resolve_framing
from runtime.core.model.card import encode_card, read_card
from runtime.core.model.digest import write_digest
from runtime.core.stream.source_framer import SourceFramer
from runtime.native.rules import make_view_tables
from runtime.sources.push import PushSource
from tests.larger import BINARY, LARGE, SMALL, events_of_camera, saved, streamed, written
from tests.libplif import CSession, Handle
from tests.passing import Filters
from tests.recordings import csv_bytes, evt3_bytes, some_events
from tests.specification import framing, stream
from tests.specification.view import Event, cell_of

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]

SENSORS = ((346, 260), (640, 480), (1280, 720), (131, 97))
SHAPES = ((2, 128, 128), (2, 34, 34), (1, 20, 33))
GIVEN = {
    BINARY: "nearest",
    f"{BINARY},resize=auto,shape=square": "nearest",
    f"{BINARY},resize=sum": "sum",
    f"{BINARY},resize=crop": "crop",
    "duration:9ms": "sum",
    "duration:9ms,resize=nearest": "nearest",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sensor", SENSORS)
def test_a_pixel_of_any_sensor_lands_where_the_specification_says(
    sensor: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    rng, (_, h, w) = np.random.default_rng(0), shape
    views = [*product(("nearest", "sum", "crop"), ("stretch", "square"), ("stored", "sj", "paper"))]
    for resize, form, orientation in views:
        line = f"count:T=1,resize={resize},shape={form},orientation={orientation}"
        said = framing.parse(line)
        of_x, of_y, of_p = make_view_tables(line, shape, sensor, 0)
        places = [
            np.concatenate((rng.choice(np.flatnonzero(of >= 0), 40), rng.integers(0, len(of), 40)))
            for of in (of_x, of_y)
        ]
        for x, y in np.stack(places, 1).tolist():
            at, cell = int(of_x[x] + of_y[y] + of_p[1]), cell_of(Event(0, x, y, True), said, shape, sensor)
            assert (at if at >= 0 else None) == (cell and cell[0] * h * w + cell[1] * w + cell[2]), (line, x, y)


def test_nearest_shows_each_cell_the_pixel_in_its_middle_and_every_cell_has_one() -> None:
    for (width, height), (_, h, w) in product(SENSORS[:3], SHAPES):
        of_x, of_y, _ = make_view_tables("count:T=1,resize=nearest", (1, h, w), (width, height), 0)
        assert np.flatnonzero(of_x >= 0).tolist() == [(2 * i + 1) * width // (2 * w) for i in range(w)]
        assert of_x[of_x >= 0].tolist() == [*range(w)] and of_y[of_y >= 0].tolist() == [w * i for i in range(h)]
    fewer = [make_view_tables(f"count:T=1,resize={how}", (2, 128, 128), (34, 200), 0)[0] for how in ("nearest", "sum")]
    np.testing.assert_array_equal(*fewer)


def test_the_square_is_that_of_the_filter_whichever_way_the_picture_is_turned() -> None:
    events, shape = some_events(3000, width=131, height=97), (2, 33, 20)
    cut, _ = Filters("roi:square", (131, 97))(events)
    assert 2000 < len(cut) < 2500
    for more, how in product(("", ",orientation=sj", ",orientation=paper", ",orientation=upright"), ("sum", "nearest")):
        line = f"duration:1s,resize={how}{more}"
        (found,) = make_frames(events, f"{line},shape=square", shape, (131, 97), "rotate90")
        np.testing.assert_array_equal(found, make_frames(cut, line, shape, (97, 97), "rotate90")[0])
        assert found.sum() == len(cut) if how == "sum" else 0 < found.sum() < len(cut)


def fed(events: np.ndarray, sensor: tuple[int, int]) -> PushSource:
    source = PushSource(*sensor)
    source.push(events)
    source.end()
    return source


@pytest.mark.parametrize("sensor", SENSORS)
def test_words_of_evt3_make_the_frames_and_the_account_of_the_specification(
    sensor: tuple[int, int], tmp_path: Path
) -> None:
    rng, path = np.random.default_rng(1), tmp_path / "a.raw"
    events = some_events(600, width=sensor[0], height=sensor[1], last_us=60_000)
    shown = [np.flatnonzero(of >= 0) for of in make_view_tables("count:T=1,resize=nearest", SHAPES[0], sensor, 0)[:2]]
    for axis, places in zip("xy", shown, strict=True):  # half of them in rows and columns that are shown
        events[axis][::2] = rng.choice(places, 300)
    path.write_bytes(evt3_bytes(events).replace(b"height=720;width=1280", b"width=%d;height=%d" % sensor))
    source = open_source(str(path))
    assert source.sensor == sensor and source.words() is not None
    for line in ("duration:9ms,resize=nearest", "events:n=31,max=9ms,resize=nearest,shape=square,value=binary"):
        framer = SourceFramer(open_source(str(path)), line, SHAPES[0])
        found = [(frame.t_end_us, frame.events, float(frame.x.sum())) for frame in framer]
        frames, fates = stream.frames_of(line, [Event(*one) for one in events.tolist()], SHAPES[0], sensor)
        assert found == [(frame.end_us, frame.events, float(sum(frame.x.values()))) for frame in frames]
        account = framer.account
        assert (account.filtered, account.not_shown) == (fates["filtered"], fates["not_shown"]) and account.not_shown


# --- auto: one rule, of Python, of libplif's sessions and of pages ------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("larger"))


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return events_of_camera()


def in_c(path: Path, events: np.ndarray, **options: Any) -> tuple[list[Any], dict[str, int]]:
    session = CSession(Handle(path), sensor_width=LARGE[0], sensor_height=LARGE[1], **options)
    found = [*session.feed(events), *session.finish()]
    account = session.account()
    session.free()
    return found, account


@pytest.mark.parametrize("name", ("own", "other"))
def test_auto_is_nearest_where_single_pixels_were_learned_in_python_and_in_c(
    folder: Path, events: np.ndarray, name: str
) -> None:
    path, hidden = folder / f"{name}.plif", {}
    model = runtime.load(path)
    for given, word in GIVEN.items():
        word = word if name == "own" or "resize=nearest" in given or word == "crop" else "sum"
        found, summary = streamed(model, events, framing=given)
        said = Framing.parse(summary["framing"])
        assert said.resize == word and str(replace(said, resize="auto")) == str(
            replace(Framing.parse(given), resize="auto")
        )
        assert in_c(path, events, framing=given)[0] == found == in_c(path, events, framing=str(said))[0] != []
        account = in_c(path, events, framing=given)[1]
        hidden[given] = account["not_shown"]
        assert account["not_shown"] == summary["events_not_shown"] <= account["filtered"] == summary["events_filtered"]
        assert account["events_in"] == account["used"] + account["filtered"] == len(events)
    assert hidden["duration:9ms"] == 0 < hidden["duration:9ms,resize=nearest"]
    assert (hidden[BINARY] > 0) == (name == "own")


def test_a_card_without_a_word_means_sum_and_keeps_its_text(folder: Path, events: np.ndarray, tmp_path: Path) -> None:
    card, path = read_card(folder / "own.plif"), folder / "own.plif"
    assert card["framing"] == BINARY and str(resolve_framing(card)) == f"{BINARY},resize=sum"
    before, summary = streamed(runtime.load(path), events)
    assert summary["framing"] == f"{BINARY},resize=sum" and summary["events_not_shown"] == 0
    assert before == streamed(runtime.load(path), events, framing=f"{BINARY},resize=sum")[0] == in_c(path, events)[0]
    checkpoint.save(checkpoint.load(folder / "own.pt"), tmp_path / "again.pt")
    assert read_card(tmp_path / "again.pt")["framing"] == BINARY
    worded = saved(tmp_path, "worded", [*SMALL], f"{BINARY},resize=nearest,shape=square")
    again = export(worded, tmp_path / "worded.plif", to="plif", verify=False).path
    assert read_card(again)["framing"] == f"{BINARY},resize=nearest,shape=square"
    found, summary = streamed(runtime.load(again), events)
    assert found == in_c(again, events)[0] != before and summary["events_not_shown"] > 0


def test_in_c_a_plif_file_that_says_no_size_runs_as_it_did(folder: Path, events: np.ndarray, tmp_path: Path) -> None:
    path = folder / "own.plif"
    sections, facts = plif_file.split_file(path, path.read_bytes())
    place = plif_file.FACTS.index("native")
    card, old = json.loads(sections.pop("card")), (*facts[:place], 0, *facts[place + 1 :])
    assert facts[place] == 1
    write_digest(card, hash_contents(path, sections, old))
    (tmp_path / "old.plif").write_bytes(plif_file.pack_file(encode_card(card), sections, old))
    assert in_c(tmp_path / "old.plif", events) == in_c(path, events)
    assert in_c(tmp_path / "old.plif", events, framing=BINARY) == in_c(path, events, framing=f"{BINARY},resize=sum")


def test_a_snapshot_keeps_what_was_not_shown(folder: Path, events: np.ndarray) -> None:
    whole = in_c(folder / "own.plif", events, framing=BINARY)
    size = {"sensor_width": LARGE[0], "sensor_height": LARGE[1], "framing": BINARY}
    handle = Handle(folder / "own.plif")
    first, then = CSession(handle, **size), CSession(handle, **size)
    found = [*first.feed(events[:3500])]
    then.restore(first.snapshot())
    assert ([*found, *then.feed(events[3500:]), *then.finish()], then.account()) == whole
    for session in (first, then):
        session.free()


# --- what is said -------------------------------------------------------------------------------------------------------------


def test_a_summary_says_how_much_is_shown(
    folder: Path, events: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(csv_bytes(events))
    call = ["stream", str(folder / "own.onnx"), str(tmp_path / "a.csv"), "--sensor", "90x70", "--framing"]
    assert run([*call, BINARY]) == 0
    said = capsys.readouterr()
    assert "sensor    90x70 (as you said); shown: one pixel of 5" in said.out.splitlines()
    assert "sensor" not in said.err
    assert run([*call, f"{BINARY},shape=square", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    assert 0 < summary["events_not_shown"] == summary["events_filtered"] < summary["events_in"]
    account = Account(summary["events_in"], summary["events_used"], summary["events_filtered"])
    assert account.waiting == 0
    assert run([*call, f"{BINARY},shape=square", "--json", "--filter", "roi:0:0:50:40"]) == 0  # first; its square then
    filtered = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    in_roi = (events["x"] < 50) & (events["y"] < 40)
    of_x, of_y, _ = make_view_tables("count:T=1,resize=nearest,shape=square", (2, 34, 34), (50, 40), 0)
    shown = [(of_x[x] + of_y[y]) >= 0 for x, y in zip(events["x"][in_roi], events["y"][in_roi], strict=True)]
    assert (filtered["events_used"], filtered["events_not_shown"]) == (sum(shown), len(shown) - sum(shown))
    assert run([*call, "duration:9ms"]) == 0
    assert "not shown" not in (out := capsys.readouterr().out) and "shown:" not in out


def test_events_are_counted_for_a_frame_where_they_are_shown() -> None:
    t = np.arange(400)
    events = make_events(t, t % 4, np.zeros(400, int), np.ones(400, bool))
    framer = SourceFramer(fed(events, (4, 1)), "events:n=25,max=1s,resize=nearest", (2, 1, 1))
    assert [frame.events for frame in framer] == [25, 25, 25, 25, 0] and framer.account.not_shown == 300
