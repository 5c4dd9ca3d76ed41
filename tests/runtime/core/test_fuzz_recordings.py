"""A short look for damage that harms: `python -m tests.fuzz.recordings --minutes 10` looks longer."""

from __future__ import annotations

import pytest

from tests.fuzz.recordings import FILES, WIRES, fuzz

SHARE = {"es": 10, "csv": 15, "hdf5": 3, "rosbag": 1}  # cases, of those that take longer


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [*FILES, *WIRES])
def test_damage_gives_events_or_one_line_and_every_event_is_counted(name: str) -> None:
    assert not fuzz(name, seed=1, cases=SHARE.get(name, 30))
