"""Structures of plif.h say their own size: of an older or a newer caller no more is read and written than it has."""

from __future__ import annotations

import ctypes as c
import re
from pathlib import Path

import numpy as np
import pytest

from plif_export import export
from runtime import native
from runtime.native.interface import PlifDecision, PlifOptions
from tests.libplif import CAccount, CSession, Handle, error, library
from tests.networks import digits_network

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)
BAD_ARGUMENT, FILL = -5, 0xA5
NONE = (0, 8, 20, 4104, FILL * 0x0101010101010101)  # no field, half a field, memory that nobody set


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> CSession:
    path = tmp_path_factory.mktemp("plif") / "m.plif"
    return CSession(Handle(export(digits_network(), path, to="plif", verify=False).path))


def filled(size: int) -> c.Array[c.c_char]:
    """Room for a structure that says this size, and 64 bytes behind, of which none is zero."""
    room = c.create_string_buffer(bytes([FILL]) * 512, 512)
    c.c_size_t.from_buffer(room).value = size
    return room


def frame(session: CSession, decision: object) -> int:
    x = np.ones((2, 34, 34), np.float32)
    return int(library().plif_frame(session.at, x.ctypes.data, 0, 20_000, 1, decision))


def test_every_structure_of_the_header_says_its_size_first() -> None:
    header = (Path(native.__file__).parent / "plif.h").read_text()
    found = re.findall(r"^typedef struct (plif_\w+) \{\n *(.*?;)", header, re.MULTILINE)
    assert {name for name, _ in found} == {
        *("plif_options", "plif_decision", "plif_account", "plif_network"),
        *("plif_packet", "plif_input", "plif_time"),
    }
    assert {first for _, first in found} == {"size_t size;"}


@pytest.mark.parametrize("structure", [PlifDecision, CAccount])
def test_an_older_and_a_newer_caller_get_as_much_as_they_have(session: CSession, structure: type[c.Structure]) -> None:
    whole = c.sizeof(structure)
    fill = {PlifDecision: frame, CAccount: lambda of, to: library().plif_account_of(of.at, to)}[structure]
    said = structure()
    assert fill(session, c.byref(said)) >= 0 and said.size == whole
    for size in range(16, whole + 64, 8):
        room = filled(size)
        assert fill(session, room) >= 0
        most = min(size, whole)
        assert room.raw[most:] == bytes([FILL]) * (512 - most) and c.c_size_t.from_buffer(room).value == size
        assert bytes([FILL]) * 8 not in room.raw[:most]


def test_a_size_that_was_not_set_is_refused_and_nothing_is_written(session: CSession) -> None:
    took, empty, account = c.c_size_t(), np.empty(0, "i8").ctypes.data, session.account()
    calls = {
        "plif_feed": lambda d: library().plif_feed(session.at, empty, empty, empty, empty, 0, c.byref(took), d),
        "plif_tick": lambda d: library().plif_tick(session.at, 0, d),
        "plif_finish": lambda d: library().plif_finish(session.at, d),
        "plif_frame": lambda d: frame(session, d),
        "plif_account_of": lambda a: library().plif_account_of(session.at, a),
    }
    for name, call in calls.items():
        structure = "plif_account" if name == "plif_account_of" else "plif_decision"
        for size in NONE:
            room = filled(size)
            before = room.raw
            assert call(room) == BAD_ARGUMENT and room.raw == before, name
            assert error() == f"{structure}.size is {size}: begin with {structure.upper()}"
        assert call(None) == BAD_ARGUMENT and name in error()
    assert session.account() == account


def test_options_of_an_older_caller_have_the_defaults_of_what_it_does_not_know(session: CSession) -> None:
    options = PlifOptions(PlifOptions.sensor_width.offset, threads=-1, total_events=1 << 62)
    at = library().plif_session_new(session.model.at, c.byref(options))
    assert at, error()
    library().plif_session_free(at)
    for size in NONE:
        options.size = size
        assert not library().plif_session_new(session.model.at, c.byref(options))
        assert error() == f"plif_options.size is {size}: begin with PLIF_OPTIONS"
