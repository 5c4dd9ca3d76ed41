"""`idle=auto`: the scene's rate of events against the camera's own noise, which is learnt while the stream runs.

    R      events a second, smoothed over 200 ms                          (decide.smooth_rate)
    floor  R after the first second of frames with events; then it follows R: down by 20 % a second at most, up so
           slowly that the bound below rises by 2 % a second, and not at all while R < 1
    quiet  R < 2 floor + 300; before the floor is known R < 300

A feed that pauses looks like a camera without noise. R < 1 within about 2 s, and until then the floor falls by about a
third: after a pause of any length the noise is quiet at once. A camera that truly has no noise forgets, in each of its
silences, a third of what was taken for noise. From a floor of nothing, noise of N events a second is quiet after
50 ln(N / 300) s: 2 min for 3000.

A scene that never rests has a floor that is too high, so a quiet scene alone is not idle: the stream also asks that no class but
"other" has evidence.
"""

from __future__ import annotations

FIRST_US = 1_000_000.0
RISE_PER_S, FALL_PER_S = 0.02, 0.2
FACTOR, BASE_PER_S = 2.0, 300.0
NOTHING_PER_S = 1.0


class NoiseFloor:
    """`is_quiet` after each step, with the smoothed rate."""

    KEEPS = ("per_s", "_seen_us")

    def __init__(self) -> None:
        self.per_s = 0.0  # the floor, in events a second
        self._seen_us = 0.0  # of frames with events, until the floor is known

    def is_quiet(self, per_s: float, events: int, dt_us: float) -> bool:
        """Learns the rate `per_s` after a frame of so many events that lasted dt_us; whether the scene is quiet."""
        dt_s = dt_us * 1e-6
        if self._seen_us < FIRST_US:
            self._seen_us += dt_us if events else 0.0
            self.per_s = per_s if self._seen_us >= FIRST_US else 0.0
        elif per_s >= NOTHING_PER_S:
            risen = self.per_s + RISE_PER_S * dt_s * (self.per_s + BASE_PER_S / FACTOR)
            self.per_s = min(risen, max(per_s, self.per_s * (1 - FALL_PER_S * dt_s)))
        return per_s < FACTOR * self.per_s + BASE_PER_S
