"""The folder that `--record` writes, as a file format: names, versions, and what its files say.

    recording.json    what ran: the artifact's SHA-256 and card, engine, every option, the sources; whole from the start
    events.aedat      all events as the source gave them, before any filter, AEDAT 3.1 (events-0.aedat, ... for several)
    decisions.jsonl   one line for each step: the decision, and what a replay cannot know from the events alone (frames that
                      an overload merged into this step or dropped before it, resets that the user asked for);
                      between them, when a source came back, and until when it was silent
    metrics.json      the account and the times; every few seconds, and "complete" at the end

A recording may come from anywhere, and may have been cut off: everything is checked before it is used.
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
REPLAYED = ("framing", "decide", "reset", "filters", "overload", "on_return")  # options that a replay takes
DEFAULTS = {"overload": "merge", "on_return": "hold"}  # of options that always have a value
MARKS = {"returned_after", "silent_after"}  # in lines that are no decisions
HEADER_LIMIT = 64 << 20
LINE_LIMIT = 1 << 20
MOST_EVENTS = 1 << 40


def is_recording(spec: str) -> bool:
    """Whether this names a folder of `--record`."""
    try:
        return (Path(spec) / HEADER).is_file()
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class RecordedEvents:
    """The file of one source: its name beside recording.json, (width, height), how it becomes upright and whether a person said
    so, its events if known."""

    file: str
    sensor: tuple[int, int]
    upright: str
    up_said: bool
    count: int | None


class RecordedRun:
    """A folder of `--record`, opened. Raises PlifError when it is none, or damaged."""

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
            self.engine = _line_of_text(document["engine"])
            self.artifact_sha256 = str(document["artifact"]["sha256"])
            self.sources = [_parse_source(entry) for entry in document["sources"]]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise PlifError(
                f"{path}: lacks options, engine, artifact or sources that can be used; it was damaged or edited"
            ) from None
        if not self.sources:
            raise PlifError(f"{path}: names no source")

    def decisions(self, number: int = 0) -> Iterator[dict[str, object]]:
        """The recorded decisions of one source."""
        for where, line in self._lines():
            document = _parse_line(where, line)
            if document.get("source", 0) == number and not document.keys() & MARKS:
                yield document

    def steps(self, number: int) -> Iterator[tuple[int, int, dict[str, object]]]:
        """(frames merged into the step, frames skipped before it, its whole line) of each step of one source."""
        for line in self.decisions(number):
            merged, skipped = line.get("merged", 1), line.get("skipped", 0)
            if not (isinstance(merged, int) and isinstance(skipped, int) and merged >= 1 and skipped >= 0):
                raise PlifError(f"{self.folder / DECISIONS}: step {line.get('step')} is damaged")
            yield merged, skipped, line

    def returns(self, number: int) -> list[int]:
        """For each time that the source came back after a loss: how many events came before."""
        return [after for after, until_us in self.marks(number) if until_us is None]

    def marks(self, number: int) -> Iterator[tuple[int, int | None]]:
        """(number of events before it, t_us) of what happened between events, in order: the source was silent until t_us, or,
        with t_us None, it came back."""
        after = 0
        for where, line in self._lines():
            if b'"returned_after"' not in line and b'"silent_after"' not in line:
                continue
            document = _parse_line(where, line)
            silent = "silent_after" in document
            if document.get("source", 0) != number or not (silent or "returned_after" in document):
                continue
            before = after
            after, until_us = document["silent_after" if silent else "returned_after"], document.get("until_us")
            known = type(until_us) is int and abs(until_us) < T_LIMIT_US if silent else until_us is None
            if type(after) is not int or after < before or not known:
                raise PlifError(f"{where}: is damaged")
            yield after, until_us

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        """(place, line) of decisions.jsonl, to the last whole one."""
        path = self.folder / DECISIONS
        try:
            with open_regular(path, "the decisions of plif stream --record") as file:
                for at, line in enumerate(iter(lambda: file.readline(LINE_LIMIT), b""), 1):
                    if not line.endswith(b"\n"):
                        return  # cut off while it was written
                    yield f"{path}: line {at}", line
        except OSError as error:
            raise PlifError(f"{path}: cannot be read ({error.strerror})") from None


def _parse_options(entry: dict[str, object]) -> StreamOptions:
    """The options that a replay takes: each a line of text, or None where it may be absent."""
    texts: dict[str, Any] = {}
    for name in REPLAYED:
        value = entry.get(name, DEFAULTS.get(name))
        texts[name] = None if value is None and name not in DEFAULTS else _line_of_text(value)
    if texts["framing"] is not None:
        with suppress(PlifError):  # what is wrong with it is said when it is used
            texts["framing"] = str(Framing.parse(texts["framing"], native=False))
    return StreamOptions(**texts)


def _parse_source(entry: dict[str, Any]) -> RecordedEvents:
    name, sensor = _line_of_text(entry["events"]), entry["sensor"]
    if Path(name).name != name:
        raise ValueError("events lie beside recording.json")
    if entry["upright"] not in UPRIGHT or not is_size(sensor):
        raise ValueError("sensor or upright")
    count = entry.get("count")
    if count is not None and not (type(count) is int and 0 <= count <= MOST_EVENTS):
        raise ValueError("count")
    return RecordedEvents(name, tuple(sensor), entry["upright"], entry.get("up_said") is True, count)


def _line_of_text(value: object) -> str:
    """A line that errors may show as it is."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("expected a line of text")
    return value


def _parse_line(where: str, line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise PlifError(f"{where}: is damaged or was not written by plif")
    return document
