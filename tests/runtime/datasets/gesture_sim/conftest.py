"""Simulated recordings that take no minutes."""

from __future__ import annotations

import pytest

SHORT = {
    "runtime.datasets.gesture_sim.simulate_gesture": {
        "SESSION_US": 2_000_000,
        "EVERYDAY_US": 100_000,
        "THING_US": 100_000,
        "THINGS": 1,
        "MOVE_US": 300_000,
        "MOVE_SCENES": 1,
    },
    "runtime.datasets.gesture_sim.lookalikes": {
        "RAISED_US": 300_000,
        "RAISED_SCENES": 1,
        "SWING_US": 100_000,
        "SWINGS": 1,
    },
    "runtime.datasets.motion.simulate_motion": {"PEOPLE_S": 0.5, "STRETCH_S": 0.3},
    "runtime.datasets.performers.schedule": {"PER_PERFORMER": (1, 8)},
}


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part of a recording is as short as it can be, with as few scenes and gestures."""
    for module, lengths in SHORT.items():
        for name, short in lengths.items():
            monkeypatch.setattr(f"{module}.{name}", short)
