"""The replay of a `--record` folder: `plif stream model.onnx DIR` repeats the recorded decisions, bit for bit.

The recorded events go through the recorded options. decisions.jsonl tells which of the frames the network got (an
overload merges some and drops others), when the user reset the stream, and when the source was lost and came back. A
replay ends with its last complete line, wherever the recorder was cut off. With another artifact, framing or filter,
those lines do not apply: the events are then an ordinary recording, and a warning says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.base.files import hash_artifact
from runtime.core.engines.model import OpenModel
from runtime.core.events.frame import Frame
from runtime.core.events.framer import Framer
from runtime.core.events.framing import resolve_framing
from runtime.core.events.sources.base import TICK, Source
from runtime.core.events.sources.file import FileSource
from runtime.core.stream.options import StreamOptions
from runtime.observers.replayed_stream.recording import RecordedRun, is_recording

FRAME_OPTIONS = ("framing", "filters", "on_return")  # if one of these differs, the recorded steps do not apply


class RecordedSource(FileSource):
    """The source of a replay: the recorded events of one source of a recorded stream, and its facts.

    `stepped`: the recorded steps are replayed as well.
    """

    can_return = True

    def __init__(self, run: RecordedRun, number: int, stepped: bool) -> None:
        entry = run.sources[number]
        super().__init__(str(run.folder / entry.file), entry.sensor)
        if len(run.sources) == 1:
            self.name = str(run.folder)
        self.upright, self.has_user_orientation, self.sensor_from = (
            entry.upright,
            entry.has_user_orientation,
            "recording",
        )
        self.run, self.number, self.stepped = run, number, stepped
        if entry.count is not None and stepped:
            self._count = entry.count  # of the whole recording, even where the recorder was cut off

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Yield the recorded events [N] of EVENT_DTYPE, and an empty packet (TICK) for each silence of the source."""
        self.returns, position = 0, 0
        marks = self.run.read_marks(self.number)
        mark = next(marks, None)
        count = self._count
        for packet in super().packets(max_events):
            while mark is not None and mark[0] <= position + len(packet):
                before, until_us = max(0, mark[0] - position), mark[1]
                if before > 0:
                    yield packet[:before]
                packet, position = packet[before:], position + before
                if until_us is None:
                    self.returns += 1
                elif self.stepped:
                    self.until_us = until_us
                    yield TICK
                mark = next(marks, None)
            if len(packet):
                yield packet
            position += len(packet)
        while mark is not None and mark[0] <= position and self.stepped:  # the recording ended with silence
            if mark[1] is not None:
                self.until_us = mark[1]
                yield TICK
            mark = next(marks, None)
        self._count = count if count is not None else self._count

    def words(self) -> None:
        """Return None, which means no raw EVT 3.0 words: a replay's packets() give its events, silences and returns."""

    def choose(self, frames: Iterator[Frame], framer: Framer) -> Iterator[Frame]:
        """Yield the frames that the network got in the recorded stream: merged and left out as recorded."""
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
        """Build the frame of the next recorded step of a stream, or return None if the events end before it.

        Frames are taken one at a time: while a stream was stopped, more may have been skipped than fit into memory.
        """
        merged_frame: Frame | None = None
        gap = False
        for number, frame in enumerate(frames, 1):
            if number <= skipped + 1:  # a gap before a dropped frame counts for the frame after it
                gap, restart = gap or frame.discontinuity, restart or frame.restart
            if number <= skipped:
                framer.account.add(dropped=frame.events)
                continue
            if merged_frame is not None:
                framer.join(frame, merged_frame)
            merged_frame = frame
            if number == skipped + merged:
                merged_frame.discontinuity, merged_frame.restart, merged_frame.skipped = gap, restart, skipped
                return merged_frame
        if merged_frame is not None:
            framer.account.add(dropped=merged_frame.events)
        return None


def expand_recording(
    model: OpenModel, sources: Sequence[str | Source], options: StreamOptions
) -> tuple[list[str | Source], StreamOptions]:
    """Replace the folder of a recorded stream by its sources and its options; return (sources, options).

    Options that the user set stay.
    """
    folders = [entry for entry in sources if isinstance(entry, str) and is_recording(entry)]
    if not folders:
        return list(sources), options
    if len(sources) > 1:
        raise PlifError(f"{folders[0]}: a recording of --record is replayed alone, not beside other sources")
    run = RecordedRun(folders[0])
    options = options.override(run.options)
    current, stored = (
        entry.to_dict() | {"framing": str(resolve_framing(model.card, entry.framing))}
        for entry in (options, run.options)
    )
    changed = [f"another {name}" for name in FRAME_OPTIONS if current[name] != stored[name]]
    if hash_artifact(model.path)[1] != run.artifact_sha256:
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
    recorded = [RecordedSource(run, number, not changed) for number in range(len(run.sources))]
    for source in recorded if options.up else ():
        source.set_orientation(str(options.up))
    return list(recorded), options


def recorded_engine(folder: str) -> str:
    """Return the engine of a recorded stream, which its replay must use as well."""
    return RecordedRun(folder).engine
