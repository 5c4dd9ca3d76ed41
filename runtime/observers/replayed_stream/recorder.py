"""The recorder of `--record DIR`: it writes a live stream to disk for a bit-exact replay.

recording.py describes the folder. Frames are not written: the same events through the same filters and framing give
the same frames, and `skipped` and `merged` tell which of them the network got. A thread writes, at least twice a
second, and a step is never written before its events. So after any end of the program (kill -9 as well), the folder
is readable and replays up to the last complete line. If the disk is slower than the camera, the stream waits for it,
since a recording with holes cannot be replayed; the overload is counted as usual. A recording is never overwritten,
and a full disk ends the stream with one line.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write, hash_artifact, make_folder
from runtime.core.base.version import __version__
from runtime.core.events.frame import Frame
from runtime.core.events.lines import StreamSummary
from runtime.core.stream.decide import Decision
from runtime.core.stream.observe import Observer
from runtime.core.stream.run import Run
from runtime.formats.aedat31 import make_header, write_packets
from runtime.observers.replayed_stream.recording import DECISIONS, FORMAT, FORMAT_VERSION, HEADER, METRICS

FLUSH_S = 0.4
SYNC_S = 5.0  # a power cut costs at most this much
WAITING_BYTES = 64 << 20  # with more than this in memory, the stream waits for the disk


class Recorder(Observer):
    """An observer that records a stream's events and decisions into a new or empty folder, until close()."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        _refuse_existing(self.folder)
        make_folder(self.folder)
        self._run: Run | None = None
        self._files: list[BinaryIO] = []
        self._number: dict[str, int] = {}
        self._decisions: BinaryIO | None = None
        self._change = threading.Condition()
        self._events: list[tuple[int, np.ndarray]] = []  # events to write, with the number of their source
        self._lines: list[bytes] = []
        self._waiting = 0  # bytes
        self._count: dict[str, int] = {}  # events so far
        self._pending: dict[str, dict[str, object]] = {}  # facts of on_reset and on_frame about the current step
        self._metrics: Mapping[str, object] | None = None  # the newest account and times; None if they are on disk
        self._last_metrics: Mapping[str, object] | None = None  # those at the end
        self._error: PlifError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._write_all, name="plif-record", daemon=True)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish writing the stream's recording, and close its files.

        Raises PlifError if writing failed.
        """
        with self._change:
            first, self._closing = not self._closing, True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for file in [*self._files, *([self._decisions] if self._decisions else [])]:
            with suppress(OSError):  # the reason is in self._error already
                file.close()
        if self._run is None:
            with suppress(OSError):
                self.folder.rmdir()  # nothing was recorded
        if first and self._error is not None:
            raise self._error

    # --- as an observer ---------------------------------------------------------------------------------------------

    def on_start(self, run: Run) -> None:
        if any(stream.frames.keep_open for stream in run.streams):
            raise PlifError("--record, --state: a recording is replayed from its own beginning; use one of them")
        if run.framing.kind == "time":  # a recording that was cut off could not be divided again
            raise PlifError(
                f"--record {self.folder}: framing '{run.framing}' divides a whole recording by its last event; "
                "use duration or count, or stream without --record"
            )
        self._run = run
        document = describe_run(run)
        for number, source in enumerate(document["sources"]):
            self._number[source["name"]] = number
            self._count[source["name"]] = 0
            self._pending[source["name"]] = {}
        try:
            with atomic_write(self.folder / HEADER) as (part,):
                part.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            for source in document["sources"]:
                file = open(self.folder / source["events"], "xb")  # noqa: SIM115 (closed in close)
                self._files.append(file)
                file.write(make_header(tuple(source["sensor"]), source["upright"]))
                file.flush()
            self._decisions = open(self.folder / DECISIONS, "xb")  # noqa: SIM115
        except OSError as error:
            raise PlifError(f"--record {self.folder}: cannot be written ({error.strerror})") from None
        self._thread.start()

    def on_packet(self, source: str, events: np.ndarray, arrived_s: float) -> None:
        """Queue a copy of events [N] for writing to the recording, since the source may reuse the array."""
        self._count[source] += len(events)
        self._enqueue(8 * len(events), event=(self._number[source], events.copy()))

    def on_return(self, source: str) -> None:
        line = {"source": self._number[source], "returned_after": self._count[source]}
        self._enqueue(64, line=_encode_line(line))

    def on_tick(self, source: str, t_us: int) -> None:
        self._enqueue(
            64,
            line=_encode_line({"source": self._number[source], "silent_after": self._count[source], "until_us": t_us}),
        )

    def on_reset(self, source: str, step: int, why: str) -> None:
        self._pending[source]["reset"] = why

    def on_frame(self, source: str, frame: Frame, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        """Store how many frames were merged and dropped before a step, for the stream's recording.

        x and y [classes] are not recorded.
        """
        self._pending[source] |= {"merged": frame.merged, "skipped": frame.skipped, "events": frame.events}
        if frame.lost:
            self._pending[source]["lost"] = True

    def on_decision(self, decision: Decision) -> None:
        line = {"source": self._number[decision.source], **decision.to_dict(), "score": decision.score}
        line |= {"reset": None} | self._pending[decision.source]
        self._pending[decision.source] = {}
        if self._metrics is None and self._run is not None:
            metrics = self._run.summary()
            with self._change:
                self._metrics = metrics
        self._enqueue(256, line=_encode_line(line))

    def on_summary(self, summary: StreamSummary) -> None:
        with self._change:
            self._last_metrics = {**summary, "complete": True}
        if self._thread.ident is not None:
            self.close()

    def _enqueue(self, size: int, event: tuple[int, np.ndarray] | None = None, line: bytes | None = None) -> None:
        """Pass events or a line to the recording's writer thread, and wait while too many bytes are pending."""
        with self._change:
            while self._waiting > WAITING_BYTES and self._error is None:
                self._change.wait()
            if self._error is not None:
                raise self._error
            if event is not None:
                self._events.append(event)
            if line is not None:
                self._lines.append(line)
            self._waiting += size
            if self._waiting > WAITING_BYTES:
                self._change.notify_all()

    # --- the thread that writes -------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        synced_s = time.monotonic()
        while True:
            with self._change:
                if not self._closing and self._waiting <= WAITING_BYTES:
                    self._change.wait(FLUSH_S)
                closing = self._closing
                events, lines, waiting = self._events, self._lines, self._waiting
                self._events, self._lines = [], []
                metrics = self._last_metrics or self._metrics
            try:
                self._write(events, lines)
                if closing or time.monotonic() - synced_s > SYNC_S:
                    self._sync(metrics)
                    synced_s = time.monotonic()
                    with self._change:
                        if self._metrics is metrics:
                            self._metrics = None  # the next step sets new ones
            except BaseException as error:  # any error: without this thread nothing is recorded
                with self._change:
                    self._error = PlifError(
                        f"--record {self.folder}: {_error_reason(error)}; what was recorded before is readable"
                    )
                    self._change.notify_all()
                return
            with self._change:
                self._waiting -= waiting
                self._change.notify_all()
                if closing and not self._events and not self._lines:
                    return

    def _write(self, events: list[tuple[int, np.ndarray]], lines: list[bytes]) -> None:
        """Write events, then lines, to the recording's files, so that no step is on disk without its events."""
        for number, file in enumerate(self._files):
            packets = [packet for n, packet in events if n == number]
            if packets:
                write_packets(file, np.concatenate(packets))
                file.flush()
        if lines and self._decisions is not None:
            self._decisions.write(b"".join(lines))
            self._decisions.flush()

    def _sync(self, metrics: Mapping[str, object] | None) -> None:
        for file in [*self._files, *([self._decisions] if self._decisions else [])]:
            os.fsync(file.fileno())
        if metrics is not None:
            with atomic_write(self.folder / METRICS) as (part,):
                part.write_text(json.dumps({"complete": False, **metrics}, indent=1, allow_nan=False) + "\n")


