"""AEDAT 2.0: addresses, times that wrap, other chips; and AEDAT 1.0, which is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from tests.recordings import (
    AEDAT2_HEADER,
    some_events,
)

Make = Callable[..., Path]


def test_aedat2_polarity_is_inverted_and_the_upright_view_is_turned(make: Make) -> None:
    path = make(AEDAT2_HEADER + struct.pack(">IIII", 5 << 8 | 9 << 1, 100, 5 << 8 | 9 << 1 | 1, 101))
    source = open_source(str(path))
    assert next(iter(source.packets())).tolist() == [(100, 9, 5, True), (101, 9, 5, False)]
    assert (source.sensor, source.upright) == ((128, 128), "rotate180")


def test_aedat2_sync_inputs_are_invalid_and_times_wrap(make: Make) -> None:
    data = struct.pack(">IIIIII", 0, 0xFFFFFFF0, 0x8000, 0xFFFFFFF1, 2, 16)
    source = open_source(str(make(AEDAT2_HEADER + data)))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [0xFFFFFFF0, (1 << 32) + 16]
    assert source.invalid == 1


def test_aedat2_of_a_chip_with_another_address_layout_is_refused(make: Make) -> None:
    header = b"#!AER-DAT2.0\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\n"
    with pytest.raises(PlifError, match="DVS128's address layout"):
        open_source(str(make(header + bytes(8))))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("begin_us", (0, 4_000_000, 2**32 - 150_000))
def test_aedat_1_without_a_header_is_named_and_never_taken_for_another_format(
    seed: int, begin_us: int, make: Make
) -> None:
    """As jAER wrote it first: address uint16, time uint32, big-endian, and nothing before them."""
    events = some_events(400, seed, 128, 128)
    words = [struct.pack(">HI", y << 8 | x << 1 | (not p), t + begin_us & 0xFFFFFFFF) for t, x, y, p in events.tolist()]
    for name in ("Tmpdiff128-2006.dat", "a.bin", "a"):
        with pytest.raises(PlifError, match=r"AEDAT 1\.0 without a header .*save it as AEDAT 2\.0") as error:
            open_source(str(make(b"".join(words), name)))
        assert "\n" not in str(error.value)
    with pytest.raises(PlifError, match="not a recording in a known format"):
        open_source(str(make(np.random.default_rng(seed).bytes(2400), "noise.dat")))


def test_aedat_1_with_its_header_is_named_with_what_to_do(make: Make) -> None:
    with pytest.raises(PlifError, match=r"AEDAT 1\.0, which plif does not read: .*save it as AEDAT 2\.0"):
        open_source(str(make(b"#!AER-DAT1.0\r\n" + bytes(80))))
