"""A neighbour on the network that means no good: floods a dashboard in every way that needs no token, for some seconds.

    python -m tests.flood PORT SECONDS [TOKEN]

With a token there are also pages that are opened and never read. Runs in a process of its own, which may have more files
open than the dashboard that it floods.
"""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable

TEXT = b'{"since": 0}'
QUESTION = bytes([0x81, 0x80 | len(TEXT)]) + bytes(4) + TEXT  # of an open page, masked by zeros
HALF = b"GET /?token=x HTTP/1.1\r\nHost: "


class Flood:
    """Each method opens what it opens and keeps it open until the end; a refused or cut connection is opened again."""

    def __init__(self, port: int, seconds: float, token: str | None) -> None:
        self.port, self.token, self.end_s = port, token, time.monotonic() + seconds

    def on(self) -> bool:
        return time.monotonic() < self.end_s

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=0.5)

    def many(self, count: int, first: bytes) -> None:
        """`count` connections that send `first` and then nothing."""
        held: list[socket.socket] = []
        while self.on():
            while len(held) < count and self.on():
                with contextlib.suppress(OSError):
                    one = self.connect()
                    held.append(one)
                    one.sendall(first)
            time.sleep(0.1)
            held = [one for one in held if alive(one)]

    def again(self, body: bytes) -> None:
        """One connection after the other, as fast as they go; nothing of the answer is read."""
        while self.on():
            with contextlib.suppress(OSError), self.connect() as one:
                one.sendall(body)

    def half_open(self) -> None:
        self.many(1200, b"")

    def half_requests(self) -> None:
        self.many(100, HALF)

    def half_bodies(self) -> None:
        host = f"127.0.0.1:{self.port}".encode()
        self.many(50, b"POST /control HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 4000\r\n\r\n{")

    def one_byte_a_second(self) -> None:
        held: list[socket.socket] = []
        while self.on():
            with contextlib.suppress(OSError):
                held.append(self.connect())
            for one in held:
                with contextlib.suppress(OSError):
                    one.send(b"G")
            time.sleep(1.0 / (1 + len(held)))

    def garbage(self) -> None:
        while self.on():
            self.again(os.urandom(3000))

    def huge_headers(self) -> None:
        self.again(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 20_000 + b"\r\n")

    def quick_requests(self) -> None:
        self.again(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())

    def feeds_without_token(self) -> None:
        self.again(self.handshake("x" * 32))

    def feeds_that_never_read(self) -> None:
        """Pages with the token, each with a hundred questions."""
        if self.token:
            self.many(20, self.handshake(self.token) + 100 * QUESTION)

    def handshake(self, token: str) -> bytes:
        key = base64.b64encode(os.urandom(16)).decode()
        return (
            f"GET /feed HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: plif, {token}\r\n\r\n"
        ).encode()

    def ways(self) -> list[Callable[[], None]]:
        return [
            self.half_open,
            self.half_requests,
            self.half_bodies,
            self.one_byte_a_second,
            self.garbage,
            self.huge_headers,
            self.quick_requests,
            self.feeds_without_token,
            self.feeds_that_never_read,
        ]


def alive(one: socket.socket) -> bool:
    try:
        one.setblocking(False)
        return one.recv(4096, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def main() -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    flood = Flood(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
    threads = [threading.Thread(target=way) for way in flood.ways()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
