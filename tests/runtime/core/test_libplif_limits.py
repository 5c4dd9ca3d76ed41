"""What a session may take is known before it is made, and a snapshot that no run can have written is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plif_train
import runtime
from plif_export import export
from runtime import native
from runtime.artifacts.plif_file import file as plif_file
from runtime.core.base.errors import PlifError
from runtime.core.events import make_events
from runtime.core.events.framer import Framer
from runtime.core.model.records import to_map_shape
from runtime.engines.event_program.layout import count_lanes
from tests.libplif import CSession, Handle, library
from tests.networks import digits_network

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
    pytest.mark.filterwarnings("ignore:.*digest"),
]
NO_MEMORY = -4
# A snapshot: its header, then the framer's numbers, then what is known of the first row (snapshot.c, session.h).
HEADER, FRAMER = 312, 38 * 8
MOST_SEEN, OPEN_US, TICKED_US, IS_TICKED = (HEADER + 8 * field for field in (6, 9, 24, 25))
STEPS = HEADER + FRAMER + 9 * 8
FRAMES = (
    "frames that overlap would keep 100 times 33554432 numbers; expected at most 268435456: take fewer parts (every=)"
)


@pytest.fixture(scope="module")
def digits_plif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(digits_network(), tmp_path_factory.mktemp("plif") / "m.plif", to="plif", verify=False).path


Change = Callable[[dict[str, bytes], dict[str, int], dict[str, Any]], None]


def forged(source: Path, target: Path, change: Change) -> Path:
    """The file with other facts, all hashes right. change: (sections, facts of the header, card), which it edits."""
    sections, facts = plif_file.split_file(source, source.read_bytes())
    named, card = dict(zip(plif_file.FACTS, facts, strict=True)), json.loads(sections.pop("card"))
    del card["digest"]
    change(sections, named, card)
    target.write_bytes(plif_file.pack_file(json.dumps(card), sections, tuple(named.values())))
    return target


def large_input(_sections: dict[str, bytes], facts: dict[str, int], card: dict[str, Any]) -> None:
    facts["h"] = facts["w"] = 4096
    card["input"]["shape"] = [2, 4096, 4096]


def overlapping(sections: dict[str, bytes], facts: dict[str, int], card: dict[str, Any]) -> None:
    large_input(sections, facts, card)
    _framing, rest = sections["strings"].split(b"\0", 1)
    card["framing"] = "duration:100ms,every=1ms"
    sections["strings"] = card["framing"].encode() + b"\0" + rest


def large_membranes(sections: dict[str, bytes], facts: dict[str, int], card: dict[str, Any]) -> None:
    c, _, _, initial = plif_file.STATE.unpack(sections["states"][: plif_file.STATE.size])
    sections["states"] = plif_file.STATE.pack(c, 2048, 2048, initial) + sections["states"][plif_file.STATE.size :]
    card["states"][0]["shape"] = [c, 2048, 2048]


def test_frames_that_overlap_too_often_are_refused_before_they_are_made(digits_plif: Path, tmp_path: Path) -> None:
    hostile = forged(digits_plif, tmp_path / "overlapping.plif", overlapping)
    for load in (Handle, lambda path: runtime.load(path, "event")):
        with pytest.raises(PlifError) as error:
            load(hostile)
        assert str(error.value) == f"{hostile}: {FRAMES}"
    large = Handle(forged(digits_plif, tmp_path / "large.plif", large_input))
    with pytest.raises(PlifError) as error:
        CSession(large, framing="duration:100ms,every=1ms")
    assert str(error.value) == FRAMES and library().plif_error_code() == NO_MEMORY
    with pytest.raises(PlifError) as error:
        Framer("duration:100ms,every=1ms", (2, 4096, 4096), (34, 34))
    assert str(error.value) == FRAMES
    large.close()


def test_rows_that_need_more_than_a_session_may_take_are_refused_before_they_are_made(
    digits_plif: Path, tmp_path: Path
) -> None:
    large = forged(digits_plif, tmp_path / "large.plif", large_membranes)
    handle = Handle(large)
    with pytest.raises(PlifError, match=r"^a session of 40 rows would take 10\d\d\d MiB; expected at most 4096 MiB$"):
        CSession(handle, reset="every:40/40")
    assert library().plif_error_code() == NO_MEMORY
    handle.close()
    onnx = export(digits_network(), tmp_path / "m.onnx", verify=False).path
    for path, rows in ((large, 40), (onnx, 1 << 20), (digits_plif, 1 << 20)):
        with pytest.raises(
            PlifError, match=rf"a session of {rows} rows would take \d+ MiB; expected at most 4096 MiB;"
        ):
            runtime.load(path, "event").session(rows)


@pytest.mark.parametrize("preset", ["cifar10-dvs", "dvs128-gesture", "cifar10"])
def test_64_rows_of_a_network_of_the_paper_are_no_more_than_a_session_may_take(preset: str) -> None:
    layers = plif_train.build(preset).named_layers
    maps = [to_map_shape(layer.out_shape) for layer in layers if layer.op == "Neuron"]
    v_floats = (native.c.c_int64 * len(maps))(*(h * w * count_lanes(c) for c, h, w in maps))
    program = native.Program(
        states=len(maps),
        x_floats=2 * 128 * 128,
        y_floats=10,
        arena_bytes=1 << 30,
        v_floats=native.c.addressof(v_floats),
    )
    assert native.find_objection("plif_room_check", native.c.byref(program), 64, 1 << 30) is None
    for rows in (-1, 0, (1 << 20) + 1):
        objection = native.find_objection("plif_room_check", native.c.byref(program), rows, 0)
        assert objection is not None and f"{rows} rows; expected 1 to" in objection


def patched(snapshot: bytes, **at: int) -> bytes:
    out = bytearray(snapshot)
    for place, value in at.items():
        where = globals()[place]
        out[where : where + 8] = value.to_bytes(8, "little", signed=True)
    return bytes(out)


def test_a_snapshot_that_no_run_can_have_written_is_refused(digits_plif: Path) -> None:
    handle = Handle(digits_plif)
    i = np.arange(400)
    events = make_events(i * 997, i % 34, i % 33, i % 2 == 1)
    extent = {"total_events": 400, "first_us": 0, "last_us": 400 * 997}
    for framing, steps, lies in (
        ("duration:20ms", 12, {"STEPS": (1 << 63) - 1}),
        ("duration:20ms", 12, {"STEPS": 13}),  # more than the stream has had
        ("duration:20ms", 12, {"OPEN_US": -(1 << 60)}),  # frames without number
        ("time:T=7", 4, {"MOST_SEEN": 0}),  # a frame that is full before its first event, and never ends
        # no clock to step back on
        ("count:T=7", 4, {"IS_TICKED": 1, "TICKED_US": 0, "OPEN_US": 1 << 50}),
    ):
        session = CSession(handle, framing=framing, **extent)
        list(session.feed(events[:250]))
        before = session.snapshot()
        assert before[STEPS] == steps and before[OPEN_US + 8] > 0  # used, which follows open_us
        with pytest.raises(PlifError, match="the snapshot was damaged"):
            session.restore(patched(before, **lies))
        assert session.snapshot() == before
        session.restore(before)
        list(session.feed(events[250:]))
        session.free()
    handle.close()


def test_events_that_cannot_be_counted_are_refused(digits_plif: Path) -> None:
    handle = Handle(digits_plif)
    session, x = CSession(handle), np.zeros((2, 34, 34), np.float32)
    decision = native.c.byref(session.decision)
    found = [library().plif_frame(session.at, x.ctypes.data, 0, 1000, (1 << 59) + 1, decision) for _ in range(3)]
    assert found == [1, -5, -5] and session.account()["events_in"] == (1 << 59) + 1
    session.free()
    handle.close()
