"""AEDAT 3.1: packets, valid bits, the upper bits of times, damage."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import make_events, open_source, read_events
from runtime.formats.aedat31 import PIECE
from tests.recordings import (
    AEDAT31_HEADER,
    aedat31_packet,
    some_events,
)

Make = Callable[..., Path]


def test_aedat31_reads_number_and_not_capacity_and_skips_other_packets(make: Make) -> None:
    events = some_events(10)
    data = aedat31_packet(events[:3], kind=0) + aedat31_packet(events, capacity=4096)
    assert read_events(make(AEDAT31_HEADER + data)).tolist() == events.tolist()


def test_aedat31_events_without_the_valid_bit_are_invalid(make: Make) -> None:
    events = some_events(10)
    data = aedat31_packet(events[:4]) + aedat31_packet(events[4:], valid=0)
    source = open_source(str(make(AEDAT31_HEADER + data)))
    assert np.concatenate(list(source.packets())).tolist() == events[:4].tolist()
    assert source.invalid == 6
    assert "marked invalid" in source.notes[0]


def test_aedat31_overflow_counts_in_units_of_2_to_the_31(make: Make) -> None:
    events = make_events([5], [1], [2], [True])
    data = AEDAT31_HEADER + aedat31_packet(events) + aedat31_packet(events, overflow=2)
    assert read_events(make(data))["t"].tolist() == [5, 5 + (2 << 31)]


def test_a_damaged_aedat31_packet_header_ends_the_recording_with_a_note(make: Make) -> None:
    events = some_events(10)
    damaged = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 5, 99, 99) + bytes(40)
    source = open_source(str(make(AEDAT31_HEADER + aedat31_packet(events) + damaged)))
    assert sum(map(len, source.packets())) == 10
    assert f"byte {len(AEDAT31_HEADER) + 28 + 80} is damaged" in source.notes[0]


def test_another_encoding_or_version_is_named_with_what_to_do(make: Make) -> None:
    with pytest.raises(PlifError, match="encoding 'SerializedTS'"):
        open_source(str(make(b"#!AER-DAT3.1\r\n#Format: SerializedTS\r\n#!END-HEADER\r\n" + bytes(80))))
    with pytest.raises(PlifError, match=r"an AEDAT 3 other than 3\.1, .*convert it with DV"):
        open_source(str(make(b"#!AER-DAT3.0\r\n" + bytes(80))))


@pytest.mark.parametrize("count", [100, PIECE + 1000, 2 * PIECE + 1000])
def test_the_events_of_an_aedat31_packet_are_believed_all_or_none(count: int, tmp_path: Path) -> None:
    """A packet that counts all its events valid, of which only the last ones say so: in one piece or three, it has these."""
    events, valid = some_events(count), -(-count // 100)
    packet = bytearray(aedat31_packet(events))
    for i in range(count - valid):
        packet[28 + 8 * i] &= 0xFE
    (tmp_path / "a.aedat").write_bytes(AEDAT31_HEADER + packet)
    source = open_source(str(tmp_path / "a.aedat"))
    assert np.concatenate(list(source.packets())).tolist() == events[-valid:].tolist()
    assert source.invalid == count - valid
