"""The dashboard data of one source: written by the stream's thread, read by the server's thread.

Writing must cost almost nothing, and reading must never block the stream: each step adds its frame to a sum and
replaces a few numbers, under a lock that is held for microseconds. All lists are bounded. A page that reads slowly
gets fewer, newer pictures; nothing queues up for it.

Votes are shown as the share of all voters in each interval, smoothed over SMOOTH_US, for any decision rule. Points
are at least POINT_S of wall-clock time apart and average the steps between them.

The answers of a stream are counted by label, and each change of the answer is in a list that can be saved.
"""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.latency import Latencies
from runtime.core.base.text import printable
from runtime.core.engines.session import to_spike_counts

if TYPE_CHECKING:
    from runtime.core.events import Account, Frame
    from runtime.core.events.framing import Framing
    from runtime.core.stream.decide import Decision


POINTS = 750
POINT_S = 0.04
RATE_WINDOW_US = 500_000  # the window of the event rate
SMOOTH_US = 150_000
PICTURE_PERIOD_S = 0.045  # at most one new picture in this time, for any number of pages
VIEWED_S = 2.0  # frames are not summed if no page asked for this long
MAX_NOTES = 8
BINS_PER_DECADE = 10
SILENT_S = 1.0  # a live source without events for this long is silent
PAGE_CHANGES = 50  # changes of the answer on the page; a download has all of them
FATES = ("used", "filtered", "late", "invalid", "dropped", "waiting", "not_shown")  # the last: a part of filtered


