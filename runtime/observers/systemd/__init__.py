"""Notification of systemd that a stream runs (`Type=notify`, `WatchdogSec=`).

It sends sd_notify(3) datagrams to $NOTIFY_SOCKET:

READY=1      the model is open and the stream begins
WATCHDOG=1   from the loop, at each third of WatchdogSec: after a step, or while it waits for a frame. A loop that hangs
             sends none, and systemd restarts the service
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
    """Send lines NAME=VALUE to systemd's notification socket; return False if nobody receives them.

    '@' stands for the zero byte of an abstract socket.
    """
    place = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(text.encode(), place)
    except OSError:
        return False
    return True


class Systemd(Observer):
    """An observer that tells the service manager systemd that a stream runs, and how it does.

    `from_environment` creates it if systemd started this process with Type=notify.
    """

    def __init__(self, address: str, watchdog_us: int | None = None) -> None:
        self._address = address
        self._every_s = watchdog_us / 3e6 if watchdog_us else None
        self._next_s = 0.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Systemd | None:
        address = environment.get("NOTIFY_SOCKET", "")
        if not address:
            return None
        watchdog = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(address, int(watchdog) if ours and watchdog.isascii() and watchdog.isdigit() else None)

    def on_start(self, run: Run) -> None:
        sd_notify(f"READY=1\nSTATUS=streaming {', '.join(printable(name) for name in run.names)}", self._address)

    def on_decision(self, decision: Decision) -> None:
        self._send_watchdog()

    def on_wait(self) -> None:
        self._send_watchdog()

    def on_note(self, source: str, text: str) -> None:
        sd_notify(f"STATUS={printable(text)}", self._address)

    def on_summary(self, summary: StreamSummary) -> None:
        sd_notify("STOPPING=1", self._address)

    def _send_watchdog(self) -> None:
        now_s = time.monotonic()
        if self._every_s is not None and now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            sd_notify("WATCHDOG=1", self._address)


def hear(as_json: bool) -> list[Observer]:
    return [] if (observer := Systemd.from_environment()) is None else [observer]
