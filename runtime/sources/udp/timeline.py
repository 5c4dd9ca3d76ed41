"""The clock of one UDP sender: it accepts datagrams that continue in time, and confirms or refuses jumps.

A datagram continues if all its events lie in

    clock - 1 s  <=  t  <=  max(clock, now + lead) + 1 ms
    clock   the latest accepted time, us
    lead    max(t - now): by how much the sender's clock is ahead of ours, from the datagrams with the shortest delay.
            It falls to 50 ms above that of the latest, to follow a sender that stalls or is slower than real time

Otherwise it jumps, and becomes pending. The next datagram that is not behind the clock decides:

    it jumps, too, and not to before the pending one (but for 50 ms)   the clock did jump
    it continues, and is not before the pending one (but for 1 ms)     the pending one only had a short delay
    any other                                                          the pending time was damaged: refused
    none comes for a second                                            it is accepted

An accepted one that was ahead by less than a second is no longer ahead, and for a larger gap the framer has a rule.

So a sender that restarts, pauses for an hour or sends faster than real time loses no event, and one wrong time makes no event
late. The accepted senders are a matter of ownership.py. After a step back of less than a second events are late
(source_framer.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.core.events.framer import GAP_US

AHEAD_US = 1_000
SLOWER_US = 50_000


class Timeline:
    """The clock of one UDP sender, which accepts or refuses datagrams by whether their event times are plausible.

    `now_us` is the time of our monotonic clock. `refuse` is called with the number of events that had a damaged time.
    """

    def __init__(self, refuse: Callable[[int], None]) -> None:
        self._refuse = refuse
        self._clock_us: int | None = None
        self._lead_us = 0
        self._pending: tuple[int, np.ndarray] | None = None  # time of arrival, its events [N]

    def expected_us(self, now_us: int) -> int | None:
        """Return the event time in us to expect in a UDP datagram that arrives now; None before the first one."""
        return None if self._clock_us is None else max(self._clock_us, now_us + self._lead_us)

    @property
    def due_us(self) -> int | None:
        """The time at which `flush_pending` must be called if no UDP datagram comes before; None if none is held back."""
        return self._pending[0] + GAP_US if self._pending else None

    def try_continue(self, t_us: np.ndarray, now_us: int) -> bool:
        """Accept datagrams at once if their times int64 [N] all continue the sender's clock; return whether they do.

        False for the first datagrams, since one of them alone starts the clock.
        """
        return not self._pending and self._clock_us is not None and self._advance(t_us, now_us) is not None

    def accept_datagram(self, events: np.ndarray, now_us: int) -> list[np.ndarray]:
        """Accept the events [N] of a datagram, or hold them back; return the packets that are accepted now, in order."""
        if not len(events):
            return []
        moves_clock = self._advance(events["t"], now_us)
        if moves_clock is False:  # late or wrong: it says nothing about the pending datagram
            return [events]
        if self._pending:
            last_us, first_us = int(self._pending[1]["t"].max()), int(events["t"].min())
            if last_us > first_us + (AHEAD_US if moves_clock else SLOWER_US) or (
                moves_clock and last_us < first_us - GAP_US
            ):
                self._refuse(len(self._pending[1]))
                self._pending = None
            elif moves_clock:
                pending_events, self._pending = self._pending[1], None
                return [pending_events, events]
            else:
                return [self._accept_jump(self._pending), *self.accept_datagram(events, now_us)]
        if moves_clock:
            return [events]
        self._pending = now_us, events
        return []

    def flush_pending(self, now_us: int, end: bool = False) -> list[np.ndarray]:
        """Return the held-back packet of events [N] in a list, if a silence or the stream's end accepts it, else []."""
        return (
            [self._accept_jump(self._pending)] if self._pending and (end or now_us >= self._pending[0] + GAP_US) else []
        )

    def _accept_jump(self, pending: tuple[int, np.ndarray]) -> np.ndarray:
        """Set the sender's clock to the times of a held-back datagram, and return its events [N]."""
        self._pending, self._clock_us = None, int(pending[1]["t"].max())
        self._lead_us = self._clock_us - pending[0]
        return pending[1]

    def _advance(self, t_us: np.ndarray, now_us: int) -> bool | None:
        """Advance the sender's clock to times int64 [N]; return whether it moved, None if the times do not continue."""
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
