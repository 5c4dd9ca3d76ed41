"""What the dashboard shows of one source: gathered in the thread of the stream, read in the thread of the server.

Gathering must cost next to nothing and reading must never make the stream wait: each step adds its frame to a sum and
replaces a few numbers, under a lock that is held for microseconds. All lists are bounded. A page that reads slowly gets
fewer, newer pictures; nothing queues up for it.

Votes are shown as the share of all voters in each interval, smoothed over SMOOTH_US, whatever the deciding rule does with
them; points are at least POINT_S of wall clock apart and average what lies between.

What a stream has answered: how often each label, and each change of the answer, as a list that can be saved.
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
from runtime.core.engines.session import whole_votes

if TYPE_CHECKING:
    from runtime.core.events import Account, Frame
    from runtime.core.events.framing import Framing
    from runtime.core.stream.decide import Decision


POINTS = 750
POINT_S = 0.04
FLOW_US = 500_000  # events a second are counted over so long
SMOOTH_US = 150_000
PICTURE_S = 0.045  # a new picture at most this often, however many pages look
LOOKED_AT_S = 2.0  # frames are not added up when nobody asked for that long
NOTES = 8
BINS_PER_DECADE = 10
SILENT_S = 1.0  # a live source that sent nothing for that long is called silent
SHOWN = 50  # changes of the answer on the page; all that are kept can be saved
FATES = ("used", "filtered", "late", "invalid", "dropped", "waiting", "not_shown")  # the last: a part of filtered


class Board:
    """Gathers with `frame` and `decision`; `message(since)` is one message of the feed."""

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
        more: Callable[[], dict[str, object]] = dict,
    ) -> None:
        """is_lost: of a live source, whether it is lost now; None for others, which are always "running". datagrams, and more
        for `status`: as of the source."""
        self.layers, self.shape, self.framing, self.upright = layers, shape, framing, upright
        self.latency, self.lag, self.account, self.datagrams = latency, lag, account, datagrams or {}
        self.state = "running"
        self.answers, self.resets = Answers(), Counter[str]()
        self._is_lost, self._began_s, self._heard_s = is_lost, time.perf_counter(), -1.0
        self._more = more
        self.notes: deque[str] = deque(maxlen=NOTES)
        self._lock = threading.Lock()
        self._voters = voters
        self._points: deque[tuple[int, list[object]]] = deque(maxlen=POINTS)  # (number, [t_us, label, votes, rates])
        self._number = 0
        self._c = np.zeros(classes)  # votes since the last point
        self._c_steps = 0
        self._smooth = np.zeros(classes)
        self._rates = [0.0] * len(layers)  # summed over the same steps
        self._point_s = 0.0
        self._point_us: int | None = None
        self._last: Decision | None = None
        self._flow: tuple[int, int, float | None] | None = None  # t_us, events until then, events a second before it
        self._speed = (time.perf_counter(), 0, 0.0)  # when, at which step, steps a second
        self._exposure = np.zeros(shape, np.float32)
        self._asked_s = -LOOKED_AT_S
        self._picture: tuple[float, bytes] = (-PICTURE_S, b"")

    # --- in the thread of the stream --------------------------------------------------------------------------------

    def step(self, frame: Frame, y: np.ndarray, rates: dict[str, float]) -> None:
        """A step was made: its frame, y float32 [classes], and the firing rate of each layer."""
        with self._lock:
            if time.perf_counter() - self._asked_s < LOOKED_AT_S:
                self._exposure += frame.x
            self._c += whole_votes(y, self._voters)
            self._c_steps += 1
            if rates:
                for i, layer in enumerate(self.layers):
                    self._rates[i] += rates.get(layer, 0.0)

    def decided(self, decision: Decision) -> None:
        """The decision of the same step; adds a point to the curves where the last one is old enough."""
        now_s = time.perf_counter()
        self.answers.add(decision)
        with self._lock:
            self._last = decision
            if now_s - self._point_s < POINT_S or not self._c_steps:
                return
            if self._point_us is not None and decision.t_us < self._point_us:  # the clock of the source stepped back
                self._points.clear()
                self._point_us = None
            share = self._c / (self._voters * self._c_steps)
            dt_us = decision.t_us - self._point_us if self._point_us is not None else 0
            keep = float(np.exp(-dt_us / SMOOTH_US)) if self._point_us is not None else 0.0
            self._smooth = keep * self._smooth + (1 - keep) * share
            votes = [round(float(v), 4) for v in self._smooth]
            self._number += 1
            self._points.append(
                (
                    self._number,
                    [decision.t_us, decision.index, votes, [round(rate / self._c_steps, 4) for rate in self._rates]],
                )
            )
            self._point_s, self._point_us = now_s, decision.t_us
            self._begin_point()

    def heard(self, arrived_s: float) -> None:
        """Events came, at that time.perf_counter(); in the thread of the reader."""
        self._heard_s = arrived_s

    def note(self, text: str) -> None:
        """A line that a person should read."""
        self.notes.append(printable(text))

    def forget(self) -> None:
        """After a reset: earlier votes no longer count."""
        with self._lock:
            self._begin_point()
            self._smooth[:] = 0

    def _begin_point(self) -> None:
        self._c[:] = 0
        self._c_steps = 0
        self._rates = [0.0] * len(self.layers)

    # --- in the thread of the server --------------------------------------------------------------------------------

    def source_state(self) -> tuple[str, float | None]:
        """("running", "silent" or "lost"; seconds since the last event came, None before the first one)."""
        now_s, heard_s = time.perf_counter(), self._heard_s
        age_s = round(max(0.0, now_s - heard_s), 3) if heard_s >= 0 else None
        if self._is_lost is None:
            return "running", age_s
        if self._is_lost():
            return "lost", age_s
        return "silent" if now_s - (heard_s if heard_s >= 0 else self._began_s) > SILENT_S else "running", age_s

    def message(self, since: int, source: str, facts: dict[str, object] | None) -> bytes:
        """What came after point `since` (0: all): uint32 LE length, JSON, OFF and ON counts of the picture (uint8)."""
        picture = self._expose()
        with self._lock:
            now_s, last = time.perf_counter(), self._last
            when_s, step, speed = self._speed
            steps = last.step + 1 if last else 0
            if now_s - when_s > 0.5:
                speed = (steps - step) / (now_s - when_s)
                self._speed = (now_s, steps, speed)
            points = [point for number, point in self._points if number > since]
            seen = self._number
            account = self.account
            if last is not None and (self._flow is None or last.t_us < self._flow[0]):
                self._flow = (last.t_us, account.events_in, None)
            t_us, events, rate = self._flow or (0, 0, None)
            if last is not None and last.t_us - t_us >= FLOW_US:  # in the time of the recording
                rate = 1e6 * (account.events_in - events) / (last.t_us - t_us)
                self._flow = (last.t_us, account.events_in, rate)
            counts = {
                "in": account.events_in,
                **{name: getattr(account, name) for name in FATES},
            }
        source_state, age_s = self.source_state()
        edges, histogram = self.latency.histogram(BINS_PER_DECADE)
        named = {} if last is None else {"label": last.label, "soft": last.soft}
        shown = {key: text and printable(text) for key, text in named.items()}
        document = {
            "source": source,
            "facts": facts,
            "state": self.state,
            "source_state": source_state,
            "last_event_age_s": age_s,
            "changes": [
                {**one, "label": one["label"] and printable(one["label"])} for one in self.answers.changes(SHOWN)
            ],
            "seen": seen,
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
        """A few numbers for a program that looks after the stream."""
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
            **self._more(),
        }

    def _expose(self) -> bytes:
        """The frames since the last picture, added up."""
        with self._lock:
            now_s = self._asked_s = time.perf_counter()
            when_s, picture = self._picture
            if picture and now_s - when_s < PICTURE_S:
                return picture
            exposure, self._exposure = self._exposure, np.zeros(self.shape, np.float32)
            picture = self._picture[1]
            self._picture = (now_s, picture)
        counts = as_seen(exposure, self.framing.orientation, self.upright)
        if len(counts) == 1:
            counts = np.concatenate([np.zeros_like(counts), counts])
        elif self.framing.polarity == "swapped":
            counts = counts[::-1]
        picture = bytes(np.clip(counts, 0, 255).astype(np.uint8))
        with self._lock:
            self._picture = (now_s, picture)
        return picture


def as_seen(frame: np.ndarray, orientation: str, upright: str) -> np.ndarray:
    """A frame [C, H, W] turned as the camera saw the world, whatever orientation the network was trained on."""
    if orientation == "upright":
        return frame
    if orientation == "sj":  # row W-1-x, column H-1-y
        frame = frame[:, ::-1, ::-1].transpose(0, 2, 1)
    elif orientation == "paper":  # column W-1-x
        frame = frame[:, :, ::-1]
    if upright == "flip_y":
        return frame[:, ::-1]
    return np.rot90(frame, -QUARTERS.get(upright, 0), (1, 2))  # clockwise


QUARTERS = {"rotate90": 1, "rotate180": 2, "rotate270": 3}  # turns of a quarter


def picture_size(shape: tuple[int, int, int], orientation: str, upright: str = "identity") -> tuple[int, int]:
    """(width, height) of the picture of frames of that shape."""
    c, h, w = shape
    if c not in (1, 2):
        raise PlifError(f"--dashboard: frames of {c} channels are no events; expected 2 (OFF, ON) or 1")
    turned = (orientation == "sj") != (orientation != "upright" and QUARTERS.get(upright, 0) % 2 == 1)
    return (h, w) if turned else (w, h)


MOST = 10_000  # changes that are kept, the newest ones
COLUMNS = ("when", "t_us", "step", "label", "score", "why")


class Answers:
    """`add` in the thread of the stream, everything else in any thread."""

    def __init__(self) -> None:
        self.counts: Counter[str | None] = Counter()  # decisions by label; None: no answer
        self._changes: deque[dict[str, Any]] = deque(maxlen=MOST)
        self._last: tuple[str | None, str | None] | None = None
        self._lock = threading.Lock()

    def add(self, decision: Decision) -> None:
        """Counts a decision; one with another label than the last, or none for another reason, is a change."""
        label = decision.label
        with self._lock:
            self.counts[label] += 1
            if self._last != (answer := (label, decision.why)):
                self._last = answer
                when = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
                values = (when, decision.t_us, decision.step, label, round(float(decision.score), 4), decision.why)
                self._changes.append(dict(zip(COLUMNS, values, strict=True)))

    def changes(self, most: int = MOST) -> list[dict[str, Any]]:
        """The newest changes, the oldest of them first."""
        with self._lock:
            return list(self._changes)[-most:]

    def by_label(self) -> dict[str | None, int]:
        with self._lock:
            return dict(self.counts)

    def to_csv(self) -> str:
        """A header and a line for each change; a label that a spreadsheet would take for a formula begins with an apostrophe."""
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for change in self.changes():
            label = change["label"] or ""
            writer.writerow({**change, "label": "'" + label if label[:1] in tuple("=+-@\t\r") and label else label})
        return out.getvalue()

    def to_json(self) -> str:
        return json.dumps(self.changes(), indent=1) + "\n"
