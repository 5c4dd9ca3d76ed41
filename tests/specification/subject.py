"""What the specification is compared with: the Python product, and libplif through its C interface. Only this file knows them."""

from __future__ import annotations

import ctypes as c
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Protocol

import numpy as np
import torch

import plif_train
import runtime
from plif_export import export
from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.events import Source, make_events
from runtime.core.events.formats.base import Losses
from runtime.core.events.framing import Framing
from runtime.core.events.sources.base import TICK
from runtime.core.events.sources.usable import keep_usable
from runtime.core.stream.observe import Observer
from runtime.native.interface import IDLE, PlifFraming
from runtime.native.rules import FRAMING_CHOICES
from tests.libplif import CSession, Handle, library
from tests.passing import Filters
from tests.specification.stream import Decision
from tests.specification.view import Cell, Event, is_valid

CLASSES, VOTERS, T, THRESHOLD = ["a", "b", "other", "d", "e"], 4, 6, 2
VOTING = (1, len(CLASSES), VOTERS)  # an event in row i and column j is a current into voter j of class i
Feed = Sequence[list[Event] | int]  # packets of events, and times until which none came
SeenFrame = tuple[
    int, int, bool, dict[Cell, float]
]  # its end, events, whether a discontinuity came before it, its cells
UPRIGHT = ("identity", "rotate180", "flip_y", "rotate90", "rotate270")

_ARTIFACTS = TemporaryDirectory()  # until the tests end


class Subject(Protocol):
    def read(self, grammar: str, text: str) -> dict[str, Any] | None:
        """What a line says, None where it is refused. grammar: framing, decide or reset."""

    def frames(
        self, framing: str, feed: Feed, shape: tuple[int, int, int], sensor: tuple[int, int], upright: str = "identity"
    ) -> tuple[list[SeenFrame], dict[str, int]]:
        """The frames that a stream steps, and its account."""

    def decisions(self, framing: str, feed: Feed, decide: str, reset: str) -> list[Decision]:
        """What a stream of the voting network says: its cells add up what comes, fire at THRESHOLD, and begin at 0 again.

        PlifError where the lines do not go together."""


def network(v: dict[Cell, float], x: Counter[Cell]) -> tuple[dict[Cell, float], list[float]]:
    """h = v + x,  s = h >= THRESHOLD,  v = 0 where s, else h: the voting network, as the specification sees it."""
    h = {cell: v.get(cell, 0.0) + x[cell] for cell in {*v, *x}}
    fired = Counter(row for (_, row, _), at in h.items() if at >= THRESHOLD)
    return {cell: at for cell, at in h.items() if at < THRESHOLD}, [float(fired[i]) for i in range(len(CLASSES))]


@cache
def opened(path: Path) -> Handle:
    return Handle(path)


@cache
def loaded(path: Path) -> runtime.Model:
    return runtime.load(path)


@cache
def artifact(shape: tuple[int, int, int], votes: bool) -> Path:
    """One neuron for each cell of the frame: those that vote, or those that only add up what came."""
    cells, name = math.prod(shape), f"{shape}-{votes}.plif"
    net = plif_train.build(
        f"FC{cells}-IF" + (f"-APk{VOTERS}s{VOTERS}" if votes else ""),
        shape=shape,
        T=T,
        v_threshold=float(THRESHOLD) if votes else 1e9,
        framing="duration:10ms",
        classes=tuple(CLASSES if votes else map(str, range(cells))),
    )
    with torch.no_grad():
        net.get_parameter("fc1.weight").copy_(torch.eye(cells))
    return export(net.eval(), Path(mkdtemp(dir=_ARTIFACTS.name)) / name, to="plif", verify=False).path


def cells_of(x: np.ndarray) -> dict[Cell, float]:
    return {(int(p), int(y), int(z)): float(x[p, y, z]) for p, y, z in np.argwhere(x)}


def packed(events: list[Event]) -> np.ndarray:
    t, x, y, on = zip(*events, strict=True)
    return make_events(t, x, y, on)


def events_in(feed: Feed) -> list[Event]:
    return [event for packet in feed if not isinstance(packet, int) for event in packet]


