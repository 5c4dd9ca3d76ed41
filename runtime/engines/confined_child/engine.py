"""An engine in a confined process: frames in and outputs back through shared memory, with a small message for each call.

The process opens the graph and keeps the membranes, which are copied only when they are read or changed. Its answers have
the sizes that the card promises, since both sides compute the places of the arrays from the card. They are copied before
they are checked: a process that was taken over may change the shared memory at any time.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines import Engine
from runtime.core.engines.buffers import Buffers, Resident
from runtime.core.model.card import Card
from runtime.engines.confined_child.memory import CallArrays, SharedMemory, create_memory
from runtime.engines.confined_child.messages import DROP, EMPTY, MESSAGE, NEW, PULL, PUSH, RUN
from runtime.formats.child.children import Child
from runtime.formats.child.records import decode_reason, read_record

PROGRAM = Path(__file__).with_name("program.py")
# What libraries read about the processors: without it OpenVINO 2026 waits for ever, and ONNX Runtime 1.23 crashes
PROCESSORS = (Path("/sys/devices/system"), Path("/proc/cpuinfo"))
CALL_S = 60.0  # of one call, and of opening the file; 64 rows of the gesture network take 0.04 s on one core
ADVICE = "; the file is damaged, or made to harm. If you trust it, give its --sha256, or --confined off"
REASONS = {
    -signal.SIGKILL: "was killed: by somebody, or by Linux because no memory was left",
    -signal.SIGABRT: "crashed",
    -signal.SIGSEGV: "crashed",  # abort() as well, where a process may send no signals
}


class ConfinedEngine(Engine):
    """The base class of an engine class that opens its artifact in a confined process; see confine_engine.

    Sessions in several threads take turns. The process ends with the engine, or with this program.
    """

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        self.path, self.card = path, card
        self.turn, self._numbers = threading.Lock(), count()
        self._dropped: list[
            int
        ] = []  # sessions whose buffers are gone; the process hears of them with the next message
        plain = vars(replace(options, confined="off", sha256=None))
        request = json.dumps({"path": str(path), "card": card, "engine": self.name, "options": plain})
        with _open_places(path, *PROCESSORS) as places:
            self._memory, (control, self._control) = create_memory(request.encode()), os.pipe()
            try:
                own = (self._memory.descriptor, control)
                size = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
                self._child = Child(
                    PROGRAM, *map(str, own), size=size, threads=True, pass_fds=(*own, *places), wait_s=CALL_S
                )
            except BaseException:
                _end(None, self._memory, self._control)
                raise
            finally:
                os.close(control)
        self._close = weakref.finalize(self, _end, self._child, self._memory, self._control)
        self._read_answer()

    def buffers(self, rows: int, rates: bool = False) -> Buffers:
        return ConfinedBuffers(self, rows, rates)

    def open_session(self, buffers: Resident, rows: int) -> tuple[int, CallArrays]:
        """Make a session of some rows in the process; return its number and arrays. It is dropped with its `buffers`."""
        with self.turn:
            arrays, number = self._memory.share_arrays(buffers, buffers.v, grows=True), next(self._numbers)
            self.ask(NEW, number, rows, bool(buffers.rates))
        weakref.finalize(buffers, self._dropped.append, number).atexit = False
        return number, arrays

    def ask(self, operation: bytes, session: int, number: int = 0, rates: bool = False) -> None:
        """Send a message to the process, and wait until it is obeyed; the caller holds `turn`.

        Raises PlifError, in one line, if the process refuses, ends, takes longer than CALL_S, or answers anything else.
        """
        if not self._close.alive:
            raise PlifError(f"{self.path}: the confined process that ran it has ended; open it again")
        messages = [(DROP, False, self._dropped.pop(), 0) for _ in range(len(self._dropped))]
        with suppress(BrokenPipeError):  # it has ended, and its answer says why
            for message in (*messages, (operation, rates, session, number)):
                os.write(self._control, MESSAGE.pack(*message))
        if not self._child.wait(CALL_S):
            self._close()
            raise PlifError(
                f"{self.path}: a call has not come to an end after {CALL_S:g} s; it is damaged, or made to harm"
            )
        self._read_answer()

    def _read_answer(self) -> None:
        record = read_record(self._child)
        if record is not None and record[0] == b"E":
            raise PlifError(f"{self.path}: {decode_reason(record[1])}")
        if record != EMPTY:
            code, reason = (0, None) if record is not None else self._child.end()
            self._close()
            end = REASONS.get(code, f"ended with code {code}" if code else "gave another answer than was asked for")
            raise PlifError(f"{self.path}: {reason or f'the confined process that runs it {end}'}{ADVICE}")


class ConfinedBuffers(Resident):
    """The arrays of a session in a confined process, with the membranes there; see Buffers."""

    def __init__(self, engine: ConfinedEngine, rows: int, rates: bool) -> None:
        super().__init__(engine.card, rows, rates, engine.membranes(rows)[0])
        self._engine = engine
        self._session, self._shared = engine.open_session(self, rows)

    def call(self) -> None:
        self._run(self.x[None], self.y[None], {layer: values[None] for layer, values in self.rates.items()})

    def run_steps(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Run steps x [T, rows, C, H, W] -> y [T, rows, classes], rates [T * rows]; as many with each message as fit."""
        y = np.empty((len(x), *self.y.shape), np.float32)
        rates = {layer: np.empty((len(x), values.size), np.float32) for layer, values in self.rates.items()}
        if self._copied:
            self.push()
            self._copied = False
        most = len(self._shared.x)
        for t in range(0, len(x), most):
            piece = slice(t, t + most)
            self._run(x[piece], y[piece], {layer: values[piece] for layer, values in rates.items()})
        return y, {layer: values.reshape(-1) for layer, values in rates.items()}

    def _run(self, x: np.ndarray, y: np.ndarray, rates: dict[str, np.ndarray]) -> None:
        """Run a step for each entry of x [steps, rows, ...] -> y [steps, rows, ...], rates {layer: [steps, rows]}."""
        with self._engine.turn:
            self._shared.x[: len(x)] = x
            self._engine.ask(RUN, self._session, len(x))
            for array, shared in zip((y, *rates.values()), (self._shared.y, *self._shared.rates), strict=True):
                array[...] = shared[: len(x)]
        self._require_finite(y, *rates.values())

    def push(self) -> None:
        with self._engine.turn:
            for shared, v in zip(self._shared.v, self.v, strict=True):
                shared[...] = v
            self._engine.ask(PUSH, self._session)

    def pull(self) -> None:
        with self._engine.turn:
            self._engine.ask(PULL, self._session)
            for v, shared in zip(self.v, self._shared.v, strict=True):
                v[...] = shared
        self._require_finite(*self.v)

    def _require_finite(self, *arrays: np.ndarray) -> None:
        """Refuse answers of the process [...] with a number that is not finite: no network that passed its proof has one."""
        if not all(np.isfinite(array).all() for array in arrays):
            raise PlifError(f"{self._engine.path}: its answer has numbers that are not finite{ADVICE}")


@contextmanager
def _open_places(*places: Path) -> Iterator[list[int]]:
    """Open files and folders, those that exist, and yield their descriptors: the process may read them."""
    with ExitStack() as stack:
        descriptors = []
        for place in places:
            with suppress(OSError):  # the process says what it cannot read
                descriptors.append(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
                stack.callback(os.close, descriptors[-1])
        yield descriptors


def _end(child: Child | None, memory: SharedMemory, control: int) -> None:
    """End a confined process, and close what this process shares with it."""
    os.close(control)
    memory.close()
    if child is not None:
        child.__exit__()
