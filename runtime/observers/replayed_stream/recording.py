"""The file format of a folder of `--record`: names, versions, and the content of its files.

    recording.json    the run: the artifact's SHA-256 and card, engine, each option, the sources; complete from the
                      start
    events.aedat      all events of the source, before any filter, AEDAT 3.1 (events-0.aedat, ... for several)
    decisions.jsonl   one line for each step: the decision, and facts that events alone do not give a replay (frames
                      that an overload merged into this step or dropped before it, resets by the user); between them,
                      when a source came back, and until when it was silent
    metrics.json      the account and the times; every few seconds, and "complete" at the end

A recording is untrusted, and may be cut off: everything is checked before use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.core.events.array import T_LIMIT_US
from runtime.core.events.framing import UPRIGHT, Framing
from runtime.core.events.size import is_size
from runtime.core.stream.options import StreamOptions

FORMAT, FORMAT_VERSION = "plif-recording", 1
HEADER, DECISIONS, METRICS = "recording.json", "decisions.jsonl", "metrics.json"
REPLAY_OPTIONS = ("framing", "decide", "reset", "filters", "overload", "on_return")  # options that a replay takes
DEFAULTS = {"overload": "merge", "on_return": "hold"}  # of options that always have a value
MARK_KEYS = {"returned_after", "silent_after"}  # keys of lines that are no decisions
HEADER_LIMIT = 64 << 20
LINE_LIMIT = 1 << 20
MAX_EVENTS = 1 << 40


def is_recording(spec: str) -> bool:
    """Return whether a source name is a folder that `plif stream --record` wrote."""
    try:
        return (Path(spec) / HEADER).is_file()
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class RecordedEvents:
    """The event file of one source in a recorded stream: its name, sensor size, orientation and event count.

    `file` lies next to recording.json; `count` is None if it is unknown.
    """

    file: str
    sensor: tuple[int, int]
    upright: str
    has_user_orientation: bool
    count: int | None


class RecordedRun:
    """A recorded stream: an opened folder that `plif stream --record` wrote.

    Raises PlifError for another folder, or a damaged one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / HEADER
        try:
            with open_regular(path, "a recording of plif stream --record") as file:
                text = file.read(HEADER_LIMIT + 1)
            if len(text) > HEADER_LIMIT:
                raise PlifError(f"{path}: larger than {HEADER_LIMIT} bytes; not written by plif")
            document = json.loads(text.decode())
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
            self.options = _parse_options(document["options"])
            self.engine = _check_text_line(document["engine"])
            self.artifact_sha256 = str(document["artifact"]["sha256"])
            self.sources = [_parse_source(entry) for entry in document["sources"]]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise PlifError(
                f"{path}: lacks options, engine, artifact or sources that can be used; it was damaged or edited"
            ) from None
        if not self.sources:
            raise PlifError(f"{path}: names no source")

    def decisions(self, number: int = 0) -> Iterator[dict[str, object]]:
        """Yield the recorded decisions of one source of a recorded stream."""
        for place, line in self._lines():
            document = _parse_line(place, line)
            if document.get("source", 0) == number and not document.keys() & MARK_KEYS:
                yield document

    def steps(self, number: int) -> Iterator[tuple[int, int, dict[str, object]]]:
        """Yield (frames merged into the step, frames skipped before it, its line) for each recorded step of a source."""
        for line in self.decisions(number):
            merged, skipped = line.get("merged", 1), line.get("skipped", 0)
            if not (isinstance(merged, int) and isinstance(skipped, int) and merged >= 1 and skipped >= 0):
                raise PlifError(f"{self.folder / DECISIONS}: step {line.get('step')} is damaged")
            yield merged, skipped, line

    def returns(self, number: int) -> list[int]:
        """Return the number of events before each time that a lost source came back, in a recorded stream."""
        return [after for after, until_us in self.read_marks(number) if until_us is None]

    def read_marks(self, number: int) -> Iterator[tuple[int, int | None]]:
        """Yield (number of events before it, t_us) of each recorded silence or return of a source, in order.

        The source was silent until t_us, or, with t_us None, it came back.
        """
        after = 0
        for place, line in self._lines():
            if b'"returned_after"' not in line and b'"silent_after"' not in line:
                continue
            document = _parse_line(place, line)
            silent = "silent_after" in document
            if document.get("source", 0) != number or not (silent or "returned_after" in document):
                continue
            before = after
            after, until_us = document["silent_after" if silent else "returned_after"], document.get("until_us")
            is_valid = type(until_us) is int and abs(until_us) < T_LIMIT_US if silent else until_us is None
            if type(after) is not int or after < before or not is_valid:
                raise PlifError(f"{place}: is damaged")
            yield after, until_us

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield (place, line) for each complete line of a recording's decisions.jsonl; `place` is for error messages."""
        path = self.folder / DECISIONS
        try:
            with open_regular(path, "the decisions of plif stream --record") as file:
                for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT), b""), 1):
                    if not line.endswith(b"\n"):
                        return  # an incomplete last line
                    yield f"{path}: line {number}", line
        except OSError as error:
            raise PlifError(f"{path}: cannot be read ({error.strerror})") from None


def _parse_options(entry: dict[str, object]) -> StreamOptions:
    """Parse the recorded options of a stream for its replay: each a line of text, or None for an optional one."""
    texts: dict[str, Any] = {}
    for name in REPLAY_OPTIONS:
        value = entry.get(name, DEFAULTS.get(name))
        texts[name] = None if value is None and name not in DEFAULTS else _check_text_line(value)
    if texts["framing"] is not None:
        with suppress(PlifError):  # an invalid framing is reported on use
            texts["framing"] = str(Framing.parse(texts["framing"], native=False))
    return StreamOptions(**texts)


def _parse_source(entry: dict[str, Any]) -> RecordedEvents:
    name, sensor = _check_text_line(entry["events"]), entry["sensor"]
    if Path(name).name != name:
        raise ValueError("events lie beside recording.json")
    if entry["upright"] not in UPRIGHT or not is_size(sensor):
        raise ValueError("sensor or upright")
    count = entry.get("count")
    if count is not None and not (type(count) is int and 0 <= count <= MAX_EVENTS):
        raise ValueError("count")
    return RecordedEvents(name, tuple(sensor), entry["upright"], entry.get("up_said") is True, count)


def _check_text_line(value: object) -> str:
    """Check that a recorded value is one printable line of text, so that errors may show it."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("expected a line of text")
    return value


def _parse_line(place: str, line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise PlifError(f"{place}: is damaged or was not written by plif")
    return document
