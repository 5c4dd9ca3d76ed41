"""libplif through ctypes, for tests: its public functions as the package's own library exports them."""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events import make_events
from runtime.core.events.frame import Frame
from runtime.native import library
from runtime.native.interface import PlifDecision, PlifOptions


class CAccount(c.Structure):
    """plif_account."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int64) for name in ("events_in", "used", "filtered", "late", "invalid", "not_shown")),
    )

    def __init__(self) -> None:
        super().__init__(c.sizeof(CAccount))


def error() -> str:
    return str(library().plif_error_text().decode())


class Handle:
    """A model that C opened."""

    def __init__(self, path: Path) -> None:
        self.at = library().plif_open(str(path).encode(), 0)
        if not self.at:
            raise PlifError(error())
        self.classes = [library().plif_class_name(self.at, i).decode() for i in range(library().plif_classes(self.at))]

    def close(self) -> None:
        library().plif_close(self.at)


Said = tuple[int, int, str | None, float, list[float]]  # t_us, step, label, score, votes


class CRecording:
    """A recording that C opened: what describes it, and its events. from_memory: C gets the bytes and the name, and no file."""

    def __init__(self, path: Path, from_memory: bool = False) -> None:
        self.bytes, name = path.read_bytes() if from_memory else b"", str(path).encode()
        if from_memory:
            self.at = library().plif_recording_open_buffer(self.bytes, len(self.bytes), name)
        else:
            self.at = library().plif_recording_open(name)
        if not self.at:
            raise PlifError(error())

    def close(self) -> None:
        library().plif_recording_close(self.at)

    def describe(self, filter: str | None = None) -> PlifOptions:
        options = PlifOptions(size=c.sizeof(PlifOptions), filter=filter and filter.encode())
        if library().plif_recording_describe(self.at, c.byref(options)):
            raise PlifError(error())
        return options

    def events(self, room: int = 5000) -> np.ndarray:
        """All of them, [N] of EVENT_DTYPE, read `room` at a time."""
        parts = []
        while True:
            arrays = [np.empty(room, dtype) for dtype in ("i8", "u2", "u2", "u1")]
            got = library().plif_recording_read(self.at, *(array.ctypes.data for array in arrays), room)
            if got < 0:
                raise PlifError(error())
            parts.append(make_events(*(array[:got] for array in arrays)))
            if not got:
                return np.concatenate(parts)


class CSession:
    """One session; gives decisions as plain tuples."""

    def __init__(self, model: Handle, **options: Any) -> None:
        texts = {key: value.encode() if isinstance(value, str) else value for key, value in options.items()}
        self.model, self.decision = model, PlifDecision()
        self.options = PlifOptions(**{"size": c.sizeof(PlifOptions), "threads": 1, "total_events": -1, **texts})
        self.at = library().plif_session_new(model.at, c.byref(self.options))
        if not self.at:
            raise PlifError(error())

    def free(self) -> None:
        library().plif_session_free(self.at)

    def feed(self, events: np.ndarray) -> Iterator[Said]:
        """events [N] of EVENT_DTYPE -> their decisions."""
        arrays = [
            np.ascontiguousarray(events[name], dtype)
            for name, dtype in (("t", "i8"), ("x", "u2"), ("y", "u2"), ("p", "u1"))
        ]
        used, took = 0, c.c_size_t()
        while used < len(events):
            places = [array[used:].ctypes.data for array in arrays]
            got = library().plif_feed(self.at, *places, len(events) - used, c.byref(took), c.byref(self.decision))
            used += took.value
            self.used = used
            if self.check(got):
                yield self.said()

    def finish(self) -> Iterator[Said]:
        while self.check(library().plif_finish(self.at, c.byref(self.decision))):
            yield self.said()

    def tick(self, t_us: int) -> Iterator[Said]:
        while self.check(library().plif_tick(self.at, t_us, c.byref(self.decision))):
            yield self.said()

    def check(self, got: int) -> bool:
        if got < 0:
            raise PlifError(error())
        return got > 0

    def said(self) -> Said:
        d = self.decision
        label = self.model.classes[d.index] if d.index >= 0 else None
        return d.t_us, d.step, label, d.score, d.votes[: len(self.model.classes)]

    def step(self, x: np.ndarray) -> np.ndarray:
        y = np.zeros(len(self.model.classes), np.float32)
        whole = np.ascontiguousarray(x, np.float32)
        self.check(library().plif_step(self.at, whole.ctypes.data, y.ctypes.data))
        return y

    def frame(self, frame: Frame) -> Said:
        """A complete frame to a decision."""
        x = np.ascontiguousarray(frame.x, np.float32)
        times = frame.t_start_us, frame.t_end_us, frame.events
        self.check(library().plif_frame(self.at, x.ctypes.data, *times, c.byref(self.decision)))
        return self.said()

    def seen(self, shape: tuple[int, ...]) -> np.ndarray:
        """The frame of the last decision, float32 [C, H, W]."""
        at = c.cast(library().plif_frame_seen(self.at), c.POINTER(c.c_float))
        return np.ctypeslib.as_array(at, shape).copy()

    def rates(self, states: int) -> list[float]:
        return list(c.cast(library().plif_firing_rates(self.at), c.POINTER(c.c_float))[:states])

    def account(self) -> dict[str, int]:
        out = CAccount()
        self.check(library().plif_account_of(self.at, c.byref(out)))
        return {name: getattr(out, name) for name, _ in CAccount._fields_[1:]}

    def snapshot(self) -> bytes:
        out = c.create_string_buffer(library().plif_snapshot_size(self.at))
        self.check(library().plif_snapshot(self.at, out, len(out)))
        return out.raw

    def restore(self, snapshot: bytes) -> None:
        self.check(library().plif_restore(self.at, snapshot, len(snapshot)))
