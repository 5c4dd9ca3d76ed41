"""Which time the datagrams of a feed tell, and whether a jump is believed.

Anybody who can reach a port can send a datagram with any time, and one that is believed makes all that follow late. So a
datagram is believed at once only where its time goes on from what was believed:

    clock - 1 s  <=  t  <=  max(clock, now + lead) + 1 ms        t: all its events
    clock   the latest time believed, us
    lead    max(t - now): how far the sender's clock is ahead of ours, by the datagrams that were quickest on their way.
            It falls to 50 ms above that of the latest, so that a sender that stalls or is slower than real time is followed

What does not go on is held, in order, and what comes next decides:

    a datagram goes on                 the old time goes on. What it confirms is given, the rest was no jump and is refused
    one more does not go on, but it    the jump is believed: what is confirmed is given, the rest is refused; the latest
    confirms the one before it, and    goes on from there, or is held until it is confirmed itself
    nothing went on for twice as long
    as usual
    nothing comes for 0.25 s, or for   nobody contradicts: what is held is given, but what is ahead of later ones; the framer
    twice as long as usual             has rules of its own for gaps and for steps back
    4 MiB or 4096 datagrams are held   all of it is given

A datagram confirms an earlier one when it is not before it and at most a second ahead. This is the rule of openeb's robust
decoder (a jump waits for a later time that agrees), for a feed in which others may speak, too. A sender that restarts, pauses
for an hour or sends faster than real time loses no event.

A step back of less than a second is no jump: its events are late. But where more than half of the events of half a second
are more than 10 ms behind the clock, the clock is wrong, not they: it steps back to them, which is a return of the source.
"""

from __future__ import annotations

import sys

import numpy as np

from runtime.events.framer import GAP_US

AHEAD_US = 1_000
SLOWER_US = 50_000
USUAL_AT_MOST_US = 1_000_000
HOLD_US = 250_000
HOLD_EVENTS, HOLD_DATAGRAMS = 1 << 18, 1 << 12  # 4 MiB of events
NEIGHBOURS = 8  # of those that are held, this many may confirm a jump
BEHIND_US = 10_000
BALLOT_US = 500_000

Held = tuple[int, int, int, np.ndarray]  # when it came, its first and last time, its events [N]


