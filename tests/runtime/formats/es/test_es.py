"""Event Stream: exposures, resets, rows, other types."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from tests.recordings import (
    es_bytes,
    some_events,
)

Make = Callable[..., Path]


def test_es_of_an_atis_gives_change_events_and_notes_exposures(make: Make) -> None:
    events = some_events(200)
    data = es_bytes(events, atis=True) + bytes([0b01]) + struct.pack("<HH", 1, 1)
    source = open_source(str(make(data, "a.es")))
    assert np.concatenate(list(source.packets())).tolist() == events.tolist()
    assert source.invalid == 0
    assert "1 exposure measurements" in source.notes[0]


def test_es_resets_change_nothing_and_rows_count_from_the_bottom(make: Make) -> None:
    events = some_events(2)
    whole = es_bytes(events)
    source = open_source(str(make(whole[:20] + b"\xfe" * 7 + whole[20:], "a.es")))
    assert np.concatenate(list(source.packets())).tolist() == events.tolist()
    assert source.upright == "flip_y"


@pytest.mark.parametrize(("at", "value", "reason"), [(12, 1, "version 1"), (15, 4, "colour"), (15, 9, "of 9")])
def test_es_of_another_version_or_type_is_refused(at: int, value: int, reason: str, make: Make) -> None:
    data = bytearray(es_bytes(some_events(2)))
    data[at] = value
    with pytest.raises(PlifError, match=reason):
        open_source(str(make(bytes(data))))
