"""A recording of `--record`, run again: `plif stream model.onnx DIR` gives the decisions that were given then, bit for bit.

The recorded events go through the recorded options; decisions.jsonl says which of the frames the network saw (an overload
merges or drops some), where somebody asked for a reset, and where the source was lost and came back. A replay ends with the
last whole line of it, wherever the recorder was cut off. With options of one's own (another framing, say) the events are a
recording like any other, and only then is something else than the recorded steps made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import PlifError
from runtime.events.framer import Frame, SourceFramer
from runtime.events.sources.file import FileSource
from runtime.record import DECISIONS, FORMAT, FORMAT_VERSION, HEADER

HEADER_LIMIT = 64 << 20
LINE_LIMIT = 1 << 20


def is_recording(spec: str) -> bool:
    """Whether this names a folder of `--record`."""
    try:
        return (Path(spec) / HEADER).is_file()
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Step:
    """One line of decisions.jsonl, or `returned_after` alone: the source came back after so many events."""

    decision: dict[str, Any]
    merged: int = 1
    skipped: int = 0
    reset: str | None = None
    returned_after: int | None = None


class RecordedRun:
    """A folder of `--record`, opened. Raises PlifError when it is none, or damaged."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / HEADER
        try:
            if path.stat().st_size > HEADER_LIMIT:
                raise PlifError(f"{path}: larger than {HEADER_LIMIT} bytes; not written by plif")
            document = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise PlifError(f"{path}: is not valid JSON; the file was damaged or not written by plif") from None
        except OSError as error:
            raise PlifError(f"{path}: cannot be read ({error.strerror})") from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise PlifError(f"{path}: is no recording of plif stream --record")
        if document.get("format_version") != FORMAT_VERSION:
            raise PlifError(
                f"{path}: recording version {document.get('format_version')!r}; this plif reads {FORMAT_VERSION}"
            )
        try:
            self.options: dict[str, Any] = dict(document["options"])
            self.engine = str(document["engine"])
            self.artifact_sha256 = str(document["artifact"]["sha256"])
            self.sources = [_source(entry) for entry in document["sources"]]
        except (KeyError, TypeError, ValueError):
            raise PlifError(f"{path}: lacks options, engine, artifact or sources; it was damaged or edited") from None
        if not self.sources:
            raise PlifError(f"{path}: names no source")

    def steps(self, number: int = 0) -> Iterator[Step]:
        """What was recorded of one source, to the last whole line."""
        path = self.folder / DECISIONS
        try:
            with open(path, "rb") as file:
                for at, line in enumerate(iter(lambda: file.readline(LINE_LIMIT), b""), 1):
                    if not line.endswith(b"\n"):
                        return  # cut off while it was written
                    step = _step(f"{path}: line {at}", line)
                    if step.decision.get("source", 0) == number:
                        yield step
        except OSError as error:
            raise PlifError(f"{path}: cannot be read ({error.strerror})") from None


class RecordedSource(FileSource):
    """The events of one source of a recording, with what the original said about them."""

    def __init__(self, run: RecordedRun, number: int = 0) -> None:
        entry = run.sources[number]
        super().__init__(str(run.folder / entry["events"]), entry["sensor"])
        self.name = str(run.folder)
        self.upright = entry["upright"]
        self.run, self.number = run, number


class ReplayFrames:
    """The frames that the network saw: those of a SourceFramer, merged and left out as the recording says."""

    def __init__(self, frames: SourceFramer, steps: Iterator[Step], binary: bool) -> None:
        self._frames, self._steps, self._binary = frames, steps, binary

    def __iter__(self) -> Iterator[Frame]:
        frames = iter(self._frames)
        for step in self._steps:
            if step.returned_after is not None:
                continue
            skipped = [frame for frame, _ in zip(frames, range(step.skipped), strict=False)]
            for frame in skipped:
                self._frames.account.used -= frame.events
                self._frames.account.dropped += frame.events
            merged = [frame for frame, _ in zip(frames, range(step.merged), strict=False)]
            if len(skipped) < step.skipped or len(merged) < step.merged:
                self._frames.source.notes.append(
                    f"{self._frames.source.name}: the events end before the steps do: the rest is not replayed"
                )
                return
            yield self._as_one(merged, step)

    def _as_one(self, frames: list[Frame], step: Step) -> Frame:
        first, last = frames[0], frames[-1]
        x = first.x
        for frame in frames[1:]:
            x = np.maximum(x, frame.x) if self._binary else x + frame.x
        events = sum(frame.events for frame in frames)
        frame = Frame(x, first.t_start_us, last.t_end_us, events, first.discontinuity, len(frames), step.skipped)
        frame.reset = step.reset in ("control", "return")
        return frame


def _source(entry: dict[str, Any]) -> dict[str, Any]:
    name, (width, height) = str(entry["events"]), entry["sensor"]
    if Path(name).name != name:
        raise ValueError("events lie beside recording.json")
    if entry["upright"] not in ("identity", "rotate180", "flip_y") or not all(
        isinstance(n, int) for n in (width, height)
    ):
        raise ValueError("sensor or upright")
    return {"name": str(entry["name"]), "events": name, "sensor": (width, height), "upright": entry["upright"]}


def _step(where: str, line: bytes) -> Step:
    try:
        document = json.loads(line)
        step = Step(
            document,
            int(document.get("merged", 1)),
            int(document.get("skipped", 0)),
            document.get("reset"),
            document.get("returned_after"),
        )
        if step.merged < 1 or step.skipped < 0:
            raise ValueError
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise PlifError(f"{where}: is damaged or was not written by plif") from None
    return step