class Timeline:
    """Times of our own clock are `now_us`, monotonic.

    refused  events whose jump was not confirmed, so far
    returns  how often the clock stepped back because most events were behind it
    """

    def __init__(self) -> None:
        self.refused = self.returns = 0
        self._clock_us: int | None = None
        self._anew = True
        self._lead_us = self._heard_us = 0  # heard: when a datagram went on last
        self._usual_us = 0.0  # between two that went on: the longest of late
        self._held: list[Held] = []
        self._held_events = 0
        self._ballot_us = self._behind = self._counted = 0  # since when; events behind the clock, and all

    def expected_us(self, now_us: int) -> int | None:
        """The time that a datagram tells if it comes now; None before the first."""
        return None if self._clock_us is None else max(self._clock_us, now_us + self._lead_us)

    def begin_anew(self) -> None:
        """The source was lost and is back: the next datagram is believed, as the first one was."""
        self._anew = True

    @property
    def due_us(self) -> int | None:
        """When `settle` has to be called, if nothing comes before; None: never."""
        return self._held[0][0] + self._hold_us if self._held else None

    @property
    def _hold_us(self) -> int:
        return max(HOLD_US, int(2 * self._usual_us))

    def goes_on(self, t_us: np.ndarray, now_us: int) -> bool:
        """Whether all these times, int64 [N] of some datagrams, go on, and nothing is held. They are heard then."""
        return not self._held and not self._anew and self._hear(t_us, now_us)

    def judge(self, events: np.ndarray, now_us: int) -> list[np.ndarray]:
        """One datagram's events [N] -> the packets that are believed now, in order."""
        if not len(events):
            return []
        this = (now_us, int(events["t"].min()), int(events["t"].max()), events)
        if self._hear(events["t"], now_us):
            if self._clock_us is not None and this[2] < self._clock_us - BEHIND_US:
                return [events]  # long on its way, or wrong: it says nothing about what is ahead
            return [*self._give(_confirmed([*self._held, this], AHEAD_US, GAP_US)), events]
        self._held.append(this)
        self._held_events += len(events)
        if self._held_events > HOLD_EVENTS or len(self._held) > HOLD_DATAGRAMS:
            return self._give_all(now_us, self._held[:-1])
        near = [*self._held[:-1][:1], *self._held[-NEIGHBOURS - 1 : -1], this]
        if now_us - self._heard_us < 2 * self._usual_us or len(_confirmed(near, SLOWER_US, GAP_US)) == 0:
            return []
        given = _confirmed(self._held, SLOWER_US, GAP_US)
        self._begin(max(one[2] for one in given), given[-1][0], now_us)
        self._held_events -= len(self._held.pop()[3])
        return [*self._give(given), *self.judge(events, now_us)]

    def settle(self, now_us: int, end: bool = False) -> list[np.ndarray]:
        """Nothing comes: the packets [N] that were held and are believed by now. With `end` nothing will come any more."""
        if self._held and (end or min(now_us - self._heard_us, now_us - self._held[0][0]) >= self._hold_us):
            return self._give_all(now_us, _confirmed(self._held, SLOWER_US, sys.maxsize))
        return []

    def _hear(self, t_us: np.ndarray, now_us: int) -> bool:
        """Whether all these times, int64 [N], go on from what was believed; moves the clock."""
        if not len(t_us):
            return True
        low_us, high_us, clock_us = int(t_us.min()), int(t_us.max()), self._clock_us
        if self._anew or clock_us is None:
            self._begin(high_us, now_us, now_us)
            return True
        expected_us = max(clock_us, now_us + self._lead_us)
        if low_us < clock_us - GAP_US or high_us > expected_us + AHEAD_US:
            return False
        if self._steps_back(t_us, low_us, now_us):
            return self._hear(t_us, now_us)  # from another clock
        if high_us < clock_us - BEHIND_US:
            return True
        lead_us = high_us - now_us
        self._lead_us = max(lead_us, min(self._lead_us, lead_us + SLOWER_US))
        if now_us > self._heard_us:
            self._usual_us = min(max(now_us - self._heard_us, 0.9 * self._usual_us), USUAL_AT_MOST_US)
        self._clock_us, self._heard_us = max(clock_us, high_us), now_us
        return True

    def _give_all(self, now_us: int, earlier: list[Held]) -> list[np.ndarray]:
        """The latest that is held, and before it the earlier ones."""
        last = self._held[-1]
        self._begin(last[2], last[0], now_us)
        return self._give([*earlier, last])

    def _give(self, given: list[Held]) -> list[np.ndarray]:
        """These packets of what is held; the others are refused."""
        packets = [one[3] for one in given]
        self.refused += self._held_events - sum(map(len, packets))
        self._held, self._held_events = [], 0
        return packets

    def _begin(self, clock_us: int, came_us: int, now_us: int) -> None:
        """A new time: clock_us, by a datagram that came at came_us."""
        self._anew = False
        self._clock_us, self._lead_us, self._heard_us = clock_us, clock_us - came_us, now_us
        self._ballot_us, self._behind, self._counted = now_us, 0, 0

    def _steps_back(self, t_us: np.ndarray, low_us: int, now_us: int) -> bool:
        """Counts the events behind the clock, and sets it back to them where they are most."""
        assert self._clock_us is not None
        limit_us = self._clock_us - BEHIND_US
        behind = t_us[t_us < limit_us] if low_us < limit_us else t_us[:0]
        self._behind += len(behind)
        self._counted += len(t_us)
        if now_us - self._ballot_us < BALLOT_US:
            return False
        if 2 * self._behind <= self._counted:
            self._ballot_us, self._behind, self._counted = now_us, 0, 0
        elif len(behind):
            self.returns += 1
            self._begin(int(behind.max()), now_us, now_us)
            return True
        return False


def _confirmed(held: list[Held], slack_us: int, most_us: int) -> list[Held]:
    """Of what is held, without the latest: what the next that was confirmed confirms, from the latest on backwards."""
    given, later = [], held[-1]
    for one in reversed(held[:-1]):
        came_later_us = later[0] - one[0]
        if one[2] <= later[1] + slack_us and later[2] <= one[2] + came_later_us + most_us:
            given.append(one)
            later = one
    return given[::-1]
