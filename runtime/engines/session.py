"""The state of the streams that run through an opened artifact.

    session = model.session(streams=1)
    y = session.step(x)                    # x [streams, C, H, W] -> y [streams, classes]

A model is shared and has no state; a Session is the thin stateful thing. Streams are the rows of a batch: a stream's
answers do not depend on its neighbours, and `rows` advances some of them only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.engines import Engine
from runtime.engines.buffers import Buffers
from runtime.model.card import Card

Snapshot = list[np.ndarray]  # float32 [streams, ...], one array for each of the card's states

NO_STEP = "x holds no time-step; expected [T, B, C, H, W] with T of at least 1"


@dataclass(frozen=True)
class OpenModel:
    """An artifact that an engine has opened: its card, and what follows from it. It has no state and may be shared.

    counts_rates  whether its sessions count the spikes of each layer
    """

    path: Path
    card: Card
    engine: Engine
    counts_rates: bool = False

    # Each of these is computed once, since a session asks for some of them in every step.

    @cached_property
    def classes(self) -> list[str]:
        return list(self.card["classes"])

    @cached_property
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

    @cached_property
    def T(self) -> int:
        return int(self.card["T"])

    @cached_property
    def unrolled(self) -> bool:
        return bool(self.card["form"] == "unrolled")

    @cached_property
    def static(self) -> bool:
        return bool(self.card["input"]["kind"] == "static")

    @cached_property
    def voters(self) -> int:
        """How many spikes of one step vote for a class: y is a multiple of 1 / voters."""
        return int(self.card["output"].get("voters", 1))

    def session(self, streams: int = 1) -> Session:
        """The state of `streams` streams, reset."""
        return UnrolledSession(self, streams) if self.unrolled else Session(self, streams)


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
        self._steps_a_call = model.T if model.unrolled else 1
        self._all = model.engine.buffers(streams, model.counts_rates)
        self._last: Buffers | None = None  # what ran last
        self._some: dict[int, Buffers] = {}  # for steps of some rows only, by their number
        self.reset()

    def step(self, x: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
        """One time-step: x [streams, C, H, W] -> y float32 [streams, classes], what the module returns for this step.

        rows  which streams advance; x then holds one frame for each of them, and the others keep their state
        """
        which: np.ndarray | slice = slice(None)
        buffers = self._all
        if rows is not None:
            which = self._rows(rows)
            if len(rows) == 0:
                return np.zeros((0, len(self.model.classes)), np.float32)
            buffers = self._take(which, len(rows))
        if x.shape != buffers.x.shape:
            count = buffers.y.shape[-2]
            raise PlifError(
                f"x is {list(x.shape)}; expected {list(buffers.x.shape)}: {count} streams of the card's input"
            )
        buffers.x[...] = x
        buffers.run()
        if rows is not None:
            for v, part in zip(self._all.membranes(), buffers.membranes(), strict=True):
                v[which] = part
        self.steps[which] += self._steps_a_call
        self._last = buffers
        return buffers.y.copy()

    def run(self, x: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
        """Many steps: x [T, B, C, H, W] (a static image [B, C, H, W] for T of the card) -> y [T, B, classes].

        The step form goes step by step; the unrolled form takes chunks of its own T, and chains them.
        """
        if len(x) == 0:
            raise PlifError(NO_STEP)
        if self.model.static and x.ndim == 1 + len(self.model.card["input"]["shape"]):
            return np.stack([self.step(x, rows) for _ in range(self.model.T)])
        return np.stack([self.step(x_t, rows) for x_t in x])

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
        which = self._rows(rows)
        for v, state in zip(self._all.membranes(), self.model.card["states"], strict=True):
            v[which] = state["initial"]
        self.steps[which] = 0

    def fade(self, factor: float, rows: Sequence[int] | None = None) -> None:
        """Membranes move towards their initial value: initial + (v - initial) * factor, for all streams or for some."""
        which = self._rows(rows)
        for v, state in zip(self._all.membranes(), self.model.card["states"], strict=True):
            initial = np.float32(state["initial"])
            v[which] = initial + (v[which] - initial) * np.float32(factor)

    def snapshot(self, row: int | None = None) -> Snapshot:
        """A copy of the membranes: of all streams, or of one ([1, ...] each)."""
        which = self._rows(None if row is None else [row])
        return [v[which].copy() for v in self._all.membranes()]

    def restore(self, snapshot: Snapshot, row: int | None = None) -> None:
        """Puts a snapshot back: of all streams, or of one."""
        which = self._rows(None if row is None else [row])
        now = self._all.membranes()
        if len(snapshot) != len(now) or any(a.shape != v[which].shape for a, v in zip(snapshot, now, strict=True)):
            raise PlifError("the snapshot has other shapes than this session; restore it into one with as many streams")
        for v, saved in zip(now, snapshot, strict=True):
            v[which] = saved

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The membranes by state name, e.g. v.conv1 [streams, C, H, W]; a view, valid until the next step."""
        return {state["name"]: v for state, v in zip(self.model.card["states"], self._all.membranes(), strict=True)}

    def _rows(self, rows: Sequence[int] | None) -> np.ndarray | slice:
        """An index of these rows, int64 [n]; of all where rows is None."""
        if rows is None:
            return slice(None)
        which = np.asarray(rows)
        if which.size and which.dtype.kind not in "iu":
            raise PlifError(f"rows {list(rows)}: expected numbers of streams")
        which = which.astype(np.int64)
        if which.ndim != 1 or (len(which) and (which.min() < 0 or which.max() >= self.streams)):
            raise PlifError(f"rows {list(rows)}: expected numbers from 0 to {self.streams - 1}")
        if len(np.unique(which)) != len(which):
            raise PlifError(f"rows {list(rows)}: a stream is named twice")
        return which

    def _take(self, which: np.ndarray | slice, rows: int) -> Buffers:
        """Buffers of some rows, with the membranes of these rows. They are kept, one for each number of rows."""
        if self.model.card.get("batch") is not None:
            raise PlifError(
                f"{self.model.path}: a fixed batch steps all its streams at once; export without --batch to use rows"
            )
        if rows not in self._some:
            self._some[rows] = self.model.engine.buffers(rows, self.model.counts_rates)
        for part, v in zip(self._some[rows].membranes(), self._all.membranes(), strict=True):
            part[...] = v[which]
        return self._some[rows]


class UnrolledSession(Session):
    """The same for an artifact that was unrolled over T steps: it takes T of them in one call, and no single one."""

    def step(self, x: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
        raise PlifError(
            f"{self.model.path}: an unrolled artifact takes {self.model.T} steps at once; "
            "for single steps use the step form: plif export model.pt --form step"
        )

    def run(self, x: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
        """As Session.run, in chunks of T steps, which are chained: the state goes from one to the next."""
        T = self.model.T
        if self.model.static:
            return super().step(x, rows)
        if len(x) == 0:
            raise PlifError(NO_STEP)
        if len(x) % T:
            raise PlifError(
                f"{self.model.path}: unrolled over T={T}, so it takes a multiple of {T} steps, not {len(x)}; "
                "use the step form for any number: plif export model.pt --form step"
            )
        return np.concatenate([Session.step(self, x[t : t + T], rows) for t in range(0, len(x), T)])
