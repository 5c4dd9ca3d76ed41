"""The state of a stream on disk: `--state FILE` goes on in another process exactly where the stream that wrote FILE stopped.

FILE is an .npz (a zip, nothing compressed, no pickle) with

    header.json       {"format": "plif-stream", "format_version": 4, "digest": of the artifact or null, "states": [[name, shape of
                      one row], ...], "framing", "decide", "reset", "filters": as texts, "sensors": [[width,
                      height], ...], "turned": [how each source's pictures become upright; null where the framing takes them as
                      they are]}
    session.steps     int64 [rows], session.I: float32 [rows, ...], state I of the header
    S.rules, S.frames   of source S, uint8: libplif's snapshots of its rules and of its framer; S.filters of its filters
    S.steps, S.reach_s  int64 and float64 [1]: decisions so far; how far back its packets reach

Streams with these options on this artifact have arrays of these names, types and shapes, and no other file is read: it takes no
more memory than the stream has, and a stream begins with all of it or not at all. Events of the frame that was open belong to
both accounts: they were used, and come.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.stream.observe import Observer
from runtime.core.stream.run import Run
from runtime.observers.kept_state.arrays import header_of, read_arrays, write_arrays

FORMAT, FORMAT_VERSION = "plif-stream", 4


class StateFile(Observer):
    """Where a run begins, and where it leaves off: the file `state`.

    Raises PlifError for a run that cannot be continued by another.
    """

    def __init__(self, state: str) -> None:
        self.path = Path(state)

    def on_open(self, run: Run) -> None:
        """The streams go on where the file says; without a file they begin afresh."""
        self.streams, self.session, options, framing = run.streams, run.session, run.options, run.framing
        if framing.kind == "count" or framing.T is not None:
            raise PlifError(
                f"--state {self.path}: framing '{framing}' divides a whole recording; use duration or events, without T"
            )
        if any(stream.source.stepped for stream in self.streams):
            raise PlifError(f"--state {self.path}: a replay of --record begins and ends as the recording did")
        for stream in self.streams:
            if stream.frames.filters and stream.frames.filters.own:
                raise PlifError(f"--state {self.path}: what a filter of your own remembers is not in such a file")
            stream.frames.keep_open = True
        self._header = header_of(run.model.card, FORMAT, FORMAT_VERSION)
        self._header |= {"framing": str(framing), "decide": options.decide, "reset": options.reset}
        self._header |= {"filters": options.filters, "sensors": [list(stream.source.sensor) for stream in self.streams]}
        turns = framing.orientation == "upright"
        self._header["turned"] = [stream.source.upright if turns else None for stream in self.streams]
        if not os.path.lexists(self.path):
            return
        found = read_arrays(self.path, self._header, WRONG, self._arrays())
        try:
            for number, stream in enumerate(self.streams):
                stream.go_on({name: found[f"{number}.{name}"] for name in stream.kept()})
        except PlifError as error:
            raise PlifError(
                f"{self.path}: holds a state that no stream has; it was damaged or edited ({error})"
            ) from None
        self.session.steps[:] = found["session.steps"]
        self.session.restore([found[f"session.{i}"] for i in range(len(self.session.state))])

    def on_end(self, run: Run) -> None:
        """Writes the file, where every source was read to its end, or a live one was told to end."""
        if not all(stream.frames.ended for stream in self.streams):
            run.source.say(f"{self.path} stays as it was: not all was read")
            return
        write_arrays(self.path, self._header, self._arrays())
        for stream in self.streams:
            stream.account.add(used=stream.frames.framer.time.waiting)

    def _arrays(self) -> dict[str, np.ndarray]:
        streams = enumerate(self.streams)
        kept = {f"{number}.{name}": array for number, stream in streams for name, array in stream.kept().items()}
        membranes = {f"session.{i}": v for i, v in enumerate(self.session.state.values())}
        return {**kept, "session.steps": self.session.steps, **membranes}


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
    "turned": "of pictures with another side up: --up",
}
