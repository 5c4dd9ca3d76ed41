"""The code of an error is that of the last call of plif.h that can fail, its text that of the last one that did."""

from __future__ import annotations

import ctypes as c
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plif_export import export
from runtime import native
from runtime.core.events import make_events
from runtime.native.interface import PlifDecision, PlifInput, PlifNetwork, PlifOptions, PlifPacket, PlifTime
from tests.libplif import CAccount, error, library
from tests.networks import digits_network

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)
OK, DECIDED, FRAMED, NO_FILE, UNSUPPORTED = 0, 1, 2, -1, -6
# What gives no code and no pointer that can be NULL for a reason; a number of a model or a session is no code.
CANNOT_FAIL = {
    *(
        "abi_version",
        "error_text",
        "error_code",
        "classes",
        "class_name",
        "framing",
        "voters",
        "T",
        "card",
        "cpu",
        "rows",
    ),
    *("states", "state_name", "other_class", "snapshot_size", "filter_note", "frame_seen", "firing_rates"),
}


@pytest.fixture(scope="module")
def digits_plif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its framing needs to know how many events there are, which options do not say: a session takes no events."""
    path = tmp_path_factory.mktemp("plif") / "m.plif"
    return export(digits_network("count:T=8"), path, to="plif", verify=False).path


def calls(path: Path, folder: Path) -> dict[str, Callable[[], int]]:
    """Name -> that call, which succeeds; in this order."""
    lib, of, t = library(), {}, np.arange(9, dtype="i8")
    (folder / "r.bin").write_bytes(bytes(range(50)))
    x, y = np.zeros((2, 34, 34), np.float32), np.zeros(10, np.float32)
    keep, room, d, took = np.ones(1), c.create_string_buffer(1 << 20), PlifDecision(), c.c_size_t()
    names = (c.c_char_p * 2)(b"a", b"b")
    network = PlifNetwork(c.sizeof(PlifNetwork), 2, 1, 5, names)
    options = PlifOptions(c.sizeof(PlifOptions), b"duration:1ms", threads=1, total_events=-1)
    shaped = PlifNetwork(c.sizeof(PlifNetwork), 0, 1, 1, None, 2, 34, 34)
    events = make_events(t, t, t, t > 4)
    packet = PlifPacket(c.sizeof(PlifPacket), events.ctypes.data, len(events))
    xs = np.zeros((2, 2, 34, 34), np.float32)
    first, second = (PlifInput(c.sizeof(PlifInput), x.ctypes.data) for x in xs)
    of["held"] = events, xs  # addresses alone would not keep them
    data = np.fromfile(path, np.uint8)

    def made(name: str, at: int | None) -> int:
        of[name] = at
        return OK if at else -1

    return {
        "open": lambda: made("model", lib.plif_open(str(path).encode(), 0)),
        "open_buffer": lambda: made("copy", lib.plif_open_buffer(data.ctypes.data, data.size, 0)),
        "session_new": lambda: made("deaf", lib.plif_session_new(of["model"], None)),
        "session_for": lambda: made("elsewhere", lib.plif_session_for(c.byref(network), None)),
        "step": lambda: lib.plif_step(of["deaf"], x.ctypes.data, y.ctypes.data),
        "frame": lambda: lib.plif_frame(of["deaf"], x.ctypes.data, 0, 9, 1, c.byref(d)),
        "membranes": lambda: made("v", lib.plif_membranes(of["deaf"], 0, (c.c_int * 3)(), c.byref(c.c_int()))),
        "snapshot": lambda: lib.plif_snapshot(of["deaf"], room, len(room)),
        "restore": lambda: lib.plif_restore(of["deaf"], room, lib.plif_snapshot_size(of["deaf"])),
        "before": lambda: lib.plif_before(of["elsewhere"], 0, 9, 1, 0, keep.ctypes.data),
        "after": lambda: lib.plif_after(of["elsewhere"], y.ctypes.data, c.byref(d)),
        "recording_open": lambda: made("recording", lib.plif_recording_open(str(folder / "r.bin").encode())),
        "recording_open_buffer": lambda: made("bytes", lib.plif_recording_open_buffer(bytes(range(50)), 50, b"r.bin")),
        "recording_describe": lambda: lib.plif_recording_describe(of["recording"], c.byref(options)),
        "recording_read": lambda: lib.plif_recording_read(of["recording"], *[room] * 4, 1) - 1,
        "hearing": lambda: made("hearing", lib.plif_session_new(of["model"], c.byref(options))),
        "account_of": lambda: lib.plif_account_of(of["deaf"], c.byref(CAccount())),
        "feed": lambda: lib.plif_feed(of["hearing"], *[t.ctypes.data] * 4, 9, c.byref(took), c.byref(d)),
        "framing": lambda: made("framing", library().plif_session_for(c.byref(shaped), c.byref(options))),
        "frame_events": lambda: library().plif_frame_events(of["framing"], c.byref(packet), c.byref(first)),
        "resume": lambda: library().plif_resume(of["framing"], 9),
        "time_of": lambda: library().plif_time_of(of["framing"], c.byref(PlifTime())),
        "frame_tick": lambda: library().plif_frame_tick(of["framing"], 10, c.byref(first)),
        "frame_restart": lambda: library().plif_frame_restart(of["framing"], 1, c.byref(first)) - FRAMED,
        "join": lambda: library().plif_join(of["framing"], c.byref(first), c.byref(second)),
        "frame_finish": lambda: library().plif_frame_finish(of["framing"], c.byref(first)),
        "tick": lambda: lib.plif_tick(of["hearing"], 500, c.byref(d)),
        "finish": lambda: lib.plif_finish(of["hearing"], c.byref(d)),
    }


def test_the_code_is_that_of_the_last_call_and_the_text_that_of_the_last_one_that_failed(
    digits_plif: Path, tmp_path: Path
) -> None:
    of_calls, code = calls(digits_plif, tmp_path), library().plif_error_code
    header = (Path(native.__file__).parent / "plif.h").read_text()
    declared = set(re.findall(r"^PLIF_API (?!void |size_t)[^(]*?\bplif_(\w+)\(", header, re.MULTILINE))
    assert declared - CANNOT_FAIL == set(of_calls) - {"hearing", "framing"}
    for name, call in of_calls.items():
        assert not library().plif_open(b"none.plif", 0) and code() == NO_FILE
        assert call() in (OK, DECIDED) and code() == OK, name
        assert error() == "none.plif: No such file or directory", name


def test_what_was_handled_is_said_when_it_matters(digits_plif: Path) -> None:
    model = library().plif_open(str(digits_plif).encode(), 0)
    session, took, d = library().plif_session_new(model, None), c.c_size_t(), PlifDecision()
    assert session and library().plif_error_code() == OK
    assert library().plif_feed(session, None, None, None, None, 0, c.byref(took), c.byref(d)) == UNSUPPORTED
    assert library().plif_error_code() == UNSUPPORTED and "need the number of events" in error()
    assert library().plif_membranes(session, 99, None, None) is None
    assert library().plif_error_code() == -5 and error() == "plif_membranes: state 99 of 4"
    library().plif_session_free(session)
    library().plif_close(model)
