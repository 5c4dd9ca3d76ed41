"""The state of the streams that run through an opened artifact.

    session = model.session(streams=1)
    y = session.step(x)                    # x [streams, C, H, W] -> y [streams, classes]

A model is shared and has no state; a Session is the thin stateful thing. Streams are the rows of a batch: a stream's
answers do not depend on its neighbours, and `rows` advances some of them only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.engines import Engine, Resident
from runtime.model.card import Card

Snapshot = list[np.ndarray]


@dataclass(frozen=True)
class OpenModel:
    """An artifact that an engine has opened: its card, and what follows from it. It has no state and may be shared."""

    path: Path
    card: Card
    engine: Engine
    counts_rates: bool = False

    @property
    def classes(self) -> list[str]:
        return list(self.card["classes"])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W). Raises PlifError for a network that does not take images or frames of events."""
        shape = self.card["input"]["shape"]
        if len(shape) != 3:
            raise PlifError(
                f"{self.path}: takes inputs of shape {shape}, not frames [channels, height, width]; step it from Python: "
                "runtime.load(...).session().step(x)"
            )
        c, h, w = shape
        return c, h, w

    @property
    def T(self) -> int:
        return int(self.card["T"])

    @property
    def unrolled(self) -> bool:
        return bool(self.card["form"] == "unrolled")

    @property
    def static(self) -> bool:
        return bool(self.card["input"]["kind"] == "static")

    @property
    def voters(self) -> int:
        """How many spikes of one step vote for a class: y is a multiple of 1 / voters."""
        return int(self.card["output"].get("voters", 1))

    def session(self, streams: int = 1) -> Session:
        return Session(self, streams)


@dataclass
class _Bound:
    """Buffers for one number of rows, bound both ways: v[phase] is read, v[1 - phase] is written."""

    x: np.ndarray
    y: np.ndarray
    v: tuple[list[np.ndarray], list[np.ndarray]]
    rates: dict[str, np.ndarray]
    run: tuple[Callable[[], None], Callable[[], None]]
    phase: int = 0

    @property
    def now(self) -> list[np.ndarray]:
        """The membranes, to read or to change."""
        return self.v[self.phase]

    def advance(self) -> None:
        self.run[self.phase]()
        self.phase = 1 - self.phase


@dataclass
class _Inside:
    """Buffers for one number of rows of an engine that keeps the membranes itself; v is a copy, made when looked at."""

    x: np.ndarray
    y: np.ndarray
    v: list[np.ndarray]
    rates: dict[str, np.ndarray]
    engine: Resident
    copied: bool = True  # v holds the membranes, and may have been changed

    @property
    def now(self) -> list[np.ndarray]:
        if not self.copied:
            self.engine.pull()
            self.copied = True
        return self.v

    def advance(self) -> None:
        if self.copied:
            self.engine.push()
            self.copied = False
        self.engine.run()


