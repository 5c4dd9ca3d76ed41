"""Which time the datagrams of one sender tell, and whether a jump of it is one.

A datagram goes on where all its events lie in

    clock - 1 s  <=  t  <=  max(clock, now + lead) + 1 ms
    clock   the latest time believed, us
    lead    max(t - now): how far the sender's clock is ahead of ours, by the datagrams that were quickest on their way.
            It falls to 50 ms above that of the latest, so that a sender that stalls or is slower than real time is followed

Else it jumps, and is held. The next that is not behind the clock says what it was:

    it jumps, too, and not to before it (but for 50 ms)     the clock did jump
    it goes on, and is not before it (but for 1 ms)         it was only quick on its way
    any other                                               its time was damaged: its events are refused
    none comes for a second                                 it is believed: if it was ahead by less, it is no longer, and for a
                                                            gap of more the framer has a rule

So a sender that restarts, pauses for an hour or sends faster than real time loses no event, and one wrong time makes none late.
Who may send at all is no matter of times (udp.py). After a step back of less than a second events are late (source_framer.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.core.events.framer import GAP_US

AHEAD_US = 1_000
SLOWER_US = 50_000


class Timeline:
    """Times of our own clock are `now_us`, monotonic. `refuse` is told how many events had a damaged time."""

    def __init__(self, refuse: Callable[[int], None]) -> None:
        self._refuse = refuse
        self._clock_us: int | None = None
        self._lead_us = 0
        self._held: tuple[int, np.ndarray] | None = None  # when it came, its events [N]

    def expected_us(self, now_us: int) -> int | None:
        """The time that a datagram tells if it comes now; None before the first."""
        return None if self._clock_us is None else max(self._clock_us, now_us + self._lead_us)

    @property
    def due_us(self) -> int | None:
        """When `settle` has to be called, if nothing comes before; None: never."""
        return self._held[0] + GAP_US if self._held else None

    def goes_on(self, t_us: np.ndarray, now_us: int) -> bool:
        """Whether all these times, int64 [N] of some datagrams, go on, and nothing is held. They are heard then. Not those of
        the first datagrams: one of them alone begins."""
        return not self._held and self._clock_us is not None and self._hear(t_us, now_us) is not None

    def judge(self, events: np.ndarray, now_us: int) -> list[np.ndarray]:
        """One datagram's events [N] -> the packets that are believed now, in order."""
        if not len(events):
            return []
        moved = self._hear(events["t"], now_us)
        if moved is False:  # long on its way, or wrong: it says nothing about what is ahead
            return [events]
        if self._held:
            last_us, first_us = int(self._held[1]["t"].max()), int(events["t"].min())
            if last_us > first_us + (AHEAD_US if moved else SLOWER_US) or (moved and last_us < first_us - GAP_US):
                self._refuse(len(self._held[1]))
                self._held = None
            elif moved:
                held, self._held = self._held[1], None
                return [held, events]
            else:
                return [self._believe(self._held), *self.judge(events, now_us)]
        if moved:
            return [events]
        self._held = now_us, events
        return []

    def settle(self, now_us: int, end: bool = False) -> list[np.ndarray]:
        """Nothing comes: the packets [N] that were held and are believed by now. With `end` nothing will come any more."""
        return [self._believe(self._held)] if self._held and (end or now_us >= self._held[0] + GAP_US) else []

    def _believe(self, held: tuple[int, np.ndarray]) -> np.ndarray:
        """The clock goes on from what was held."""
        self._held, self._clock_us = None, int(held[1]["t"].max())
        self._lead_us = self._clock_us - held[0]
        return held[1]

    def _hear(self, t_us: np.ndarray, now_us: int) -> bool | None:
        """Whether these times, int64 [N], move the clock forward; None where they do not go on."""
        if not len(t_us):
            return False
        low_us, high_us, lead_us = int(t_us.min()), int(t_us.max()), int(t_us.max()) - now_us
        if (clock_us := self._clock_us) is None:
            self._lead_us = lead_us
        elif low_us < clock_us - GAP_US or high_us > max(clock_us, now_us + self._lead_us) + AHEAD_US:
            return None
        elif high_us < clock_us:
            return False
        self._clock_us, self._lead_us = high_us, max(lead_us, min(self._lead_us, lead_us + SLOWER_US))
        return True
