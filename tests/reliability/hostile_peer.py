"""A TCP server that means no good: one for every client of ours, with the same behaviours towards each."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

Behaviour = Callable[["HostilePeer", socket.socket], None]
PAUSE_S = 0.002  # between two bytes of a drip: less than any wait for the next byte
PIECE = 1 << 20


class HostilePeer:
    """A server at `address` that behaves towards each connection as told, in a thread of its own, until it is closed.

    begin      the beginning of an honest answer, sent first
    more       what an answer without an end goes on with
    behaviour  one of BEHAVIOURS; it may be changed between two connections
    request    returns whether these bytes are a whole request, before which nothing is sent
    """

    def __init__(
        self,
        behaviour: Behaviour,
        begin: bytes = b"",
        more: bytes = b"x",
        request: Callable[[bytes], bool] = lambda data: True,
    ) -> None:
        self.behaviour, self.begin, self.more, self._request = behaviour, begin, more, request
        self.ended = threading.Event()
        self.connections = 0
        self._listener = socket.create_server(("0.0.0.0", 0))
        self.port = int(self._listener.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            data = b""
            while not self._request(data):
                if not (piece := connection.recv(1 << 16)):
                    return
                data += piece
            self.behaviour(self, connection)

    def __enter__(self) -> HostilePeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._listener.close()


def stay_silent(peer: HostilePeer, connection: socket.socket) -> None:
    """Accept, and say nothing."""
    peer.ended.wait()


def stop_halfway(peer: HostilePeer, connection: socket.socket) -> None:
    """Begin an answer, and say nothing more: the other side of a half-open connection."""
    connection.sendall(peer.begin)
    peer.ended.wait()


def drip(peer: HostilePeer, connection: socket.socket) -> None:
    """Send an answer without an end, one byte every few milliseconds."""
    for byte in itertools.chain(peer.begin, itertools.cycle(peer.more)):
        connection.sendall(bytes([byte]))
        if peer.ended.wait(PAUSE_S):
            return


def send_endlessly(peer: HostilePeer, connection: socket.socket) -> None:
    """Send an answer without an end as fast as it is read."""
    connection.sendall(peer.begin)
    piece = peer.more * (PIECE // len(peer.more))
    while not peer.ended.is_set():
        connection.sendall(piece)


def close_early(peer: HostilePeer, connection: socket.socket) -> None:
    """Begin an answer, and close the connection."""
    connection.sendall(peer.begin)


def reset(peer: HostilePeer, connection: socket.socket) -> None:
    """Begin an answer, and reset the connection."""
    connection.sendall(peer.begin)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def send_garbage(peer: HostilePeer, connection: socket.socket) -> None:
    """Send bytes of no protocol, and stay."""
    connection.sendall(bytes(range(255, -1, -1)) * 16)
    peer.ended.wait()


BEHAVIOURS = (stay_silent, stop_halfway, drip, send_endlessly, close_early, reset, send_garbage)
