"""Streaming: events -> frames -> one step of the network -> a decision, as the events arrive.

    for decision in model.stream("recording.raw"):
        print(decision.t_us, decision.label, decision.score)

The network keeps its state from step to step. With `decide="sum"` and `reset="recording"` (RECORDING_RULES, what a
recording gets) this is what evaluation does, on the same frames, so both give the same spikes and the same answer.

Several sources share one engine: each is a row of the batch, steps when it has a frame, and decides as it would alone.
A recording read as fast as possible is read in this thread; whatever has a clock of its own (a live source, speed="real")
has a reader thread and a bounded queue (runtime.stream.queue).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.base.latency import Latencies
from runtime.events import Framing, Source, SourceFramer, open_source
from runtime.events.sources.base import waits
from runtime.stream.decide import Plan
from runtime.stream.observe import Controls, Observer, Observers
from runtime.stream.queue import Feed, Overload, Ready
from runtime.stream.replay import RecordedSource, ReplayFrames, replayed
from runtime.stream.reset import ResetPolicy
from runtime.stream.stream import Decision, Lane
from runtime.stream.streamable import LIVE_RULES, RECORDING_RULES, check_streamable, default_rules, endless

if TYPE_CHECKING:
    from runtime.engines.session import OpenModel

__all__ = ["LIVE_FRAMING", "LIVE_RULES", "RECORDING_RULES", "Decision", "Stream", "stream"]

CLOSING_S = 3.0  # that reader threads have to end, all together
LIVE_FRAMING = "events:n=5000,max=20ms"


def stream(
    model: OpenModel,
    source: str | Source | Sequence[str | Source],
    *,
    framing: str | None = None,
    decide: str | None = None,
    reset: str | None = None,
    speed: str = "max",
    sensor: tuple[int, int] | None = None,
    filters: str | None = None,
    overload: str | None = None,
    on_return: str | None = None,
    observers: Sequence[Observer] = (),
) -> Stream:
    """A Stream of decisions about one source or several; iterate it once.

    What is not given is what a recording of --record says (runtime.stream.replay), else merge and hold, and for decide and reset
    RECORDING_RULES, or LIVE_RULES where a source is endless.

    source     a recording, a folder of --record, "-", udp://..., tcp://..., usb://..., sim:..., an object that is a Source,
               or a list of these
    framing    how events become frames; the card's when None
    decide     sum, leak[:500ms] or kofn[:3/5], with margin=, release=, idle= after commas (runtime.stream.decide)
    reset      never, recording, every:T[/K], silence:MS or decay:TAU (runtime.stream.reset)
    speed      max, or real: recordings are paced by the events' own time
    sensor     (width, height) for sources that do not say
    filters    between source and frames: "hot,background:5ms" (runtime.events.filters)
    overload   merge[:8] or drop[:8], when the network is slower than the feed (runtime.stream.queue)
    on_return  hold or reset, when a live source was lost and is back
    observers  who hears of packets, frames, decisions and the summary (runtime.stream.observe)
    """
    sources = [source] if isinstance(source, str) or not isinstance(source, Sequence) else list(source)
    given = {"framing": framing, "decide": decide, "reset": reset, "filters": filters, "overload": overload}
    sources, options = replayed(model, sources, {**given, "on_return": on_return})
    return Stream(model, sources, speed=speed, sensor=sensor, observers=observers, **options)


class Stream:
    """Iterates over Decisions; `summary()` has the account of all events at any time."""

    def __init__(
        self,
        model: OpenModel,
        sources: Sequence[str | Source],
        *,
        framing: str | None,
        decide: str | None,
        reset: str | None,
        speed: str,
        sensor: tuple[int, int] | None,
        filters: str | None,
        overload: str,
        on_return: str,
        observers: Sequence[Observer],
    ) -> None:
        check_streamable(model, sources, speed)
        self.model = model
        self.framing = Framing.parse(framing or model.card["framing"] or LIVE_FRAMING)
        self.controls = Controls()
        self._tell = Observers(observers)
        self._wake = threading.Condition()
        self.lanes: list[Lane] = []
        opened: list[Source] = []
        try:
            for one in sources:
                opened.append(open_source(one, sensor=sensor) if isinstance(one, str) else one)
            decide, reset = default_rules(decide, reset, [endless(found, self.framing) for found in opened])
            self.options: dict[str, Any] = {
                "framing": framing,
                "decide": decide,
                "reset": reset,
                "speed": speed,
                "sensor": sensor,
                "filters": filters,
                "overload": overload,
                "on_return": on_return,
            }
            plan, policy, rule = Plan.parse(decide), ResetPolicy.parse(reset), Overload.parse(overload)
            self._add_lanes(opened, plan, policy)
            self.session = model.session(streams=len(sources) * policy.copies)
        except BaseException:
            for found in opened:
                _close(found)
            raise
        self._add_feeds(rule, paced=speed == "real")
        self._iterated = self._told = self._closed = False

    def _add_lanes(self, opened: Sequence[Source], plan: Plan, policy: ResetPolicy) -> None:
        text, filters, on_return = str(self.framing), self.options["filters"], self.options["on_return"]
        if self.framing.kind == "count" and (policy.kind in ("silence", "decay") or plan.idle_per_s is not None):
            raise PlifError(
                f"--reset {self.options['reset']}, --decide {self.options['decide']}: framing '{text}' has no silence, "
                "its frames hold equal counts; use duration or events"
            )
        for i, found in enumerate(opened):
            name = self._name(found.name)
            if found.live and self.framing.kind == "count":
                raise PlifError(
                    f"{found.name}: framing '{text}' divides a whole recording and cannot serve a live source; "
                    f"use --framing {LIVE_FRAMING} or --framing duration:20ms"
                )
            watch = _Watch(name, self._tell) if self._tell.packet or self._tell.come_back or self._tell.tick else None
            make = ReplayFrames if isinstance(found, RecordedSource) and found.stepped else SourceFramer
            frames = make(found, self.framing, self.model.input_shape, filters=filters, returns=on_return, watch=watch)
            rows = range(i * policy.copies, (i + 1) * policy.copies)
            self.lanes.append(Lane(name, frames, rows, plan, policy, self.model, self._tell))

    def _name(self, name: str) -> str:
        taken = [lane.name for lane in self.lanes]
        return next(n for n in (name, *(f"{name} #{k}" for k in range(2, len(taken) + 3))) if n not in taken)

    def _add_feeds(self, overload: Overload, paced: bool) -> None:
        """Reader threads for what has a clock of its own; when one source has, all get one."""
        self.controls.wake = self._notify
        alone = len(self.lanes) == 1 and waits(self.source)  # a pipe, and nothing else to wait for
        if alone or not (paced or any(lane.frames.source.live for lane in self.lanes)):
            self._hear(lambda lane, text: self._tell.note(lane.name, text))
            return
        for lane in self.lanes:
            lane.feed = Feed(
                lane.frames,
                wake=self._wake,
                overload=overload,
                paced=paced and not lane.frames.source.live,
                controls=self.controls,
                binary=self.framing.value == "binary",
                say=lambda text, lane=lane: self._tell.note(lane.name, text),  # type: ignore[misc]
            )
        self._hear(lambda lane, text: self._tell.note(lane.name, text))

    def _hear(self, say: Any) -> None:
        for lane in self.lanes:
            if hasattr(lane.frames.source, "say"):
                lane.frames.source.say = lambda text, lane=lane: say(lane, text)

    def _notify(self) -> None:
        """Controls were used: whoever sleeps looks again. A pipe that is read in this thread sleeps in the system."""
        with self._wake:
            self._wake.notify_all()
        if self.controls.ended and self.lanes[0].feed is None:
            for lane in self.lanes:
                _close(lane.frames.source)

    # --- of one source, as most streams have --------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The sources, as observers and decisions call them."""
        return [lane.name for lane in self.lanes]

    @property
    def source(self) -> Source:
        return self.lanes[0].frames.source

    @property
    def latency(self) -> Latencies:
        return self.lanes[0].latency

    @property
    def lag(self) -> Latencies:
        return self.lanes[0].lag

    @property
    def last(self) -> Decision | None:
        return self.lanes[0].last

    @property
    def last_frame(self) -> Any:
        return self.lanes[0].last_frame

    # --- the loop -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Decision]:
        if self._iterated:
            raise PlifError(f"{self.source.name}: a stream runs once; make another one with model.stream")
        self._iterated = True
        self._tell.start(self)
        self._advise()
        try:
            for batch in self._from_threads() if self.lanes[0].feed else self._in_turn():
                yield from self._step(batch)
        finally:
            self.close()

    def _advise(self) -> None:
        """A sum without an end is what was asked for, and hardly what is wanted. Nor is a speed that is not kept."""
        for lane in self.lanes:
            if self.options["speed"] == "real" and waits(lane.frames.source):
                self._tell.note(lane.name, "--speed real paces recordings; a pipe is read as fast as it is written")
            copy = lane.copies[0]
            adds_up = copy.rule.name == "sum" and copy.policy.kind in ("recording", "never", "silence")
            if adds_up and endless(lane.frames.source, self.framing):
                self._tell.note(
                    lane.name,
                    "--decide sum adds up from the beginning of the feed, so its answer changes ever more slowly; "
                    f"for a feed without an end: --decide {LIVE_RULES[0]}",
                )

    def close(self) -> None:
        """The end, at the latest: nothing more is read, what waits is dropped and counted, observers get the summary.

        Iterating to the end does it too.
        """
        if self._closed:
            return
        self.controls.end()
        for lane in self.lanes:
            _close(lane.frames.source) if lane.feed is None else lane.feed.stop()
        deadline_s = time.monotonic() + CLOSING_S  # one for all
        for lane in self.lanes:
            if lane.feed is not None and not lane.feed.ends(deadline_s):
                text = f"its reader did not end within {CLOSING_S:g} s and is left behind; what it still brings is not counted"
                if text not in lane.notes:
                    lane.notes.append(text)
                    self._tell.note(lane.name, text)
            lane.settle()
        if self._iterated and not self._told:
            self._told = True
            self._tell.summary(self.summary())
        self._closed = True  # last: a close that was interrupted is done again, and each part of it once

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_turn(self) -> Iterator[list[tuple[Lane, Ready]]]:
        """Recordings, read here: the next frame of each that has one."""
        readers = [(lane, iter(lane.frames)) for lane in self.lanes]
        while readers:
            batch, left = [], []
            for lane, frames in readers:
                frame = next(frames, None)
                if frame is not None:
                    now_s = time.perf_counter()
                    batch.append((lane, Ready(frame, now_s, now_s)))
                    left.append((lane, frames))
            readers = left
            self.controls.wait()
            if self.controls.ended:
                return  # what was framed and is not stepped any more: close() counts it
            if batch:
                yield batch

    def _from_threads(self) -> Iterator[list[tuple[Lane, Ready]]]:
        """Whatever is ready in any queue; sleeps while nothing is."""
        feeds = [(lane, lane.feed) for lane in self.lanes if lane.feed is not None]
        for _, feed in feeds:
            feed.start()
        while not self.controls.ended:
            batch = []
            with self._wake:
                while not self.controls.ended:
                    if self.controls.running:
                        taken = [(lane, feed.take()) for lane, feed in feeds]
                        batch = [(lane, ready) for lane, ready in taken if ready is not None]
                    failed = any(feed.error is not None for _, feed in feeds)  # whatever the others do, stopped or not
                    if batch or failed or all(feed.done and not feed.waiting for _, feed in feeds):
                        break
                    self._wake.wait()
            for _, feed in feeds:
                if feed.error is not None:
                    raise feed.error
            if not batch:
                return
            yield batch

    def _step(self, batch: list[tuple[Lane, Ready]]) -> list[Decision]:
        asked = self.controls.take_resets()
        rows: list[int] = []
        for lane, ready in batch:
            lane.before(ready.frame, self.session, bool(asked) and (None in asked or lane.name in asked))
            rows.extend(lane.rows)
        frames = [ready.frame.x for lane, ready in batch for _ in lane.rows]
        x = frames[0][None] if len(frames) == 1 else np.stack(frames)
        y = self.session.step(x, None if len(rows) == self.session.streams else rows)
        rates = self.session.last_rates if self.model.counts_rates and self._tell.frame else {}
        decisions, at = [], 0
        for lane, ready in batch:
            mine = slice(at, at + len(lane.rows))
            alone = len(lane.rows) == 1  # as nearly always, and a mean costs 20 times an item
            of_lane = {layer: float(values[at] if alone else values[mine].mean()) for layer, values in rates.items()}
            decisions.append(lane.after(ready, y[mine], of_lane))
            at = mine.stop
        return decisions

    # --- what came of it ----------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """The last line of `plif stream --json`: the account of every event, and the times.

        With several sources their sums, the worst percentiles, and each source's own under `sources`.
        """
        each = [lane.summary() for lane in self.lanes]
        if len(each) == 1:
            return each[0]
        counts = dict.fromkeys(
            key for one in each for key in one if isinstance(one[key], int) and key != "waiting_most"
        )
        total: dict[str, Any] = {key: sum(one.get(key, 0) for one in each) for key in counts}
        total["label"], total["framing"] = None, each[0]["framing"]
        for key in ("latency_ms", "lag_ms"):
            percentiles = [one[key] for one in each]
            total[key] = {
                p: max((one[p] for one in percentiles if one[p] is not None), default=None) for p in percentiles[0]
            }
        total["notes"] = [note for one in each for note in one["notes"]]
        total["sources"] = dict(zip(self.names, each, strict=True))
        return total


class _Watch:
    """Tells observers what one source gives."""

    def __init__(self, name: str, tell: Observers) -> None:
        self._name, self._tell = name, tell

    def on_packet(self, events: np.ndarray, arrived_s: float) -> None:
        self._tell.packet(self._name, events, arrived_s)

    def on_return(self) -> None:
        self._tell.come_back(self._name)

    def on_tick(self, t_us: int) -> None:
        self._tell.tick(self._name, t_us)


def _close(source: Source) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
