"""The state of a stream on disk: `--state FILE` goes on in another process exactly where the stream that wrote FILE stopped.

FILE is an .npz (a zip, nothing compressed, no pickle) with

    header.json       {"format": "plif-stream", "format_version": 2, "digest": of the artifact or null, "states": [[name, shape of
                      one row], ...], "framing", "decide", "reset", "filters": as texts, "sensors": [[width, height], ...]}
    session.steps     int64 [rows], session.I: float32 [rows, ...], state I of the header
    S.PART.NAME       of source S, what its framer and filters keep (KEEPS of their classes), and libplif's snapshot of its rules

A number that may be absent is int64 [2]: whether it is there, and what it is. Streams with these options on this artifact have
arrays of these names, types and shapes, and no other file is read: it takes no more memory than the stream has, and a stream
begins with all of it or not at all. Events of the frame that was open belong to both accounts: they were used, and come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.engines import snapshot
from runtime.engines.session import Session
from runtime.events.framing import Framing
from runtime.stream.options import StreamOptions
from runtime.stream.stream import Stream

FORMAT, FORMAT_VERSION = "plif-stream", 2


def go_on(options: StreamOptions, framing: Framing, streams: Sequence[Stream], session: Session) -> StateFile | None:
    """The file of --state, from which these streams have gone on; None where none was asked for. As StateFile."""
    if options.state is None:
        return None
    file = StateFile(options, framing, streams, session)
    file.restore()
    return file


class StateFile:
    """Where a run begins, and where it leaves off: the file `options.state` of these streams, on rows of this session.

    Raises PlifError for a run that cannot be continued by another.
    """

    def __init__(self, options: StreamOptions, framing: Framing, streams: Sequence[Stream], session: Session) -> None:
        self.path, self.streams, self.session = Path(options.state or ""), streams, session
        if framing.kind == "count" or framing.T is not None:
            raise PlifError(
                f"--state {self.path}: framing '{framing}' divides a whole recording; use duration or events, without T"
            )
        if any(stream.source.stepped for stream in streams):
            raise PlifError(f"--state {self.path}: a replay of --record begins and ends as the recording did")
        for stream in streams:
            stream.frames.keep_open = True
        self._header = snapshot.header_of(session.model.card, session.streams, FORMAT, FORMAT_VERSION)
        del self._header["streams"]  # the rows of the session follow from sources and --reset
        self._header |= {"framing": str(framing), "decide": options.decide, "reset": options.reset}
        self._header |= {"filters": options.filters, "sensors": [list(stream.source.sensor) for stream in streams]}

    def restore(self) -> None:
        """The streams go on where the file says; without a file they begin afresh."""
        if not os.path.lexists(self.path):
            return
        found = snapshot.read_arrays(self.path, self._header, WRONG, self._arrays())
        try:
            for name, owner, field in _fields(self.streams):
                _unpack(owner, field, found[name])
        except PlifError as error:
            raise PlifError(
                f"{self.path}: holds a state that no stream has; it was damaged or edited ({error})"
            ) from None
        for stream in self.streams:
            self._check(stream)
            stream.go_on()
        self.session.steps[:] = found["session.steps"]
        self.session.restore([found[f"session.{i}"] for i in range(len(self.session.state))])

    def write(self) -> None:
        snapshot.write_arrays(self.path, self._header, self._arrays())
        for stream in self.streams:
            stream.account.add(used=stream.frames.framer.open_events)

    def _arrays(self) -> dict[str, np.ndarray]:
        kept = {name: _pack(owner, field) for name, owner, field in _fields(self.streams)}
        membranes = {f"session.{i}": v for i, v in enumerate(self.session.state.values())}
        return {**kept, "session.steps": self.session.steps, **membranes}

    def _check(self, stream: Stream) -> None:
        """What no stream could have written, and would end in an error later or in frames without number."""
        if not stream.frames.framer.is_sound():
            raise PlifError(f"{self.path}: holds a state that no stream has; it was damaged or edited")


WRONG = {
    "format": "no state of a stream of plif",
    "format_version": "of another version of plif; remove it to begin anew, or go on with that version",
    "digest": "of another artifact: the digests differ",
    "states": "of another artifact, or of other rows: the states differ",
    "framing": "of a stream with another --framing",
    "decide": "of a stream with another --decide",
    "reset": "of a stream with another --reset",
    "filters": "of a stream with another --filter",
    "sensors": "of other sources: the sensors differ",
}


def _fields(streams: Sequence[Stream]) -> Iterator[tuple[str, Any, str]]:
    """(name in the file, object, its attribute) of all that the streams keep."""
    for number, stream in enumerate(streams):
        parts: dict[str, Any] = {"stream": stream, "source": stream.frames, "framer": stream.frames.framer}
        if stream.frames.framer.overlap is not None:
            parts["overlap"] = stream.frames.framer.overlap
        for i, each in enumerate(stream.frames.filters.each if stream.frames.filters else ()):
            parts[f"filter{i}"] = each
        for part, owner in parts.items():
            for field in owner.KEEPS:
                yield f"{number}.{part}.{field.strip('_')}", owner, field


def _pack(owner: Any, field: str) -> np.ndarray:
    """An attribute as an array: an array as it is, floats as float64, whole numbers that may be absent as int64 [2]."""
    value = getattr(owner, field)
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, float | tuple):
        return np.atleast_1d(np.asarray(value, np.float64))
    return np.array([0, 0] if value is None else [1, value], np.int64)


def _unpack(owner: Any, field: str, found: np.ndarray) -> None:
    before = getattr(owner, field)
    value: Any = found.copy()
    if isinstance(before, float | tuple):
        value = float(found[0]) if isinstance(before, float) else tuple(found.tolist())
    elif not isinstance(before, np.ndarray):
        known, number = found.tolist()
        if not known and before is not None:
            raise PlifError(f"--state: {field.strip('_')} is missing in it; it was damaged or edited")
        value = type(before)(number) if isinstance(before, bool) else number if known else None
    setattr(owner, field, value)
