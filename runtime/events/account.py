"""The account of a source: where every event went."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Account:
    """Where every event went. It only ever adds, from any thread; nothing is taken back.

    An event that came and whose fate is not known yet is waiting: in the open frame, or in a frame that is not stepped yet.
    """

    events_in: int = 0
    used: int = 0  # their frame was stepped
    filtered: int = 0  # cropped away, or beyond T frames
    late: int = 0  # before the start of the open frame
    invalid: int = 0  # outside the sensor, marked invalid, ...
    dropped: int = 0  # by a live source that could not keep up, in an overload, or at the end
    closed: bool = field(default=False, compare=False)  # nothing is entered any more
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def add(
        self, came: int = 0, *, used: int = 0, filtered: int = 0, late: int = 0, invalid: int = 0, dropped: int = 0
    ) -> None:
        """`came`: events seen for the first time. The others: events whose fate is known now, each once."""
        with self._lock:
            if self.closed:
                return
            self.events_in += came
            self.used += used
            self.filtered += filtered
            self.late += late
            self.invalid += invalid
            self.dropped += dropped

    def close(self) -> None:
        """The end: what still waits is dropped, and nothing is entered any more."""
        with self._lock:
            if not self.closed:
                self.dropped += self.waiting
                self.closed = True

    @property
    def waiting(self) -> int:
        """Events whose fate is not known yet; 0 at the end."""
        return self.events_in - self.used - self.filtered - self.late - self.invalid - self.dropped

    @property
    def balanced(self) -> bool:
        return self.waiting == 0
