"""Send a recording as datagrams, as a camera would, to try `udp://` and a live stream without a camera.

send("recording.raw", "udp://127.0.0.1:7777?format=t64")          at the speed of the recording
send("recording.raw", "udp://127.0.0.1:7777", speed="1000000")    a million events a second

If nobody listens at the host, it answers by ICMP. This gives one warning and no error: a camera would also continue,
and the receiver may start later. A host that does not exist gives no answer.
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
from runtime.sources.udp.datagrams import DATAGRAM_FORMATS, encode_datagrams

EXAMPLE = "udp://127.0.0.1:7777?format=t64"


@with_fields(SendOptions)
def send(source: str, target: str, *, progress: Callable[[int], None] = lambda sent: None, **options: Any) -> int:
    """Send the events of a source as UDP datagrams, and return the number of sent events.

    progress    called with the number of events sent so far
    options     speed=, each=, sensor=, csv=: the fields of SendOptions (options.py)
    """
    settings = SendOptions(**options)
    speed, chunk = settings.speed, settings.each
    address = Address.parse(target, ("format", "sensor"), EXAMPLE)
    form = address.options.get("format", "t64")
    address.sensor(None)  # only the receiver uses it; check it here as well
    if not target.startswith("udp://") or form not in DATAGRAM_FORMATS:
        raise PlifError(f"{target}: expected {EXAMPLE}, with format={'|'.join(DATAGRAM_FORMATS)}")
    if speed not in ("real", "max") and not re.fullmatch(r"[1-9][0-9]{0,11}", speed):
        raise PlifError(f"--speed {speed}: expected real, max or a whole number of events a second")
    events = open_source(source, user_sensor=settings.sensor, csv=settings.csv)
    largest = DATAGRAM_FORMATS[form].largest
    if events.sensor[0] > largest[0] or events.sensor[1] > largest[1]:
        w, h = events.sensor
        raise PlifError(f"{source}: its {w}x{h} sensor does not fit {form}, which takes {largest[0]}x{largest[1]}")
    family, destination = address.resolve(socket.SOCK_DGRAM)
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.connect(destination)
        sent, number, refused = 0, 0, False
        began_s, first_us = time.perf_counter(), None
        for packet in events.packets():
            for start, body in zip(
                range(0, len(packet), chunk), encode_datagrams(packet, form, chunk, number), strict=True
            ):
                count = min(chunk, len(packet) - start)
                if first_us is None:
                    first_us = int(packet["t"][0])
                if speed == "real":
                    due_s = (int(packet["t"][start + count - 1]) - first_us) / 1e6
                else:
                    due_s = 0.0 if speed == "max" else sent / int(speed)
                _sleep_until(began_s + due_s)
                if _send_datagram(udp, body) and not refused:
                    refused = True
                    _warn_no_listener(target)
                sent += count
                number += 1
            progress(sent)
        if not refused and udp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED:
            _warn_no_listener(target)
    return sent


def _warn_no_listener(target: str) -> None:
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


def _send_datagram(out: socket.socket, body: bytes) -> bool:
    """Send a UDP datagram; return whether the host refused an earlier one because no program listened."""
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
