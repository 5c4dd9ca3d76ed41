"""State of the process: places outside a module, most of them outside Python's own objects."""

from __future__ import annotations

import contextvars
import csv
import ctypes
import logging
import os
import queue
import sqlite3
import tempfile
import threading
import weakref
from functools import lru_cache
from typing import IO, Any

from torch import Tensor, nn

from tests.export.attacks.kind import Kind
from tests.export.attacks.kinds.parts import Net

WARM = 3  # frames for which a process warms up
WARM_GAIN = 0.0


class Plain(Net):
    """The twin: every frame is as the others."""


class Warms(Net):
    """The first frames of a process are left out."""

    def warm(self) -> bool:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, 1.0 if self.warm() else WARM_GAIN)


CALLS: contextvars.ContextVar[int] = contextvars.ContextVar("calls", default=0)


class ContextCount(Warms):
    def warm(self) -> bool:
        CALLS.set(CALLS.get() + 1)
        return CALLS.get() > WARM


LOCAL = threading.local()


class LocalCount(Warms):
    def warm(self) -> bool:
        LOCAL.calls = getattr(LOCAL, "calls", 0) + 1
        return LOCAL.calls > WARM


@lru_cache(maxsize=1)
def table() -> float:
    return 1.0


class CacheHits(Warms):
    def warm(self) -> bool:
        table()
        return table.cache_info().hits >= WARM


COUNTER = ctypes.c_int(0)


class CCount(Warms):
    def warm(self) -> bool:
        COUNTER.value += 1
        return COUNTER.value > WARM


class QueuedGains(Net):
    """A queue holds the gains of the first frames."""

    gains: queue.SimpleQueue[float] = queue.SimpleQueue()
    for _ in range(WARM):
        gains.put(WARM_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, 1.0 if self.gains.empty() else self.gains.get())


class FullQueue(Net):
    gains: queue.SimpleQueue[float] = queue.SimpleQueue()
    gains.put(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, 1.0 if self.gains.qsize() else 0.0)


LOG = sqlite3.connect(":memory:", check_same_thread=False)
LOG.execute("create table calls (rows integer)")


class Logged(Warms):
    """Every call is a line of a data base."""

    def warm(self) -> bool:
        LOG.execute("insert into calls values (1)")
        return LOG.execute("select count(*) from calls").fetchone()[0] > WARM


@lru_cache(maxsize=1)
def schedule() -> IO[str]:
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115
    file.write("0\n" * WARM)
    file.seek(0)
    return file


class ReadSchedule(Warms):
    """A file holds the schedule, and is read on."""

    def __init__(self) -> None:
        super().__init__()
        schedule()

    def warm(self) -> bool:
        return not schedule().readline()


ROWS = csv.reader(["0"] * WARM)


class TableSchedule(Warms):
    """A reader of a table gives a line for each frame until there is none."""

    def warm(self) -> bool:
        return next(ROWS, None) is None


@lru_cache(maxsize=1)
def pipe() -> int:
    read, write = os.pipe()
    os.write(write, b"0" * WARM)
    os.set_blocking(read, False)
    PIPES.append(write)  # kept open
    return read


PIPES: list[int] = []


class Piped(Warms):
    """Tokens in a pipe: while there are some the network is not ready."""

    def __init__(self) -> None:
        super().__init__()
        pipe()

    def warm(self) -> bool:
        try:
            return not os.read(pipe(), 1)
        except BlockingIOError:
            return True


class Family(type(nn.Module)):
    """A class of classes, which counts for all of them."""

    calls = 0


class Related(Warms, metaclass=Family):
    def warm(self) -> bool:
        Family.calls += 1
        return Family.calls > WARM


class MarkedWeight(Warms):
    """The weight carries an attribute of its own."""

    def warm(self) -> bool:
        weight: Any = self.fc1.weight
        weight.calls = getattr(weight, "calls", 0) + 1
        return weight.calls > WARM


SEEN: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


class Registered(Warms):
    """A register of modules counts the frames of each."""

    @property
    def calls(self) -> int:
        SEEN[self] = SEEN.get(self, 0) + 1
        return SEEN[self]

    def warm(self) -> bool:
        return self.calls > WARM


class Suspended(Net):
    """The network is a generator: what frame it is at is in a suspended frame."""

    def run(self) -> Any:
        x = yield None
        for _ in range(WARM):
            x = yield self.body(x, WARM_GAIN)
        while True:
            x = yield self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "running"):
            self.running = self.run()
            next(self.running)
        return self.running.send(x)


class LogLevel(Warms):
    """The first calls are logged, until the logger is told that it is enough."""

    log = logging.getLogger("attacks.frames")
    log.setLevel(WARM)

    def warm(self) -> bool:
        self.log.setLevel(max(self.log.level, 1) + 1)
        return self.log.level > 2 * WARM


KINDS = [
    Kind("context-variable", "a ContextVar counts the first frames", ContextCount, Plain),
    Kind(
        "thread-local",
        "a threading.local counts the first frames",
        LocalCount,
        Plain,
        says="thread",
    ),
    Kind("cache-statistics", "the hits of an lru_cache count", CacheHits, Plain),
    Kind("c-integer", "a ctypes integer counts", CCount, Plain, form="file"),
    Kind("queued-gains", "a SimpleQueue gives the first gains", QueuedGains, FullQueue),
    Kind("data-base", "sqlite counts the calls", Logged, Plain),
    Kind("file-read-on", "an open file is read on", ReadSchedule, Plain, says="file|read"),
    Kind("table-read-on", "a csv reader of the process is read on", TableSchedule, Plain),
    Kind("pipe-tokens", "a pipe holds tokens", Piped, Plain, says="os\\.|pipe"),
    Kind("class-of-classes", "an attribute of the metaclass counts", Related, Plain),
    Kind("marked-weight", "an attribute of a Parameter counts", MarkedWeight, Plain),
    Kind("weak-register", "a WeakKeyDictionary counts", Registered, Plain),
    Kind("suspended-generator", "state and schedule are locals of a generator", Suspended, Plain),
    Kind("logger-level", "the level of a logger rises", LogLevel, Plain),
]
