"""`idle=auto`: the scene's rate of events against the camera's own noise, which is learnt while the stream runs.

    R      events a second, smoothed over 200 ms                          (decide.smooth_rate)
    floor  the least R so far, from 1 s on; it rises by 2 % a second, so that another light is learnt anew
    quiet  R < 2 floor + 300

A scene that never rests has a floor that is too high, so a quiet scene alone is not idle: the stream also asks that no class but
"other" has evidence.
"""

from __future__ import annotations

FIRST_US = 1_000_000.0
RISE_PER_S = 0.02
FACTOR, BASE_PER_S = 2.0, 300.0
UNKNOWN_PER_S = 1e18  # before anything was learnt; finite, as all that a state file holds


class NoiseFloor:
    """`is_quiet` after each step, with the smoothed rate."""

    KEEPS = ("per_s", "_seen_us")

    def __init__(self) -> None:
        self.per_s = UNKNOWN_PER_S  # the floor, in events a second
        self._seen_us = 0.0

    def is_quiet(self, per_s: float, dt_us: float) -> bool:
        """Learns the rate `per_s` of a step that lasted dt_us; whether the scene is quiet."""
        self._seen_us += dt_us
        self.per_s *= 1 + RISE_PER_S * dt_us * 1e-6
        if self._seen_us >= FIRST_US or per_s < BASE_PER_S:
            self.per_s = min(self.per_s, per_s)
        return self.per_s < UNKNOWN_PER_S and per_s < FACTOR * self.per_s + BASE_PER_S
