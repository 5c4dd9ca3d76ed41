"""Tells systemd that the stream runs (`Type=notify`, `WatchdogSec=`): sd_notify(3), a datagram to $NOTIFY_SOCKET.

READY=1      the model is open and the stream begins
WATCHDOG=1   from the loop, at each third of WatchdogSec: after a step, or while it waits for a frame. A loop that hangs
             sends none, and systemd starts the service again
STATUS=      the newest note, for `systemctl status`
STOPPING=1   the stream has ended
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from runtime.core.base.text import printable
from runtime.core.events.lines import StreamSummary
from runtime.core.stream.decide import Decision
from runtime.core.stream.observe import Observer

if TYPE_CHECKING:
    from runtime.core.stream.run import Run


def sd_notify(text: str, address: str) -> bool:
    """Sends lines NAME=VALUE to systemd's socket; '@' stands for the zero of an abstract one. False when nobody takes it."""
    place = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(text.encode(), place)
    except OSError:
        return False
    return True


class Systemd(Observer):
    """The observer that does it. `find` makes one where this process was started by systemd with Type=notify."""

    def __init__(self, address: str, watchdog_us: int | None = None) -> None:
        self._address = address
        self._every_s = watchdog_us / 3e6 if watchdog_us else None
        self._next_s = 0.0

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ) -> Systemd | None:
        address = environment.get("NOTIFY_SOCKET", "")
        if not address:
            return None
        asked = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(address, int(asked) if ours and asked.isascii() and asked.isdigit() else None)

    def on_start(self, run: Run) -> None:
        sd_notify(f"READY=1\nSTATUS=streaming {', '.join(printable(name) for name in run.names)}", self._address)

    def on_decision(self, decision: Decision) -> None:
        self._beat()

    def on_wait(self) -> None:
        self._beat()

    def on_note(self, source: str, text: str) -> None:
        sd_notify(f"STATUS={printable(text)}", self._address)

    def on_summary(self, summary: StreamSummary) -> None:
        sd_notify("STOPPING=1", self._address)

    def _beat(self) -> None:
        now_s = time.monotonic()
        if self._every_s is not None and now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            sd_notify("WATCHDOG=1", self._address)


def hear(as_json: bool) -> list[Observer]:
    return [] if (found := Systemd.find()) is None else [found]
