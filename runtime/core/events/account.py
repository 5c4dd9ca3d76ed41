"""The account of a source: where every event went."""

from __future__ import annotations

import threading

from runtime.native.interface import PlifAccount


class Account:
    """Where every event went. It only ever adds, from any thread; nothing is taken back.

    events_in  all that came;  used: their frame was stepped;  filtered: cropped away, taken by a filter, or beyond T frames
    not_shown  of the filtered, those whose pixel the framing does not show (resize=nearest or crop, shape=square)
    late       before the start of the open frame;  invalid: outside the sensor, marked invalid, ...
    dropped    by a live source that could not keep up, in an overload, or at the end

    An event that came and whose fate is not known yet is waiting: in the open frame, or in a frame that is not stepped yet.
    `of_framer` is libplif's account, into which a Framer has it write; the rest is entered with `add`.
    """

    def __init__(
        self, events_in: int = 0, used: int = 0, filtered: int = 0, late: int = 0, invalid: int = 0, dropped: int = 0
    ) -> None:
        self.of_framer = PlifAccount()
        self.used, self.dropped = used, dropped
        self.closed = False  # nothing is entered any more
        self._came, self._filtered, self._late, self._invalid = events_in, filtered, late, invalid
        self._not_shown = 0
        self._lock = threading.Lock()

    def add(self, came: int = 0, *, used: int = 0, filtered: int = 0, invalid: int = 0, dropped: int = 0) -> None:
        """`came`: events seen for the first time. The others: events whose fate is known now, each once."""
        with self._lock:
            if not self.closed:
                self._came += came
                self.used += used
                self._filtered += filtered
                self._invalid += invalid
                self.dropped += dropped

    def begin_after(self, waiting: int) -> None:
        """The framer has the state of another run: only what comes now is entered, and what waits in its open frame."""
        before = self.of_framer
        self._came -= before.events_in - waiting
        self._filtered -= before.filtered
        self._late -= before.late
        self._invalid -= before.invalid
        self._not_shown -= before.not_shown

    def close(self) -> None:
        """The end: what still waits is dropped, and nothing is entered any more."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self.dropped += self.waiting

    @property
    def events_in(self) -> int:
        return self._came + int(self.of_framer.events_in)

    @property
    def filtered(self) -> int:
        return self._filtered + int(self.of_framer.filtered)

    @property
    def not_shown(self) -> int:
        return self._not_shown + int(self.of_framer.not_shown)

    @property
    def late(self) -> int:
        return self._late + int(self.of_framer.late)

    @property
    def invalid(self) -> int:
        return self._invalid + int(self.of_framer.invalid)

    @property
    def waiting(self) -> int:
        """Events whose fate is not known yet; 0 at the end."""
        return self.events_in - self.used - self.filtered - self.late - self.invalid - self.dropped

    def _counts(self) -> tuple[int, ...]:
        return self.events_in, self.used, self.filtered, self.late, self.invalid, self.dropped

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Account) and self._counts() == other._counts()

    def __repr__(self) -> str:
        names = ("events_in", "used", "filtered", "late", "invalid", "dropped")
        return f"Account({', '.join(f'{name}={n}' for name, n in zip(names, self._counts(), strict=True))})"