def describe_run(run: Run) -> dict[str, Any]:
    """Return the content of recording.json for a recorded stream: facts for a replay, and further ones for people."""
    model = run.model
    several = len(run.streams) > 1
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "plif": __version__,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "artifact": {"name": model.path.name, "sha256": hash_artifact(model.path)[1], "card": model.card},
        "engine": model.engine.name,
        "options": run.options.to_dict(),
        "sources": [
            {
                "name": stream.name,
                "format": stream.source.format,
                "sensor": list(stream.source.sensor),
                "upright": stream.source.upright,
                "up_said": stream.source.has_user_orientation,
                "live": stream.source.live,
                "count": stream.source.count() if run.framing.kind == "count" else None,
                "events": f"events-{number}.aedat" if several else "events.aedat",
            }
            for number, stream in enumerate(run.streams)
        ],
    }


def _error_reason(error: BaseException) -> str:
    if isinstance(error, PlifError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be written ({reason or ' '.join(f'{type(error).__name__}: {error}'.split()).rstrip(':')})"


def _encode_line(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _refuse_existing(folder: Path) -> None:
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            problem = "holds files already" if folder.is_dir() else "is a file"
            raise PlifError(f"--record {folder}: {problem}, and a recording is never written over; name a new folder")
    except OSError as error:
        raise PlifError(f"--record {folder}: cannot be looked into ({error.strerror})") from None
