"""The limits of connections to the dashboard, so that the stream keeps its files and its processor time.

Anybody on the network may connect, but only some have the token. So no client may take resources that the stream
needs:

files    connections have an eighth of the files that the process may open, and never more than CONNECTIONS. If all are
         taken, a new one replaces the oldest that is no open page: an honest client gets its answer within
         milliseconds, and a client that holds a connection loses it
seconds  a connection that has not become an open page ends after REQUEST_S, whatever it does: sends nothing, half of a
         head, one byte a second, half of a body, or does not read its answer
time     at most ACCEPTS connections are accepted in a TICK_S, and one if the server's thread took more than SHARE
         of the last tick. The others wait in the kernel, which has room for some and refuses the rest

If a connection cannot be accepted (no files left, no memory), accepting pauses for PAUSE_S. Problems are reported once
a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable

CONNECTIONS = 64
REQUEST_S = 10.0
TICK_S = 0.1
ACCEPTS = 10
SHARE = 0.1
PAUSE_S = 1.0
LOG_PERIOD_S = 60.0


def connection_limit(files: int) -> int:
    """Return the most dashboard connections for a process that may open `files` files."""
    return max(4, min(CONNECTIONS, files // 8))


def file_limit() -> int:
    """Return the number of files that this process may open at once."""
    if sys.platform == "win32":
        return 8 * CONNECTIONS
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 8 * CONNECTIONS if soft == resource.RLIM_INFINITY else soft


class RateLimitedLog:
    """A log of connection problems that prints the first at once, then at most a line a minute with their count."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._unsaid, self._next_s = 0, -LOG_PERIOD_S

    def add(self, problem: str) -> None:
        self._unsaid += 1
        now_s = self._clock()
        if now_s >= self._next_s:
            suffix = f" ({self._unsaid} troubles since the last line)" if self._unsaid > 1 else ""
            self._next_s, self._unsaid = now_s + LOG_PERIOD_S, 0
            self._say(problem + suffix)


class Connection:
    """One network connection of a browser or program to the dashboard.

    is_page: it has shown the token and is an open page, which may stay.
    """

    def __init__(self, connection: socket.socket, peer: object) -> None:
        self.connection, self.peer = connection, peer
        self.deadline_s = time.monotonic() + REQUEST_S
        self.is_page = False
        self.transport: asyncio.Transport | None = None
        self.starting: asyncio.Task[None] | None = None

    @property
    def is_closed(self) -> bool:
        return self.connection.fileno() < 0

    def abort(self) -> None:
        """End the connection to the dashboard at once, and discard its unread data."""
        if self.transport is not None:
            self.transport.abort()


class ConnectionLimiter:
    """A limiter that accepts connections to the dashboard within limits, between open() and close().

    Each connection of the socket `listening` gets a protocol of `make_protocol`.
    """

    def __init__(
        self, listening: socket.socket, make_protocol: Callable[[], asyncio.Protocol], log: RateLimitedLog
    ) -> None:
        self._socket, self._make_protocol, self._log = listening, make_protocol, log
        self._fileno = listening.fileno()
        self.limit = connection_limit(file_limit())
        self._connections: list[Connection] = []  # the oldest first
        self._accepts_left = ACCEPTS  # how many may still be accepted in this tick
        self._paused_until_s = self._cpu_s = 0.0
        self._ticking: asyncio.TimerHandle | None = None

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._log_exception)
        self._socket.setblocking(False)
        self._cpu_s = time.thread_time()
        self._loop.add_reader(self._fileno, self._accept)
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def close(self) -> None:
        """Accept no more connections to the dashboard, and end the open ones."""
        self._loop.remove_reader(self._fileno)
        if self._ticking is not None:
            self._ticking.cancel()
        for connection in self._connections:
            connection.abort()

    def mark_page(self, peer: object) -> None:
        """Mark the dashboard connection from this address as an open page, which may stay open."""
        for connection in self._connections:
            connection.is_page |= connection.peer == peer

    def unmark_page(self, peer: object) -> None:
        """Unmark the dashboard connection from this address as an open page; it then ends within REQUEST_S."""
        for connection in self._connections:
            if connection.peer == peer:
                connection.is_page, connection.deadline_s = False, time.monotonic() + REQUEST_S

    def _accept(self) -> None:
        try:
            accepted, peer = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            self._log.add(f"cannot accept connections ({error.strerror or error}); tries again after {PAUSE_S:g} s")
            self._paused_until_s = time.monotonic() + PAUSE_S
            self._loop.remove_reader(self._fileno)
            return
        accepted.setblocking(False)
        if not self._make_room():
            accepted.close()
            return
        connection = Connection(accepted, peer[:2])
        self._connections.append(connection)
        connection.starting = self._loop.create_task(self._start_protocol(connection))
        self._accepts_left -= 1
        if self._accepts_left <= 0:
            self._loop.remove_reader(self._fileno)  # until the next tick

    async def _start_protocol(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone already
            transport, _ = await self._loop.connect_accepted_socket(self._make_protocol, connection.connection)
            connection.transport = transport

    def _make_room(self) -> bool:
        """Make room for one more dashboard connection, if need be by ending an old one; return whether there is room."""
        self._connections = [connection for connection in self._connections if not connection.is_closed]
        if len(self._connections) < self.limit:
            return True
        self._log.add(f"more than {self.limit} connections at once: the oldest that are no open page are cut off")
        oldest = next(
            (
                connection
                for connection in self._connections
                if connection.transport is not None and not connection.is_page
            ),
            None,
        )
        if oldest is None:
            return False
        oldest.abort()
        self._connections.remove(oldest)
        return True

    def _tick(self) -> None:
        now_s, cpu_s = time.monotonic(), time.thread_time()
        busy = cpu_s - self._cpu_s > SHARE * TICK_S
        self._cpu_s = cpu_s
        for connection in self._connections:
            if not connection.is_page and now_s >= connection.deadline_s:
                connection.abort()
        self._connections = [connection for connection in self._connections if not connection.is_closed]
        if now_s >= self._paused_until_s:
            self._accepts_left = 1 if busy else ACCEPTS
            self._loop.add_reader(self._fileno, self._accept)
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def _log_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Log an exception of the dashboard's event loop in one line; asyncio itself would print a traceback for each."""
        error = context.get("exception")
        self._log.add(f"{context.get('message')}" + (f" ({type(error).__name__}: {error})" if error else ""))
