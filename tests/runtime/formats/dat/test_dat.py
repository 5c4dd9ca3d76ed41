"""DAT: times that wrap, headers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from runtime.core.events import make_events, open_source, read_events
from tests.recordings import (
    DAT_HEADER,
    dat_bytes,
    some_events,
)

Make = Callable[..., Path]


def test_dat_wraps_at_2_to_the_32_us(make: Make) -> None:
    events = make_events([(1 << 32) - 1, (1 << 32) + 5], [1, 2], [4, 5], [1, 0])
    assert read_events(make(dat_bytes(events))).tolist() == events.tolist()


def test_a_dat_file_is_one_whatever_its_first_sentence(make: Make) -> None:
    body = dat_bytes(some_events(20))[len(DAT_HEADER) :]
    for header in (
        b"% Date 2024-01-01\n% Version 2\n% Height 240\n% Width 304\n",
        b"% Width 304\n% Height 240\n% end\n",
    ):
        source = open_source(str(make(header + body)))
        assert (source.format, source.sensor) == ("dat", (304, 240))
        assert np.concatenate(list(source.packets())).tolist() == some_events(20).tolist()


def test_dat_takes_the_sensor_from_its_header(make: Make) -> None:
    assert open_source(str(make(dat_bytes(some_events(10))))).sensor == (304, 240)