class Session:
    """The membranes of some streams. Not for two threads at once; make a session for each (they share the engine)."""

    def __init__(self, model: OpenModel, streams: int = 1) -> None:
        batch = model.card.get("batch")
        if streams < 1:
            raise PlifError(f"streams {streams}: expected at least 1")
        if batch is not None and streams != batch:
            raise PlifError(f"{model.path}: exported for exactly {batch} streams (--batch {batch}), not {streams}")
        self.model = model
        self.streams = streams
        self.steps = np.zeros(streams, np.int64)  # since the last reset, per stream
        self._main = self._bind(streams)
        self._last: _Bound | _Inside | None = None  # what ran last
        self._parts: dict[int, _Bound | _Inside] = {}  # buffers for steps of some rows only, by their number
        self.reset()

    def step(self, x: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
        """One time-step: x [streams, C, H, W] -> y float32 [streams, classes], what the module returns for this step.

        rows  which streams advance; x then holds one frame for each of them, and the others keep their state
        """
        if self.model.unrolled:
            raise PlifError(
                f"{self.model.path}: an unrolled artifact takes {self.model.T} steps at once; "
                "for single steps use the step form: plif export model.pt --form step"
            )
        return self._advance(x, rows)

    def run(self, x: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
        """Many steps: x [T, B, C, H, W] (a static image [B, C, H, W] for T of the card) -> y [T, B, classes].

        The step form goes step by step; the unrolled form takes chunks of its own T, and chains them.
        """
        T, image_dims = self.model.T, 1 + len(self.model.card["input"]["shape"])
        if self.model.unrolled and self.model.static:
            return self._advance(x, rows)
        if len(x) == 0:
            raise PlifError("x holds no time-step; expected [T, B, C, H, W] with T of at least 1")
        if self.model.static and x.ndim == image_dims:
            return np.stack([self.step(x, rows) for _ in range(T)])
        if not self.model.unrolled:
            return np.stack([self.step(x_t, rows) for x_t in x])
        if len(x) % T:
            raise PlifError(
                f"{self.model.path}: unrolled over T={T}, so it takes a multiple of {T} steps, not {len(x)}; "
                "use the step form for any number: plif export model.pt --form step"
            )
        return np.concatenate([self._advance(x[t : t + T], rows) for t in range(0, len(x), T)])

    def _advance(self, x: np.ndarray, rows: Sequence[int] | None) -> np.ndarray:
        which = np.arange(self.streams) if rows is None else self._rows(rows)
        if len(which) == 0:
            return np.zeros((0, len(self.model.classes)), np.float32)
        bound = self._main if rows is None else self._part(len(which))
        if x.shape != bound.x.shape:
            raise PlifError(
                f"x is {list(x.shape)}; expected {list(bound.x.shape)}: {len(which)} streams of the card's input"
            )
        if rows is not None:
            for part, whole in zip(bound.now, self._main.now, strict=True):
                np.take(whole, which, axis=0, out=part)
        bound.x[...] = x
        bound.advance()
        if rows is not None:
            for part, whole in zip(bound.now, self._main.now, strict=True):
                whole[which] = part
        self.steps[which] += self.model.T if self.model.unrolled else 1
        self._last = bound
        return bound.y.copy()

    @property
    def rates(self) -> dict[str, float]:
        """Firing rate of each layer in the last call, over its neurons and rows (0..1); needs load(..., rates=True)."""
        return {layer: float(values.mean()) for layer, values in self.last_rates.items()}

    @property
    def last_rates(self) -> dict[str, np.ndarray]:
        """Like `rates`, but one number for each row of the last call."""
        if self._last is None:
            raise PlifError("no firing rates before the first step")
        return {layer: values.copy() for layer, values in self._last.rates.items()}

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Membranes back to their initial value, for all streams or for some."""
        which = slice(None) if rows is None else self._rows(rows)
        for v, state in zip(self._main.now, self.model.card["states"], strict=True):
            v[which] = state["initial"]
        self.steps[which] = 0

    def fade(self, factor: float, rows: Sequence[int] | None = None) -> None:
        """Membranes move towards their initial value: initial + (v - initial) * factor, for all streams or for some."""
        which = slice(None) if rows is None else self._rows(rows)
        for v, state in zip(self._main.now, self.model.card["states"], strict=True):
            initial = np.float32(state["initial"])
            v[which] = initial + (v[which] - initial) * np.float32(factor)

    def snapshot(self, row: int | None = None) -> Snapshot:
        """A copy of the membranes: of all streams, or of one ([1, ...] each)."""
        which = slice(None) if row is None else self._rows([row])
        return [v[which].copy() for v in self._main.now]

    def restore(self, snapshot: Snapshot, row: int | None = None) -> None:
        """Puts a snapshot back: of all streams, or of one."""
        which = slice(None) if row is None else self._rows([row])
        now = self._main.now
        if len(snapshot) != len(now) or any(a.shape != v[which].shape for a, v in zip(snapshot, now, strict=True)):
            raise PlifError("the snapshot has other shapes than this session; restore it into one with as many streams")
        for v, saved in zip(now, snapshot, strict=True):
            v[which] = saved

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The membranes by state name, e.g. v.conv1 [streams, C, H, W]; a view, valid until the next step."""
        return {state["name"]: v for state, v in zip(self.model.card["states"], self._main.now, strict=True)}

    def _rows(self, rows: Sequence[int]) -> np.ndarray:
        which = np.asarray(rows)
        if which.size and which.dtype.kind not in "iu":
            raise PlifError(f"rows {list(rows)}: expected numbers of streams")
        which = which.astype(np.int64)
        if which.ndim != 1 or (len(which) and (which.min() < 0 or which.max() >= self.streams)):
            raise PlifError(f"rows {list(rows)}: expected numbers from 0 to {self.streams - 1}")
        if len(np.unique(which)) != len(which):
            raise PlifError(f"rows {list(rows)}: a stream is named twice")
        return which

    def _part(self, rows: int) -> _Bound | _Inside:
        if self.model.card.get("batch") is not None:
            raise PlifError(
                f"{self.model.path}: a fixed batch steps all its streams at once; export without --batch to use rows"
            )
        if rows not in self._parts:
            self._parts[rows] = self._bind(rows)
        return self._parts[rows]

    def _bind(self, rows: int) -> _Bound | _Inside:
        card = self.model.card
        steps = (self.model.T,) if self.model.unrolled else ()
        x_steps = () if self.model.static else steps
        x = np.zeros((*x_steps, rows, *card["input"]["shape"]), np.float32)
        y = np.zeros((*steps, rows, len(card["classes"])), np.float32)
        own = getattr(self.model.engine, "membranes", None)  # an engine may lay out membranes as it likes to read them
        v = (
            own(rows)
            if own is not None
            else tuple([np.zeros((rows, *state["shape"]), np.float32) for state in card["states"]] for _ in range(2))
        )
        fired = rows * (steps[0] if steps else 1)
        rates = {s["layer"]: np.zeros(fired, np.float32) for s in card["states"]} if self.model.counts_rates else {}
        if getattr(self.model.engine, "resident", None) is not None:
            return _Inside(x, y, v[0], rates, self.model.engine.resident(x, y, v[0], rates))  # type: ignore[attr-defined]
        bind = self.model.engine.bind
        run = (bind(x, v[0], y, v[1], rates), bind(x, v[1], y, v[0], rates))
        return _Bound(x, y, (v[0], v[1]), rates, run)
