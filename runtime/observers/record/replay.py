"""A recording of `--record`, run again: `plif stream model.onnx DIR` gives the decisions that were given then, bit for bit.

The recorded events go through the recorded options. decisions.jsonl says which of the frames the network saw (an overload
merges some and drops others), where the user asked for a reset, and where the source was lost and came back; a replay ends
with its last whole line, wherever the recorder was cut off. With another artifact, or another framing or filter, those lines
mean nothing: then the events are a recording like any other, and a warning says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.base.files import measure
from runtime.core.engines.model import OpenModel
from runtime.core.events.frame import Frame
from runtime.core.events.framer import Framer
from runtime.core.events.framing import framing_of
from runtime.core.events.sources.base import TICK, Source
from runtime.core.events.sources.file import FileSource
from runtime.core.stream.options import StreamOptions
from runtime.observers.record.recording import RecordedRun, is_recording

MAKE_FRAMES = ("framing", "filters", "on_return")  # with another of these the recorded steps mean nothing


class RecordedSource(FileSource):
    """The events of one source of a recording, and its facts. `stepped`: the recorded steps are replayed, too."""

    can_return = True

    def __init__(self, run: RecordedRun, number: int, stepped: bool) -> None:
        entry = run.sources[number]
        super().__init__(str(run.folder / entry.file), entry.sensor)
        if len(run.sources) == 1:
            self.name = str(run.folder)
        self.upright, self.up_said, self.sensor_from = entry.upright, entry.up_said, "recording"
        self.run, self.number, self.stepped = run, number, stepped
        if entry.count is not None and stepped:
            self._count = entry.count  # of the whole recording, even where the recorder was cut off

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """The recorded events [N] of EVENT_DTYPE, and a TICK where the source was silent."""
        self.returns, done = 0, 0
        marks = self.run.marks(self.number)
        mark = next(marks, None)
        count = self._count
        for packet in super().packets(max_events):
            while mark is not None and mark[0] <= done + len(packet):
                before, until_us = max(0, mark[0] - done), mark[1]
                if before > 0:
                    yield packet[:before]
                packet, done = packet[before:], done + before
                if until_us is None:
                    self.returns += 1
                elif self.stepped:
                    self.until_us = until_us
                    yield TICK
                mark = next(marks, None)
            if len(packet):
                yield packet
            done += len(packet)
        while mark is not None and mark[0] <= done and self.stepped:  # the recording ended with silence
            if mark[1] is not None:
                self.until_us = mark[1]
                yield TICK
            mark = next(marks, None)
        self._count = count if count is not None else self._count

    def words(self) -> None:
        """None: packets() knows what happened between the events."""

    def choose(self, frames: Iterator[Frame], framer: Framer) -> Iterator[Frame]:
        """The frames that the network saw: those of the events, merged and left out as the recording says."""
        if not self.stepped:
            yield from frames
            return
        for merged, skipped, line in self.run.steps(self.number):
            frame = self._next_step(frames, framer, merged, skipped, restart=line.get("reset") == "control")
            if frame is None:
                self.notes.append(f"{self.name}: the events end before the steps do: the rest is not replayed")
                return
            frame.lost = line.get("lost") is True
            yield frame

    def _next_step(
        self, frames: Iterator[Frame], framer: Framer, merged: int, skipped: int, restart: bool
    ) -> Frame | None:
        """The frame of the next recorded step; None where the events end before it.

        Frames are taken one at a time: while a stream was stopped, more may have been skipped than memory holds.
        """
        seen: Frame | None = None
        gap = False
        for number, frame in enumerate(frames, 1):
            if number <= skipped + 1:  # a gap before a dropped frame counts for the frame after it
                gap, restart = gap or frame.discontinuity, restart or frame.restart
            if number <= skipped:
                framer.account.add(dropped=frame.events)
                continue
            if seen is not None:
                framer.join(frame, seen)
            seen = frame
            if number == skipped + merged:
                seen.discontinuity, seen.restart, seen.skipped = gap, restart, skipped
                return seen
        if seen is not None:
            framer.account.add(dropped=seen.events)
        return None


def replayed(
    model: OpenModel, sources: Sequence[str | Source], options: StreamOptions
) -> tuple[list[str | Source], StreamOptions]:
    """(sources, options) of a run: a folder of `--record` becomes its sources, with its options where none are given."""
    folders = [one for one in sources if isinstance(one, str) and is_recording(one)]
    if not folders:
        return list(sources), options
    if len(sources) > 1:
        raise PlifError(f"{folders[0]}: a recording of --record is replayed alone, not beside other sources")
    run = RecordedRun(folders[0])
    options = options.over(run.options)
    now, then = (
        one.to_dict() | {"framing": str(framing_of(model.card, one.framing))} for one in (options, run.options)
    )
    changed = [f"another {name}" for name in MAKE_FRAMES if now[name] != then[name]]
    if measure(model.path)[1] != run.artifact_sha256:
        changed.insert(0, "another artifact")
    elif model.engine.name != run.engine:
        warnings.warn(
            f"{run.folder}: was recorded with engine {run.engine}, not {model.engine.name}", PlifWarning, stacklevel=2
        )
    if changed:
        warnings.warn(
            f"{run.folder}: {' and '.join(changed)} than recorded: its events are streamed as new ones, its steps are not used",
            PlifWarning,
            stacklevel=2,
        )
    found = [RecordedSource(run, number, not changed) for number in range(len(run.sources))]
    for source in found if options.up else ():
        source.stand(str(options.up))
    return list(found), options


def recorded_engine(folder: str) -> str:
    """The engine that a replay needs."""
    return RecordedRun(folder).engine
