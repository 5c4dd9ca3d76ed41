"""The event rate in recording time: the rate of the camera, at any reading speed."""

from __future__ import annotations

WINDOW_US = 500_000


class EventRate:
    """A meter of a stream's event rate; call `update` after each step.

    per_s  events a second, the mean over the last 0.5 to 1 s; None until two times are known
    """

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._older: tuple[int, int] | None = None  # (t_us, events so far)
        self._newer: tuple[int, int] | None = None

    def update(self, t_us: int, events: int) -> None:
        """Update the event rate with the number of events up to time t_us of the recording, in microseconds."""
        if self._older is None or self._newer is None or t_us < self._newer[0]:
            self._older = self._newer = (t_us, events)
            return
        if t_us - self._newer[0] >= WINDOW_US:
            self._older, self._newer = self._newer, (t_us, events)
        if t_us > self._older[0]:
            self.per_s = 1e6 * (events - self._older[1]) / (t_us - self._older[0])