class Board:
    """The data that the dashboard shows of one source: steps and decisions are added, `message` encodes them."""

    def __init__(
        self,
        classes: int,
        voters: int,
        layers: list[str],
        shape: tuple[int, int, int],
        framing: Framing,
        upright: str,
        latency: Latencies,
        lag: Latencies,
        account: Account,
        is_lost: Callable[[], bool] | None = None,
        datagrams: Mapping[str, int] | None = None,
        source_status: Callable[[], dict[str, object]] = dict,
    ) -> None:
        """Create the data that the dashboard shows of one source.

        is_lost: whether a live source is lost now; None for other sources, which are always "running". datagrams and
        source_status are those of the source; source_status adds entries to `status`.
        """
        self.layers, self.shape, self.framing, self.upright = layers, shape, framing, upright
        self.latency, self.lag, self.account, self.datagrams = latency, lag, account, datagrams or {}
        self.state = "running"
        self.answers, self.resets = Answers(), Counter[str]()
        self._is_lost, self._began_s, self._arrived_s = is_lost, time.perf_counter(), -1.0
        self._source_status = source_status
        self.notes: deque[str] = deque(maxlen=MAX_NOTES)
        self._lock = threading.Lock()
        self._voters = voters
        self._points: deque[tuple[int, list[object]]] = deque(maxlen=POINTS)  # (number, [t_us, label, votes, rates])
        self._number = 0
        self._votes = np.zeros(classes)  # votes since the last point
        self._c_steps = 0
        self._smooth = np.zeros(classes)
        self._rates = [0.0] * len(layers)  # summed over the same steps
        self._point_s = 0.0
        self._point_us: int | None = None
        self._last: Decision | None = None
        self._flow: tuple[int, int, float | None] | None = None  # t_us, events until then, events a second before it
        self._speed = (time.perf_counter(), 0, 0.0)  # when, at which step, steps a second
        self._exposure = np.zeros(shape, np.float32)
        self._asked_s = -VIEWED_S
        self._picture: tuple[float, bytes] = (-PICTURE_PERIOD_S, b"")

    # --- in the thread of the stream --------------------------------------------------------------------------------

    def add_step(self, frame: Frame, y: np.ndarray, rates: dict[str, float]) -> None:
        """Add a step of the network to the dashboard data: its frame, y float32 [classes], each layer's firing rate."""
        with self._lock:
            if time.perf_counter() - self._asked_s < VIEWED_S:
                self._exposure += frame.x
            self._votes += to_spike_counts(y, self._voters)
            self._c_steps += 1
            if rates:
                for i, layer in enumerate(self.layers):
                    self._rates[i] += rates.get(layer, 0.0)

    def add_decision(self, decision: Decision) -> None:
        """Add a step's decision to the dashboard data, and a point to the curves if the last point is old enough."""
        now_s = time.perf_counter()
        self.answers.add(decision)
        with self._lock:
            self._last = decision
            if now_s - self._point_s < POINT_S or not self._c_steps:
                return
            if self._point_us is not None and decision.t_us < self._point_us:  # the source's clock went backwards
                self._points.clear()
                self._point_us = None
            share = self._votes / (self._voters * self._c_steps)
            dt_us = decision.t_us - self._point_us if self._point_us is not None else 0
            decay = float(np.exp(-dt_us / SMOOTH_US)) if self._point_us is not None else 0.0
            self._smooth = decay * self._smooth + (1 - decay) * share
            votes = [round(float(v), 4) for v in self._smooth]
            self._number += 1
            self._points.append(
                (
                    self._number,
                    [decision.t_us, decision.index, votes, [round(rate / self._c_steps, 4) for rate in self._rates]],
                )
            )
            self._point_s, self._point_us = now_s, decision.t_us
            self._clear_point()

    def add_arrival(self, arrived_s: float) -> None:
        """Record when events arrived (time.perf_counter()) for the dashboard; called in the source's reader thread."""
        self._arrived_s = arrived_s

    def add_note(self, text: str) -> None:
        """Add a line of text for the user to the notes on the dashboard."""
        self.notes.append(printable(text))

    def clear_votes(self) -> None:
        """Clear the votes that the dashboard has summed, after a reset of the network, so that they no longer count."""
        with self._lock:
            self._clear_point()
            self._smooth[:] = 0

    def _clear_point(self) -> None:
        self._votes[:] = 0
        self._c_steps = 0
        self._rates = [0.0] * len(self.layers)

    # --- in the thread of the server --------------------------------------------------------------------------------

    def source_state(self) -> tuple[str, float | None]:
        """Return the state of a dashboard's source ("running", "silent" or "lost"), and the age of its last event.

        The age is in seconds, None before the first event.
        """
        now_s, heard_s = time.perf_counter(), self._arrived_s
        age_s = round(max(0.0, now_s - heard_s), 3) if heard_s >= 0 else None
        if self._is_lost is None:
            return "running", age_s
        if self._is_lost():
            return "lost", age_s
        return "silent" if now_s - (heard_s if heard_s >= 0 else self._began_s) > SILENT_S else "running", age_s

    def message(self, since: int, source: str, facts: dict[str, object] | None) -> bytes:
        """Encode the dashboard data newer than the curve point `since` (0: all) as one message to the web page.

        The message is uint32 LE length, JSON, OFF and ON counts of the picture (uint8).
        """
        picture = self._render_picture()
        with self._lock:
            now_s, last = time.perf_counter(), self._last
            when_s, step, speed = self._speed
            steps = last.step + 1 if last else 0
            if now_s - when_s > 0.5:
                speed = (steps - step) / (now_s - when_s)
                self._speed = (now_s, steps, speed)
            points = [point for number, point in self._points if number > since]
            latest = self._number
            account = self.account
            if last is not None and (self._flow is None or last.t_us < self._flow[0]):
                self._flow = (last.t_us, account.events_in, None)
            t_us, events, rate = self._flow or (0, 0, None)
            if last is not None and last.t_us - t_us >= RATE_WINDOW_US:  # in the time of the recording
                rate = 1e6 * (account.events_in - events) / (last.t_us - t_us)
                self._flow = (last.t_us, account.events_in, rate)
            counts = {
                "in": account.events_in,
                **{name: getattr(account, name) for name in FATES},
            }
        source_state, age_s = self.source_state()
        edges, histogram = self.latency.histogram(BINS_PER_DECADE)
        labels = {} if last is None else {"label": last.label, "soft": last.soft}
        shown: dict[str, object] = {key: text and printable(text) for key, text in labels.items()}
        if self.framing.orientation not in ("stored", "upright"):
            shown["view"] = None  # the picture is turned to the camera's, and the view is not
        document = {
            "source": source,
            "facts": facts,
            "state": self.state,
            "source_state": source_state,
            "last_event_age_s": age_s,
            "changes": [
                {**change, "label": change["label"] and printable(change["label"])}
                for change in self.answers.changes(PAGE_CHANGES)
            ],
            "seen": latest,
            "points": points,
            "answer": None if last is None else {**last.to_dict(), "votes": None, "why": last.why, **shown},
            "rate_per_s": rate,
            "steps_per_s": round(speed, 1),
            "latency": self.latency.to_dict(),
            "lag": self.lag.to_dict(),
            "histogram": {"edges": edges, "counts": histogram},
            "account": counts,
            "notes": list(self.notes),
        }
        text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
        return len(text).to_bytes(4, "little") + text + picture

    def status(self) -> dict[str, Any]:
        """Return a few numbers about one source, for a program that monitors the stream through the dashboard."""
        last, account = self._last, self.account
        source_state, age_s = self.source_state()
        return {
            "source_state": source_state,
            "last_event_age_s": age_s,
            "t_us": last.t_us if last else None,
            "steps": last.step + 1 if last else 0,
            "label": last.label if last else None,
            "soft": last.soft if last else None,
            "why": last.why if last else None,
            "events_in": account.events_in,
            **{f"events_{name}": getattr(account, name) for name in FATES},
            "latency_ms": self.latency.to_dict(),
            "lag_ms": self.lag.to_dict(),
            **self._source_status(),
        }

    def _render_picture(self) -> bytes:
        """Return the dashboard picture: the sum of the frames since the last picture, as bytes uint8 [OFF, ON]."""
        with self._lock:
            now_s = self._asked_s = time.perf_counter()
            when_s, picture = self._picture
            if picture and now_s - when_s < PICTURE_PERIOD_S:
                return picture
            exposure, self._exposure = self._exposure, np.zeros(self.shape, np.float32)
            picture = self._picture[1]
            self._picture = (now_s, picture)
        counts = rotate_to_camera(exposure, self.framing.orientation, self.upright)
        if len(counts) == 1:
            counts = np.concatenate([np.zeros_like(counts), counts])
        elif self.framing.polarity == "swapped":
            counts = counts[::-1]
        picture = bytes(np.clip(counts, 0, 255).astype(np.uint8))
        with self._lock:
            self._picture = (now_s, picture)
        return picture


