"""The account of the events of a source: how many arrived, and their outcomes."""

from __future__ import annotations

import threading

from runtime.native.interface import PlifAccount


class Account:
    """The account of a source's events: their counts by outcome (used, filtered, late, invalid or dropped).

    Counts only grow, and any thread may add to them.

    events_in  all events that arrived
    used       events of frames that the network stepped
    filtered   events outside the cropped view, removed by a filter, or beyond T frames
    not_shown  filtered events at pixels that the framing does not show (resize=nearest or crop, shape=square)
    late       events before the start of the open frame
    invalid    events outside the sensor, marked invalid, ...
    dropped    events lost by a live source that could not keep up, in an overload, or at the end

    An event that arrived and has no outcome yet is waiting: in the open frame, or in a frame that is not stepped yet.
    `framer_account` is libplif's account, which a Framer updates; `add` enters all other counts.
    """

    def __init__(
        self, events_in: int = 0, used: int = 0, filtered: int = 0, late: int = 0, invalid: int = 0, dropped: int = 0
    ) -> None:
        self.framer_account = PlifAccount()
        self.used, self.dropped = used, dropped
        self.closed = False  # counting has stopped
        self._arrived, self._filtered, self._late, self._invalid = events_in, filtered, late, invalid
        self._not_shown = 0
        self._lock = threading.Lock()

    def add(self, arrived: int = 0, *, used: int = 0, filtered: int = 0, invalid: int = 0, dropped: int = 0) -> None:
        """Add events to the account of a source: arrived, used, filtered, invalid or dropped.

        `arrived` counts events seen for the first time. The others count events with an outcome known now, each event
        once.
        """
        with self._lock:
            if not self.closed:
                self._arrived += arrived
                self.used += used
                self._filtered += filtered
                self._invalid += invalid
                self.dropped += dropped

    def exclude_earlier_run(self, waiting: int) -> None:
        """Subtract the event counts of an earlier run, after the framer has restored the state of that run.

        Only new events are counted, and the `waiting` events of the restored open frame.
        """
        before = self.framer_account
        self._arrived -= before.events_in - waiting
        self._filtered -= before.filtered
        self._late -= before.late
        self._invalid -= before.invalid
        self._not_shown -= before.not_shown

    def close(self) -> None:
        """Close an account of events: count the waiting ones as dropped, and stop counting."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self.dropped += self.waiting

    @property
    def events_in(self) -> int:
        return self._arrived + int(self.framer_account.events_in)

    @property
    def filtered(self) -> int:
        return self._filtered + int(self.framer_account.filtered)

    @property
    def not_shown(self) -> int:
        return self._not_shown + int(self.framer_account.not_shown)

    @property
    def late(self) -> int:
        return self._late + int(self.framer_account.late)

    @property
    def invalid(self) -> int:
        return self._invalid + int(self.framer_account.invalid)

    @property
    def waiting(self) -> int:
        """The number of events whose outcome is not known yet in a source's account; 0 at the end."""
        return self.events_in - self.used - self.filtered - self.late - self.invalid - self.dropped

    def _counts(self) -> tuple[int, ...]:
        return self.events_in, self.used, self.filtered, self.late, self.invalid, self.dropped

    def __eq__(self, value: object) -> bool:
        return isinstance(value, Account) and self._counts() == value._counts()

    def __repr__(self) -> str:
        names = ("events_in", "used", "filtered", "late", "invalid", "dropped")
        return f"Account({', '.join(f'{name}={n}' for name, n in zip(names, self._counts(), strict=True))})"
