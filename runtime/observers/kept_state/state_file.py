"""The state of a stream on disk: `--state FILE` continues exactly where the stream that wrote FILE stopped.

FILE is an .npz (a zip, uncompressed, no pickle) with

    header.json       {"format": "plif-stream", "format_version": 4, "digest": of the artifact or null, "states":
      [[name, shape of
                      one row], ...], "framing", "decide", "reset", "filters": as texts, "sensors": [[width,
                      height], ...], "turned": [the orientation of each source; null if the framing takes pictures as
                      they are]}
    session.steps     int64 [rows], session.I: float32 [rows, ...], state I of the header
    S.rules, S.frames   of source S, uint8: libplif's snapshots of its rules and of its framer; S.filters of its filters
    S.steps, S.reach_s  int64 and float64 [1]: decisions so far; the reach of its packets into the past

FILE.last is the state before: it is written first, so that one of the two is whole after a power cut or on a full disk. If FILE
was damaged the stream goes on from FILE.last and says so; an empty FILE without one is as no file.

Streams with these options on this artifact have arrays of these names, types and shapes, and no other file is read.
Reading takes no more memory than the stream has, and a stream starts with the complete state or not at all. Events of
the open frame belong to both accounts: they were used, and come again.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write, read_regular
from runtime.core.stream.observe import Observer
from runtime.core.stream.run import Run
from runtime.observers.kept_state.arrays import DamagedState, make_header, read_arrays, write_arrays

FORMAT, FORMAT_VERSION = "plif-stream", 4


class StateFile(Observer):
    """An observer that restores the state of a stream from a file at its start, and writes it back at its end.

    Raises PlifError for a run that another run cannot continue.
    """

    def __init__(self, state: str) -> None:
        self.path = Path(state)
        self.last = self.path.with_name(f"{self.path.name}.last")
        self._is_whole = False  # what self.path holds

    def on_open(self, run: Run) -> None:
        """Restore the streams' state from the state file; if there is no file yet, they start from reset."""
        self.streams, self.session, options, framing = run.streams, run.session, run.options, run.framing
        if framing.kind == "count" or framing.T is not None:
            raise PlifError(
                f"--state {self.path}: framing '{framing}' divides a whole recording; use duration or events, without T"
            )
        if any(stream.source.stepped for stream in self.streams):
            raise PlifError(f"--state {self.path}: a replay of --record begins and ends as the recording did")
        for stream in self.streams:
            if stream.frames.filters and stream.frames.filters.custom:
                raise PlifError(f"--state {self.path}: what a filter of your own remembers is not in such a file")
            stream.frames.keep_open = True
        self._header = make_header(run.model.card, FORMAT, FORMAT_VERSION)
        self._header |= {"framing": str(framing), "decide": options.decide, "reset": options.reset}
        self._header |= {"filters": options.filters, "sensors": [list(stream.source.sensor) for stream in self.streams]}
        turns = framing.orientation == "upright"
        self._header["turned"] = [stream.source.upright if turns else None for stream in self.streams]
        path, arrays = self._read_newest(run)
        if arrays is None:
            return
        try:
            for number, stream in enumerate(self.streams):
                stream.restore_state({name: arrays[f"{number}.{name}"] for name in stream.save_state()})
        except PlifError as error:
            raise PlifError(f"{path}: holds a state that no stream has; it was damaged or edited ({error})") from None
        self.session.steps[:] = arrays["session.steps"]
        self.session.restore([arrays[f"session.{i}"] for i in range(len(self.session.state))])

    def _read_newest(self, run: Run) -> tuple[Path, dict[str, np.ndarray] | None]:
        """Return the newest whole state, and the file that holds it; None if the streams begin from reset."""
        templates = self._collect_arrays()
        try:
            if os.path.lexists(self.path):
                arrays = read_arrays(self.path, self._header, MISMATCHES, templates)
                self._is_whole = True
                return self.path, arrays
        except DamagedState as error:
            if os.path.lexists(self.last):
                arrays = read_arrays(self.last, self._header, MISMATCHES, templates)
                run.source.say(f"{error}; goes on from {self.last}, the state before it")
                return self.last, arrays
            if self.path.stat().st_size:
                raise
            run.source.say(f"{self.path}: is empty, and there is no {self.last.name}: begins from reset")
        return self.path, None

    def on_end(self, run: Run) -> None:
        """Write the state file, if each source was read to its end or the user ended the stream."""
        if not all(stream.frames.ended for stream in self.streams):
            run.source.say(f"{self.path} stays as it was: not all was read")
            return
        if self._is_whole:
            with atomic_write(self.last) as (part,):
                part.write_bytes(read_regular(self.path))
        write_arrays(self.path, self._header, self._collect_arrays())
        for stream in self.streams:
            stream.account.add(used=stream.frames.framer.time_state.waiting)

    def _collect_arrays(self) -> dict[str, np.ndarray]:
        streams = enumerate(self.streams)
        stream_arrays = {
            f"{number}.{name}": array for number, stream in streams for name, array in stream.save_state().items()
        }
        membranes = {f"session.{i}": v for i, v in enumerate(self.session.state.values())}
        return {**stream_arrays, "session.steps": self.session.steps, **membranes}


MISMATCHES = {
    "format": "no state of a stream of plif",
    "format_version": "of another version of plif; remove it to begin anew, or go on with that version",
    "digest": "of another artifact: the digests differ",
    "states": "of another artifact, or of other rows: the states differ",
    "framing": "of a stream with another --framing",
    "decide": "of a stream with another --decide",
    "reset": "of a stream with another --reset",
    "filters": "of a stream with another --filter",
    "sensors": "of other sources: the sensors differ",
    "turned": "of pictures with another side up: --up",
}
