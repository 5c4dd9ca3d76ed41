"""Several streams on one engine: events -> frames -> one step of the network -> a decision, as the events arrive.

    for decision in model.stream("recording.raw"):
        print(decision.t_us, decision.label)

The network keeps its state from step to step. With `decide="sum"` and `reset="recording"` (RECORDING_RULES, the
defaults of a recording) this is the computation of an evaluation, on the same frames: both have the same spikes and
answer.

Each source is a stream of its own: its rows of the batch step when it has a frame, and it decides as it would alone.
A recording read as fast as possible is read in this thread; a source with a clock of its own (a live source,
speed="real") has a reader thread and a bounded queue (a part: runtime.observers.live_queue).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import partial
from typing import Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.engines.model import OpenModel
from runtime.core.engines.session import Session
from runtime.core.events.fit import load_domain_monitor
from runtime.core.events.frame import Frame
from runtime.core.events.framing import Framing, resolve_framing
from runtime.core.events.lines import StreamSummary
from runtime.core.events.sources import open_source
from runtime.core.events.sources.base import ASK, Source, is_rotated_by_format
from runtime.core.model.card import get_exit_margin
from runtime.core.observers import find_observers, find_recorder
from runtime.core.stream.controls import Controls
from runtime.core.stream.decide import Decision, Rules
from runtime.core.stream.observe import Observer, Observers
from runtime.core.stream.options import LIVE_FRAMING, LIVE_RULES, StreamOptions
from runtime.core.stream.source_framer import SourceFramer
from runtime.core.stream.stream import Stream, check_streamable, merge_summaries

Stage = Enum("Stage", "NEW RUNNING READ SUMMARIZED CLOSED")  # of a run; the summary follows RUNNING or READ


class Run:
    """A run of a model on one event stream or several: iterate over its Decisions, once.

    `summary()` has the account of all events at any time.

    source     a recording, a folder of --record, "-", udp://..., tcp://..., usb://..., sim:..., a Source, or a list
               of these
    options    a missing option is taken from a recording of --record, else its default holds
    observers  hear of packets, frames, decisions and the summary (runtime.core.stream.observe)
    controls   stop, start, reset and end, from any thread
    """

    def __init__(
        self,
        model: OpenModel,
        source: str | Source | Sequence[str | Source],
        options: StreamOptions,
        observers: Sequence[Observer] = (),
    ) -> None:
        sources = [source] if isinstance(source, str) or not isinstance(source, Sequence) else list(source)
        if (recorder := next(filter(None, map(find_recorder, sources)), None)) is not None:
            sources, options = recorder.load("replay:expand_recording")(model, sources, options)
        check_streamable(model, sources, options.speed)
        self.model = model
        self.framing = resolve_framing(model.card, options.framing) or Framing.parse(LIVE_FRAMING, native=False)
        self.controls = Controls()
        self.streams: list[Stream] = []
        self._queues: Any = None
        heard = options.call_observers("run", model)
        self._observers = Observers([*heard, *observers])
        opened: list[Source] = []
        try:
            for spec in sources:
                opened.append(spec if isinstance(spec, Source) else self._open(spec, options))
            endless = [self._is_endless(input_source) for input_source in opened]
            feeds = [input_source.sensor for input_source in opened] if all(endless) else None
            self.framing, rule = options.choose_framing(model.card, self.framing, feeds)
            self.options = options.complete(str(self.framing), endless, get_exit_margin(model.card), rule)
            try:
                self._make_streams(opened)
            except PlifError as error:
                if options.decide is None and str(error).startswith("--decide"):
                    raise PlifError(f"{model.path.name}: its card's rule, {error}; say another: --decide") from None
                raise
            self.session = Session(model, sum(stream.rules.rows for stream in self.streams))
            self._make_queues()
            if self._observers.on_open:
                self._observers.on_open(self)
        except BaseException:
            for input_source in opened:
                input_source.close()
            raise
        self._stage = Stage.NEW

    def _open(self, spec: str, options: StreamOptions) -> Source:
        size = self.model.card.get("sensor")
        trained = size and (size[0], size[1])
        return open_source(spec, user_sensor=options.sensor, csv=options.csv, trained=trained, up=options.up)

    def _is_endless(self, source: Source) -> bool:
        """Return whether the stream of this source has no end.

        An offline framing divides a complete recording, so its stream has an end.
        """
        return source.endless and not self.framing.is_offline

    def _make_streams(self, opened: Sequence[Source]) -> None:
        options, text = self.options, str(self.framing)
        texts, ends_early, first_row = (str(options.decide), str(options.reset)), options.reset == "recording", 0
        for source in opened:
            if source.live and self.framing.is_offline:
                raise PlifError(
                    f"{source.name}: framing '{text}' divides a whole recording and cannot serve a live source; "
                    f"use --framing {LIVE_FRAMING} or --framing duration:20ms"
                )
            name = self._free_name(source.name)
            frames = SourceFramer(
                source,
                self.framing,
                self.model.input_shape,
                filters=options.filters,
                on_return=str(options.on_return),
                observers=self._observers,
                name=name,
            )
            rules = Rules(self.model.classes, self.model.voters, self.model.T, *texts, framing=text)
            fit = load_domain_monitor(self.model.card, self.framing)
            self.streams.append(Stream(name, frames, first_row, rules, self._observers, fit, ends_early))
            first_row += rules.rows

    def _free_name(self, name: str) -> str:
        return next(n for n in (name, *(f"{name} #{k}" for k in range(2, len(self.names) + 3))) if n not in self.names)

    def _make_queues(self) -> None:
        """Create threads that read the sources ahead, if one is live or paced; then every source gets one."""
        self.controls.wake = self._wake_up
        paced = self.options.speed == "real"
        alone = len(self.streams) == 1 and self.source.waits  # a pipe, and nothing else to wait for
        threaded = not alone and (paced or any(stream.source.live for stream in self.streams))
        for stream in self.streams:
            stream.source.say = partial(self._observers.on_note, stream.name)
        if not threaded and self.options.overload == "merge":
            return
        part = next(iter(find_observers("queues")), None)
        if part is None:
            raise PlifError(
                f"{self.source.name}: live feeds, --speed real, --overload need a reader ahead, and no part here is one"
            )
        streams, overload = self.streams if threaded else (), str(self.options.overload)
        queues = part.load("queue:Queues")(streams, overload, paced, self.controls, self._observers)
        self._queues = queues if threaded else None

    def _wake_up(self) -> None:
        """Wake the loop of a streaming run after a use of its controls.

        A loop that waits in the read of a pipe is woken by the end of its source.
        """
        if self._queues is not None:
            self._queues.wake()
        elif self.controls.ended:
            for stream in self.streams:
                stream.source.close()

    # --- of the first source, which is the only one of most runs ------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The names of a streaming run's sources, for observers and decisions."""
        return [stream.name for stream in self.streams]

    @property
    def source(self) -> Source:
        return self.streams[0].source

    @property
    def last(self) -> Decision | None:
        return self.streams[0].last

    @property
    def last_frame(self) -> Frame | None:
        return self.streams[0].last_frame

    # --- the loop -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Decision]:
        if self._stage is not Stage.NEW:
            raise PlifError(f"{self.source.name}: a stream runs once; make another one with model.stream")
        self._stage = Stage.RUNNING
        if self._observers.on_start:
            self._observers.on_start(self)
        self._note_odd_options()
        try:
            for batch in self._read_in_turn() if self._queues is None else self._queues:
                yield from self._step(batch)
            self._stage = Stage.READ
        finally:
            self.close()

    def _note_odd_options(self) -> None:
        """Note stream options that are allowed but rarely meant.

        They are a sum over a feed without an end, and a pace that a pipe cannot have.
        """
        decide, reset = str(self.options.decide), str(self.options.reset)
        adds_up = decide.split(",")[0] == "sum" and reset.split(":")[0] in ("recording", "never", "silence")
        for stream in self.streams:
            if (text := self._rotation_note(stream.source)) is not None:
                stream.notes.append(f"{stream.name}: {text}")
                self._observers.on_note(stream.name, text)
            if self.options.speed == "real" and stream.source.waits:
                text = "--speed real paces recordings; a pipe is read as fast as it is written"
                self._observers.on_note(stream.name, text)
            if adds_up and self._is_endless(stream.source):
                self._observers.on_note(
                    stream.name,
                    "--decide sum adds up from the beginning of the feed, so its answer changes ever more slowly; "
                    f"for a feed without an end: --decide {LIVE_RULES[0]}",
                )

    def _rotation_note(self, source: Source) -> str | None:
        """Return a note on the rotation of a source's pictures that the user should read, or None."""
        if source.has_user_orientation and self.framing.orientation != "upright":
            return "up= changes nothing: its framing takes pictures as they are stored; orientation=upright turns them"
        turned = is_rotated_by_format(source, self.framing)
        return f"stored turned ({source.upright}), says its format: turned. {ASK}" if turned else None

    def _read_in_turn(self) -> Iterator[list[Stream]]:
        """Read recordings in this thread; yield the streams that have a next frame, which is their `pending`."""
        reading = [(stream, iter(stream.frames)) for stream in self.streams]
        while reading:
            batch, remaining = [], []
            for stream, frames in reading:
                stream.pending = None if stream.is_final else next(frames, None)
                if stream.pending is not None:
                    batch.append(stream)
                    remaining.append((stream, frames))
            reading = remaining
            if not self.controls.running:
                self.controls.wait()
            if self.controls.ended:
                for _stream, frames in reading if self.source.waits and self.streams[0].frames.keep_open else ():
                    deque(frames, 0)  # a pipe that was closed: consume the packet that was read last
                return  # close() counts the frames that are made and will not be stepped
            if batch:
                yield batch

    def _step(self, batch: list[Stream]) -> list[Decision]:
        """Step the network for the streams of a batch, each with its pending frame; return their decisions."""
        if self.controls.resets:  # a stream without a frame in this batch resets before its next frame
            requested = self.controls.take_resets()
            for stream in self.streams:
                stream.reset_requested |= None in requested or stream.name in requested
        rows: list[int] = []
        xs: list[np.ndarray] = []
        for stream in batch:
            frame = stream.pending
            assert frame is not None
            stream.before_step(frame, self.session)
            rows.extend(stream.numbers)
            # every row of a stream sees the same picture, but with follow=on
            xs.extend([frame.x] * len(stream.numbers) if frame.pictures is None else frame.pictures)
        x = xs[0][None] if len(xs) == 1 else np.stack(xs)
        began_s = time.perf_counter()
        y = self.session.step(x, None if len(rows) == self.session.streams else rows, counted=True)
        if self._observers.on_step:
            self._observers.on_step(1e3 * (time.perf_counter() - began_s))
        rates = self.session.last_rates if self.model.counts_rates and self._observers.on_frame else {}
        decisions, row = [], 0
        for stream in batch:
            stream_rows = slice(row, row := row + len(stream.numbers))
            alone = len(stream.numbers) == 1  # the usual case; a mean takes 20 times as long as reading one item
            stream_rates: dict[str, float] = {}
            for layer, values in rates.items():
                stream_rates[layer] = float(values[stream_rows.start] if alone else values[stream_rows].mean())
            assert stream.pending is not None
            decisions.append(stream.after_step(stream.pending, y[stream_rows], stream_rates))
        return decisions

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End a streaming run: read no more, drop and count waiting frames, send the summary to the observers.

        Iterating to the end closes the run, too.
        """
        if self._stage is Stage.CLOSED:
            return
        self.controls.end()
        for stream in self.streams if self._queues is None else ():
            stream.source.close()
        if self._queues is not None:
            self._queues.close()
        if self._stage is Stage.READ and self._observers.on_end:
            self._observers.on_end(self)
        for stream in self.streams:
            stream.account.close()
            if self._stage is not Stage.NEW:
                stream.check_domain(
                    last=True, unfinished=self._stage is not Stage.READ or self._is_endless(stream.source)
                )
        if self._stage in (Stage.RUNNING, Stage.READ):
            self._stage = Stage.SUMMARIZED
            if self._observers.on_summary:
                self._observers.on_summary(self.summary())
        self._stage = Stage.CLOSED  # last: an interrupted close can be repeated; the summary is sent once all the same

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def summary(self) -> StreamSummary:
        """Return the last line of `plif stream --json`: the account of every event, and the times.

        With several sources it has their sums, the worst percentiles, and each source's own summary under `sources`.
        """
        return merge_summaries({stream.name: stream.summary() for stream in self.streams})