class Filtering(Subject, Protocol):
    """A subject that has filters."""

    def frames(
        self,
        framing: str,
        feed: Feed,
        shape: tuple[int, int, int],
        sensor: tuple[int, int],
        upright: str = "identity",
        filters: str | None = None,
    ) -> tuple[list[SeenFrame], dict[str, int]]: ...

    def filtered(
        self, text: str, sensor: tuple[int, int], events: list[Event]
    ) -> tuple[list[Event | None], Any] | None:
        """What becomes of each event, and the size of the picture then; None where the line is refused."""


class Fed(Source):
    """A recording that is in memory; an empty packet moves its time to until_us."""

    stepped = True

    def __init__(self, feed: Feed, sensor: tuple[int, int], upright: str) -> None:
        super().__init__("fed")
        self.feed, self.sensor, self.upright = feed, sensor, upright

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        self.begin(max_events)
        self.losses = Losses()  # each reading counts anew
        for packet in self.feed:
            self.until_us = packet if isinstance(packet, int) else None
            yield TICK if isinstance(packet, int) else keep_usable(packed(packet), self.sensor, self.losses)


class Seen(Observer):
    def __init__(self) -> None:
        self.frames: list[SeenFrame] = []

    def on_frame(self, source: str, frame: Any, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        pictures = frame.x if frame.pictures is None else frame.pictures.reshape(-1, *frame.x.shape[1:])
        self.frames.append((frame.t_end_us, frame.events, frame.discontinuity, cells_of(pictures)))


class PythonProduct:
    """`plif stream` and what it is made of."""

    def read(self, grammar: str, text: str) -> dict[str, Any] | None:
        if grammar != "framing":  # Python has no form of its own of these
            return Libplif().read(grammar, text)
        try:
            return {name: value or 0 for name, value in asdict(Framing.parse(text)).items()}
        except PlifError:
            return None

    def run(self, path: Path, source: Fed, **options: Any) -> tuple[Seen, list[Any], dict[str, Any]]:
        seen = Seen()
        stream = loaded(path).stream(source, observers=[seen], **options)
        return seen, list(stream), stream.summary()

    def frames(
        self,
        framing: str,
        feed: Feed,
        shape: tuple[int, int, int],
        sensor: tuple[int, int],
        upright: str = "identity",
        filters: str | None = None,
    ) -> tuple[list[SeenFrame], dict[str, int]]:
        source = Fed(feed, sensor, upright)
        seen, _, summary = self.run(artifact(shape, False), source, framing=framing, filters=filters)
        return seen.frames, {name[7:]: summary[name] for name in summary if name.startswith("events_")}

    def decisions(self, framing: str, feed: Feed, decide: str, reset: str) -> list[Decision]:
        source = Fed(feed, VOTING[:0:-1], "identity")
        seen, said, _ = self.run(artifact(VOTING, True), source, framing=framing, decide=decide, reset=reset)
        return [
            Decision(
                *(d.t_us, events, jumps, d.index, d.why, d.score, d.votes, None),
                None if d.soft is None else CLASSES.index(d.soft),
            )
            for d, (_, events, jumps, _) in zip(said, seen.frames, strict=True)
        ]

    def filtered(
        self, text: str, sensor: tuple[int, int], events: list[Event]
    ) -> tuple[list[Event | None], Any] | None:
        try:
            filters = Filters(text, sensor)
        except PlifError:
            return None
        passed, which = filters(packed(events)) if events else (make_events([], [], [], []), None)
        left = iter([Event(*event) for event in passed.tolist()])
        kept = [True] * len(events) if which is None else which.tolist()
        return [next(left) if one else None for one in kept], filters.sensor


class CRule(c.Structure):
    """DecisionRule of decide.h."""

    _fields_ = (
        *(("kind", c.c_int), ("tau_us", c.c_int64), ("k", c.c_int), ("n", c.c_int)),
        *((name, c.c_double) for name in ("margin", "release", "idle_per_s")),
        *(
            ("idle_auto", c.c_int),
            ("other_us", c.c_int64),
            ("drift", c.c_double),
            ("most", c.c_double),
            ("exit_margin", c.c_double),
        ),
        *(("soft", c.c_double), ("classes", c.c_int), ("margins", c.c_double * 128)),
        *(("other", c.c_int), ("exit_lead", c.c_double)),  # of a network
    )


class CPolicy(c.Structure):
    """ResetPolicy of resetting.h."""

    _fields_ = (
        ("kind", c.c_int),
        *((name, c.c_int64) for name in ("every", "silence_us", "tau_us")),
        ("rows", c.c_int),
    )


def reset_numbers(said: dict[str, Any]) -> dict[str, Any]:
    return {"T": said["every"], "K": said["rows"], "silence_us": said["silence_us"], "tau_us": said["tau_us"]}


class Libplif:
    """libplif: its parsers, and sessions that are fed."""

    def read(self, grammar: str, text: str) -> dict[str, Any] | None:
        parse = getattr(native.library(), f"plif_{grammar}_parse")
        out: Any = {"framing": PlifFraming, "decide": CRule, "reset": CPolicy}[grammar]()
        code = parse(text.encode(), c.byref(out))
        assert code in (0, -5)
        said = {name: getattr(out, name) for name, _ in out._fields_}
        if code:
            return None
        if grammar == "framing":
            said["kind"] = text.partition(":")[0].strip()
            return {**said, **{name: choices[said[name]] for name, choices in FRAMING_CHOICES.items()}}
        if grammar == "reset":
            return {"kind": ("never", "every", "silence", "decay")[out.kind], **reset_numbers(said)}
        kind = ("sum", "leak", "kofn", "own", "cusum")[out.kind]
        idle = "auto" if out.idle_auto else None if out.idle_per_s < 0 else out.idle_per_s
        numbers = {name: said[name] for name in ("k", "n", "margin", "release")}
        times = {"tau_us": out.tau_us or None, "other_us": out.other_us or None}
        return {
            "kind": kind,
            **numbers,
            **times,
            "idle": idle,
            "exit": out.exit_margin or None,
            "soft": None if out.soft < 0 else out.soft,
            "drift": out.drift if kind == "cusum" else None,
            "most": out.most,
            "margins": tuple(out.margins[: out.classes]),
        }

    def said(self, session: CSession, feed: Feed) -> Iterator[Any]:
        """After each decision."""
        for packet in feed:
            yield from session.tick(packet) if isinstance(packet, int) else session.feed(packed(packet))
        yield from session.finish()

    def session(self, path: Path, feed: Feed, sensor: tuple[int, int], **options: Any) -> CSession:
        events = [event for event in events_in(feed) if is_valid(event, sensor)]
        extent = (
            {"total_events": len(events), "first_us": events[0].t, "last_us": events[-1].t}
            if events
            else {"total_events": 0}
        )
        size = {"sensor_width": sensor[0], "sensor_height": sensor[1]}
        return CSession(opened(path), **extent, **size, **options)

    def frames(
        self, framing: str, feed: Feed, shape: tuple[int, int, int], sensor: tuple[int, int], upright: str = "identity"
    ) -> tuple[list[SeenFrame], dict[str, int]]:
        session = self.session(artifact(shape, False), feed, sensor, framing=framing, upright=UPRIGHT.index(upright))
        frames, before = [], np.zeros(shape)
        for _ in self.said(session, feed):
            d = session.decision
            if "follow=on" in framing:  # both pictures
                shown = session.seen((2 * shape[0], *shape[1:]))
            else:
                after = self.membranes(session, shape)
                shown, before = after - before, after
            frames.append((d.t_us, d.events, bool(d.discontinuity), cells_of(shown)))
        account = session.account()
        session.free()
        return frames, {"in": account.pop("events_in"), **account, "dropped": 0}

    def membranes(self, session: CSession, shape: tuple[int, int, int]) -> np.ndarray:
        """float64 [C, H, W], of the network that adds up what comes."""
        size, lanes = (c.c_int * 3)(), c.c_int()
        at = library().plif_membranes(session.at, 0, size, c.byref(lanes))
        v = np.ctypeslib.as_array(c.cast(at, c.POINTER(c.c_float)), (math.prod(shape),))
        return v.astype(float).reshape(shape)

    def decisions(self, framing: str, feed: Feed, decide: str, reset: str) -> list[Decision]:
        session = self.session(artifact(VOTING, True), feed, VOTING[:0:-1], framing=framing, decide=decide, reset=reset)
        out = []
        for t_us, _, _, score, votes in self.said(session, feed):
            d = session.decision
            index = None if d.index < 0 else d.index
            why = None if index is not None else "idle" if d.index == IDLE else "not sure"
            soft = None if d.soft < 0 else d.soft
            out.append(
                Decision(t_us, d.events, bool(d.discontinuity), index, why, score, votes, bool(d.is_final), soft)
            )
        session.free()
        return out
