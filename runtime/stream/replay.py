"""A recording of `--record`, run again: `plif stream model.onnx DIR` gives the decisions that were given then, bit for bit.

The recorded events go through the recorded options. decisions.jsonl says which of the frames the network saw (an overload
merges some and drops others), where somebody asked for a reset, and where the source was lost and came back; a replay ends
with its last whole line, wherever the recorder was cut off. With another artifact, or another framing or filter, those lines
mean nothing: then the events are a recording like any other, and a warning says so.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.base.errors import PlifError, PlifWarning
from runtime.base.files import measure
from runtime.events import FileSource, Frame, SourceFramer
from runtime.events.array import T_LIMIT_US
from runtime.events.framing import NUMBER_LIMIT
from runtime.events.size import is_size
from runtime.events.sources.base import TICK
from runtime.stream.queue import merge
from runtime.stream.record import DECISIONS, FORMAT, FORMAT_VERSION, HEADER

if TYPE_CHECKING:
    from runtime.engines.session import OpenModel

DEFAULTS: dict[str, Any] = {
    "framing": None,
    "decide": None,
    "reset": None,
    "filters": None,
    "overload": "merge",
    "on_return": "hold",
}
MAKE_FRAMES = ("framing", "filters", "on_return")  # with another of these the recorded steps mean nothing
MARKS = {"returned_after", "silent_after"}  # in lines that are no decisions
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
    """What a line of decisions.jsonl says about the frames: see Frame. `reset` is control, return, policy or None."""

    merged: int
    skipped: int
    reset: str | None
    lost: bool = False


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
            self.options = _options(document["options"])
            self.engine = _text(document["engine"])
            self.artifact_sha256 = str(document["artifact"]["sha256"])
            self.sources = [_source(entry) for entry in document["sources"]]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise PlifError(
                f"{path}: lacks options, engine, artifact or sources that can be used; it was damaged or edited"
            ) from None
        if not self.sources:
            raise PlifError(f"{path}: names no source")

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """(place, line) of decisions.jsonl, to the last whole one."""
        path = self.folder / DECISIONS
        try:
            with open(path, "rb") as file:
                for at, line in enumerate(iter(lambda: file.readline(LINE_LIMIT), b""), 1):
                    if not line.endswith(b"\n"):
                        return  # cut off while it was written
                    yield f"{path}: line {at}", line
        except OSError as error:
            raise PlifError(f"{path}: cannot be read ({error.strerror})") from None

    def decisions(self, number: int = 0) -> Iterator[dict[str, Any]]:
        """The recorded decisions of one source."""
        for where, line in self.lines():
            document = _parsed(where, line)
            if document.get("source", 0) == number and not document.keys() & MARKS:
                yield document

    def steps(self, number: int) -> Iterator[Step]:
        for document in self.decisions(number):
            merged, skipped = document.get("merged", 1), document.get("skipped", 0)
            if not (isinstance(merged, int) and isinstance(skipped, int) and merged >= 1 and skipped >= 0):
                raise PlifError(f"{self.folder / DECISIONS}: step {document.get('step')} is damaged")
            yield Step(merged, skipped, document.get("reset"), document.get("lost") is True)

    def returns(self, number: int) -> list[int]:
        """After how many events the source came back, each time that it had been lost."""
        return [after for after, until_us in self.marks(number) if until_us is None]

    def marks(self, number: int) -> Iterator[tuple[int, int | None]]:
        """What came between the events, in order: after how many of them the source came back (None), or was silent until
        when (us)."""
        after = 0
        for where, line in self.lines():
            if b'"returned_after"' not in line and b'"silent_after"' not in line:
                continue
            document = _parsed(where, line)
            silent = "silent_after" in document
            if document.get("source", 0) != number or not (silent or "returned_after" in document):
                continue
            before = after
            after, until_us = document["silent_after" if silent else "returned_after"], document.get("until_us")
            known = type(until_us) is int and abs(until_us) < T_LIMIT_US if silent else until_us is None
            if type(after) is not int or after < before or not known:
                raise PlifError(f"{where}: is damaged")
            yield after, until_us


class RecordedSource(FileSource):
    """The events of one source of a recording, with what the original said about them. `stepped`: replay its steps, too."""

    def __init__(self, run: RecordedRun, number: int, stepped: bool) -> None:
        entry = run.sources[number]
        super().__init__(str(run.folder / entry["events"]), entry["sensor"])
        if len(run.sources) == 1:
            self.name = str(run.folder)
        self.upright = entry["upright"]
        self.run, self.number, self.stepped = run, number, stepped
        self.returns = 0
        self.until_us: int | None = None  # of the tick that packets() gave last
        if entry["count"] is not None and stepped:
            self._count = entry["count"]  # of the whole recording, even where the recorder was cut off

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
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
        while mark is not None and mark[0] <= done and self.stepped:  # the end was silent
            if mark[1] is not None:
                self.until_us = mark[1]
                yield TICK
            mark = next(marks, None)
        self._count = count if count is not None else self._count


class ReplayFrames(SourceFramer):
    """The frames that the network saw: those of the events, merged and left out as the recording says."""

    def __iter__(self) -> Iterator[Frame]:
        source = self.source
        assert isinstance(source, RecordedSource)
        grid = super().__iter__()
        for step in source.run.steps(source.number):
            frame = self._seen(grid, step)
            if frame is None:
                source.notes.append(f"{source.name}: the events end before the steps do: the rest is not replayed")
                return
            yield frame

    def _now_us(self) -> int | None:
        assert isinstance(self.source, RecordedSource)
        return self.source.until_us

    def _seen(self, grid: Iterator[Frame], step: Step) -> Frame | None:
        """What the step saw; None where the events end before that.

        One frame at a time: while a stream was stopped, more may have been skipped than memory holds.
        """
        seen: Frame | None = None
        gap, restart = False, step.reset == "control"  # restart: whoever asked, membranes and evidence start afresh
        for number, frame in enumerate(grid, 1):
            if number <= step.skipped + 1:  # a gap before a dropped frame is one before the frame that came instead
                gap, restart = gap or frame.discontinuity, restart or frame.restart
            if number <= step.skipped:
                self._leave_out(frame)
                continue
            if seen is not None:
                merge(seen, frame, self.framer.framing.value == "binary")
            seen = frame
            if number == step.skipped + step.merged:
                seen.discontinuity, seen.restart, seen.skipped, seen.lost = gap, restart, step.skipped, step.lost
                return seen
        if seen is not None:
            self._leave_out(seen)
        return None

    def _leave_out(self, frame: Frame) -> None:
        """A frame that no step sees: its events were entered as used when they came."""
        self.account.used -= frame.events
        self.account.dropped += frame.events


def replayed(model: OpenModel, sources: list[Any], given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """(sources, options) of a stream: a folder of `--record` becomes its sources with its options, where none are given."""
    options = {name: value if value is not None else DEFAULTS[name] for name, value in given.items()}
    folders = [one for one in sources if isinstance(one, str) and is_recording(one)]
    if not folders:
        return sources, options
    if len(sources) > 1:
        raise PlifError(f"{folders[0]}: a recording of --record is replayed alone, not beside other sources")
    run = RecordedRun(folders[0])
    options = {name: value if value is not None else run.options[name] for name, value in given.items()}
    changed = [f"another {name}" for name in MAKE_FRAMES if options[name] != run.options[name]]
    if measure(model.path)[1] != run.artifact_sha256:
        changed.insert(0, "another artifact")
    elif model.engine.name != run.engine:
        warnings.warn(
            f"{run.folder}: was recorded with engine {run.engine}, not {model.engine.name}", PlifWarning, stacklevel=2
        )
    if changed:
        warnings.warn(
            f"{run.folder}: {' and '.join(changed)} than recorded: its events are streamed afresh, not its steps",
            PlifWarning,
            stacklevel=2,
        )
    return [RecordedSource(run, number, not changed) for number in range(len(run.sources))], options


def recorded_engine(sources: list[str]) -> str | None:
    """The engine that a replay needs, None where nothing is replayed."""
    return RecordedRun(sources[0]).engine if len(sources) == 1 and is_recording(sources[0]) else None


def _options(entry: dict[str, Any]) -> dict[str, Any]:
    """The options that a replay takes: each a line of text, or None where that is its default."""
    options = {name: entry.get(name, default) for name, default in DEFAULTS.items()}
    return {name: None if value is None and DEFAULTS[name] is None else _text(value) for name, value in options.items()}


def _source(entry: dict[str, Any]) -> dict[str, Any]:
    name, sensor = _text(entry["events"]), entry["sensor"]
    if Path(name).name != name:
        raise ValueError("events lie beside recording.json")
    if entry["upright"] not in ("identity", "rotate180", "flip_y") or not is_size(sensor):
        raise ValueError("sensor or upright")
    count = entry.get("count")
    if count is not None and not (type(count) is int and 0 <= count <= NUMBER_LIMIT):
        raise ValueError("count")
    return {"events": name, "sensor": tuple(sensor), "upright": entry["upright"], "count": count}


def _text(value: object) -> str:
    """A line that errors may show as it is."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("expected a line of text")
    return value


def _parsed(where: str, line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise PlifError(f"{where}: is damaged or was not written by plif")
    return document
