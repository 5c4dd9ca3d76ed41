"""Who is let in, and for how long: connections within a budget, so that the stream keeps its files and its time.

Anybody on the network may connect; only some have the token. So nobody may take what the stream needs:

files    connections have an eighth of the files that the process may open, and never more than CONNECTIONS. Where all are
         taken, a new one takes the place of the oldest that is no open page: who wants an answer gets it within
         milliseconds, and who holds a connection loses it
seconds  a connection that has not become an open page ends after REQUEST_S, whatever it does: sends nothing, half of a
         head, one byte a second, half of a body, or does not read its answer
time     at most ACCEPTS connections are accepted in a TICK_S, and one where the thread of the server took more than SHARE
         of the last. The others wait in the kernel, which has room for some and refuses the rest

Where a connection cannot be accepted (no files left, no memory), the door rests for REST_S. Troubles are said once a minute.
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
REST_S = 1.0
SAY_S = 60.0


def budget(files: int) -> int:
    """How many connections there may be in a process that may open so many files."""
    return max(4, min(CONNECTIONS, files // 8))


def files_at_most() -> int:
    """How many files this process may open."""
    if sys.platform == "win32":
        return 8 * CONNECTIONS
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 8 * CONNECTIONS if soft == resource.RLIM_INFINITY else soft


class Troubles:
    """Says what went wrong: the first time at once, then at most once a minute, with the number of times."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._unsaid, self._next_s = 0, -SAY_S

    def add(self, what: str) -> None:
        self._unsaid += 1
        now_s = self._clock()
        if now_s >= self._next_s:
            more = f" ({self._unsaid} troubles since the last line)" if self._unsaid > 1 else ""
            self._next_s, self._unsaid = now_s + SAY_S, 0
            self._say(what + more)


class Guest:
    """One connection. `page`: it has shown the token and is an open page, which may stay."""

    def __init__(self, connection: socket.socket, peer: object) -> None:
        self.connection, self.peer = connection, peer
        self.until_s = time.monotonic() + REQUEST_S
        self.page = False
        self.transport: asyncio.Transport | None = None
        self.entering: asyncio.Task[None] | None = None

    @property
    def gone(self) -> bool:
        return self.connection.fileno() < 0

    def cut(self) -> None:
        """Ends the connection at once: what it has not read is thrown away."""
        if self.transport is not None:
            self.transport.abort()


class Door:
    """Accepts from `listening` in the running loop, between open() and close(); each connection gets a protocol of `make`."""

    def __init__(self, listening: socket.socket, make: Callable[[], asyncio.Protocol], troubles: Troubles) -> None:
        self._socket, self._make, self._troubles = listening, make, troubles
        self._fileno = listening.fileno()
        self.most = budget(files_at_most())
        self._guests: list[Guest] = []  # the oldest first
        self._left = ACCEPTS  # connections that may still be accepted in this tick
        self._rests_until_s = self._cpu_s = 0.0
        self._ticking: asyncio.TimerHandle | None = None

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._failed)
        self._socket.setblocking(False)
        self._cpu_s = time.thread_time()
        self._loop.add_reader(self._fileno, self._accept)
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def close(self) -> None:
        """No more connections; those that are there are cut."""
        self._loop.remove_reader(self._fileno)
        if self._ticking is not None:
            self._ticking.cancel()
        for guest in self._guests:
            guest.cut()

    def stay(self, peer: object) -> None:
        """The connection from this address has become an open page."""
        for guest in self._guests:
            guest.page |= guest.peer == peer

    def leave(self, peer: object) -> None:
        """The page is closed; it has REQUEST_S to hear of it."""
        for guest in self._guests:
            if guest.peer == peer:
                guest.page, guest.until_s = False, time.monotonic() + REQUEST_S

    def _accept(self) -> None:
        try:
            connection, peer = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            self._troubles.add(f"cannot accept connections ({error.strerror or error}); tries again after {REST_S:g} s")
            self._rests_until_s = time.monotonic() + REST_S
            self._loop.remove_reader(self._fileno)
            return
        connection.setblocking(False)
        if not self._make_room():
            connection.close()
            return
        guest = Guest(connection, peer[:2])
        self._guests.append(guest)
        guest.entering = self._loop.create_task(self._let_in(guest))
        self._left -= 1
        if self._left <= 0:
            self._loop.remove_reader(self._fileno)  # until the next tick

    async def _let_in(self, guest: Guest) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone already
            transport, _ = await self._loop.connect_accepted_socket(self._make, guest.connection)
            guest.transport = transport

    def _make_room(self) -> bool:
        """Whether there is room for one more connection now."""
        self._guests = [guest for guest in self._guests if not guest.gone]
        if len(self._guests) < self.most:
            return True
        self._troubles.add(f"more than {self.most} connections at once: the oldest that are no open page are cut off")
        oldest = next((guest for guest in self._guests if guest.transport is not None and not guest.page), None)
        if oldest is None:
            return False
        oldest.cut()
        self._guests.remove(oldest)
        return True

    def _tick(self) -> None:
        now_s, cpu_s = time.monotonic(), time.thread_time()
        busy = cpu_s - self._cpu_s > SHARE * TICK_S
        self._cpu_s = cpu_s
        for guest in self._guests:
            if not guest.page and now_s >= guest.until_s:
                guest.cut()
        self._guests = [guest for guest in self._guests if not guest.gone]
        if now_s >= self._rests_until_s:
            self._left = 1 if busy else ACCEPTS
            self._loop.add_reader(self._fileno, self._accept)
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """What asyncio would print with a traceback, for each connection again."""
        error = context.get("exception")
        self._troubles.add(f"{context.get('message')}" + (f" ({type(error).__name__}: {error})" if error else ""))
