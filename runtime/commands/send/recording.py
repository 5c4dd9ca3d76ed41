"""Sends a recording as datagrams, the other end of `udp://`: for trying a live stream without a camera.

send("recording.raw", "udp://127.0.0.1:7777?format=t64")          at the events' own pace
send("recording.raw", "udp://127.0.0.1:7777", speed="1000000")    a million events a second

A host at which nobody listens says so by ICMP: a warning, once, and no error, since a camera sends on, too, and the receiver may
begin later. A host that is not there says nothing.
"""

from __future__ import annotations

import errno
import re
import socket
import time
import warnings
from collections.abc import Callable
from typing import Any

from runtime.commands.send.options import SendOptions
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.base.options import with_fields
from runtime.core.events.sources import open_source
from runtime.sources.udp.address import Address
from runtime.sources.udp.datagrams import WIRES, encode_datagrams

EXAMPLE = "udp://127.0.0.1:7777?format=t64"


@with_fields(SendOptions)
def send(source: str, target: str, *, progress: Callable[[int], None] = lambda sent: None, **options: Any) -> int:
    """Sends the events of a source and returns how many they were.

    progress  called with the number of events sent so far
    options   speed=, each=, sensor=, csv=: the fields of SendOptions (options.py)
    """
    chosen = SendOptions(**options)
    speed, each = chosen.speed, chosen.each
    address = Address.parse(target, ("format", "sensor"), EXAMPLE)
    form = address.options.get("format", "t64")
    address.sensor(None)  # the receiver needs it; here it is only checked
    if not target.startswith("udp://") or form not in WIRES:
        raise PlifError(f"{target}: expected {EXAMPLE}, with format={'|'.join(WIRES)}")
    if speed not in ("real", "max") and not re.fullmatch(r"[1-9][0-9]{0,11}", speed):
        raise PlifError(f"--speed {speed}: expected real, max or a whole number of events a second")
    events = open_source(source, asked=chosen.sensor, csv=chosen.csv)
    largest = WIRES[form].largest
    if events.sensor[0] > largest[0] or events.sensor[1] > largest[1]:
        w, h = events.sensor
        raise PlifError(f"{source}: its {w}x{h} sensor does not fit {form}, which takes {largest[0]}x{largest[1]}")
    family, where = address.resolve(socket.SOCK_DGRAM)
    with socket.socket(family, socket.SOCK_DGRAM) as out:
        out.connect(where)
        sent, number, refused = 0, 0, False
        began_s, first_us = time.perf_counter(), None
        for packet in events.packets():
            for at, body in zip(range(0, len(packet), each), encode_datagrams(packet, form, each, number), strict=True):
                count = min(each, len(packet) - at)
                if first_us is None:
                    first_us = int(packet["t"][0])
                if speed == "real":
                    due_s = (int(packet["t"][at + count - 1]) - first_us) / 1e6
                else:
                    due_s = 0.0 if speed == "max" else sent / int(speed)
                _sleep_until(began_s + due_s)
                if _send(out, body) and not refused:
                    refused = True
                    _warn(target)
                sent += count
                number += 1
            progress(sent)
        if not refused and out.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED:
            _warn(target)
    return sent


def _warn(target: str) -> None:
    warnings.warn(
        f"{target}: nobody listens there: what is sent is lost until somebody does; start plif stream first, and wait until it "
        "says that it listens",
        PlifWarning,
        stacklevel=3,
    )


def _sleep_until(due_s: float) -> None:
    ahead = due_s - time.perf_counter()
    if ahead > 0.0005:  # a sleep lasts about that much too long, so a shorter wait is not worth a sleep
        time.sleep(ahead)


def _send(out: socket.socket, body: bytes) -> bool:
    """Sends a datagram. Returns whether one before it was refused, since nobody listened to it."""
    refused = False
    while True:
        try:
            out.send(body)
            return refused
        except ConnectionRefusedError:
            refused = True
        except BlockingIOError:
            time.sleep(0.001)
        except OSError as error:
            raise PlifError(f"cannot send datagrams of {len(body)} bytes ({error.strerror})") from None