def rotate_to_camera(frame: np.ndarray, orientation: str, upright: str) -> np.ndarray:
    """Rotate a frame [C, H, W] from the orientation that the network takes to the camera's view."""
    if orientation == "upright":
        return frame
    if orientation == "sj":  # row W-1-x, column H-1-y
        frame = frame[:, ::-1, ::-1].transpose(0, 2, 1)
    elif orientation == "paper":  # column W-1-x
        frame = frame[:, :, ::-1]
    if upright == "flip_y":
        return frame[:, ::-1]
    return np.rot90(frame, -QUARTER_TURNS.get(upright, 0), (1, 2))  # clockwise


QUARTER_TURNS = {"rotate90": 1, "rotate180": 2, "rotate270": 3}  # turns of a quarter


def picture_size(shape: tuple[int, int, int], orientation: str, upright: str = "identity") -> tuple[int, int]:
    """Return (width, height) of the dashboard picture for frames of shape (C, H, W)."""
    c, h, w = shape
    if c not in (1, 2):
        raise PlifError(f"--dashboard: frames of {c} channels are no events; expected 2 (OFF, ON) or 1")
    is_turned = (orientation == "sj") != (orientation != "upright" and QUARTER_TURNS.get(upright, 0) % 2 == 1)
    return (h, w) if is_turned else (w, h)


MAX_CHANGES = 10_000  # the newest changes are kept
COLUMNS = ("when", "t_us", "step", "label", "score", "why")


class Answers:
    """The answers that a stream gave so far: counts by label, and a list of the changes of the answer.

    `add` is called in the thread of the stream, everything else in any thread.
    """

    def __init__(self) -> None:
        self.counts: Counter[str | None] = Counter()  # decisions by label; None: no answer
        self._changes: deque[dict[str, Any]] = deque(maxlen=MAX_CHANGES)
        self._last: tuple[str | None, str | None] | None = None
        self._lock = threading.Lock()

    def add(self, decision: Decision) -> None:
        """Count a decision of the stream by its label, and record it if the answer changed.

        A change is another label than the last one, or no label for another reason.
        """
        label = decision.label
        with self._lock:
            self.counts[label] += 1
            if self._last != (answer := (label, decision.why)):
                self._last = answer
                when = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
                values = (when, decision.t_us, decision.step, label, round(float(decision.score), 4), decision.why)
                self._changes.append(dict(zip(COLUMNS, values, strict=True)))

    def changes(self, most: int = MAX_CHANGES) -> list[dict[str, Any]]:
        """Return the newest changes of the stream's answer, oldest first, at most `most`."""
        with self._lock:
            return list(self._changes)[-most:]

    def by_label(self) -> dict[str | None, int]:
        with self._lock:
            return dict(self.counts)

    def to_csv(self) -> str:
        """Return the changes of the stream's answer as CSV text: a header, and a line for each change.

        A label that a spreadsheet would take for a formula begins with an apostrophe.
        """
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for change in self.changes():
            label = change["label"] or ""
            writer.writerow({**change, "label": "'" + label if label[:1] in tuple("=+-@\t\r") and label else label})
        return out.getvalue()

    def to_json(self) -> str:
        return json.dumps(self.changes(), indent=1) + "\n"
