"""Sessions: an opened artifact together with the state of one or more streams.

    session = model.session(streams=1)
    y = session.step(x)                    # x float32 [streams, C, H, W] -> y float32 [streams, classes]

A model has no state and may be shared; a session holds the membranes. Each stream is one row of the engine's batch.
The answer of a row does not depend on the other rows, and a call may advance some of the rows only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.engines.buffers import Buffers
from runtime.core.engines.model import OpenModel
from runtime.core.engines.tensors import require_finite

Snapshot = list[np.ndarray]  # float32 [streams, ...], one array for each of the card's states

NO_STEP = "x holds no time-step; expected [T, B, C, H, W] with T of at least 1"


def to_spike_counts(y: np.ndarray, voters: int) -> np.ndarray:
    """Convert the output of a step, y float32 [..., classes], to spike counts c float64 [..., classes].

    c = rint(y * voters), since y is the mean of `voters` spikes a class. 0.1 added ten times is not 1; 1 added ten
    times is 10, in any order. A network without a vote layer (voters 1) has no spike counts: its outputs are added up
    as they are.
    """
    wide = y.astype(np.float64)
    return np.rint(wide * voters) if voters > 1 else wide


class Session:
    """A session of a model: the membranes of one or more streams of input, which are stepped together.

    A session is for one thread at a time; several sessions can share one engine.

    streams  the number of streams, which are the rows of the batch
    steps    int64 [streams], time steps of each stream since its last reset
    """

    def __init__(self, model: OpenModel, streams: int = 1) -> None:
        batch = model.card.get("batch")
        if streams < 1:
            raise PlifError(f"streams {streams}: expected at least 1")
        if batch is not None and streams != batch:
            raise PlifError(f"{model.path}: exported for exactly {batch} streams (--batch {batch}), not {streams}")
        self.model = model
        self.streams = streams
        self.steps = np.zeros(streams, np.int64)
        self._steps_a_call = model.T if model.unrolled else 1
        self._all = model.engine.buffers(streams, model.counts_rates)
        self._last: Mapping[str, np.ndarray] | None = None  # the rates of the last call
        self._last_rows = streams
        self._some: dict[int, Buffers] = {}  # for calls of some rows only, by the number of these rows
        self.reset()

    def __repr__(self) -> str:
        steps = f"{self.steps.min()} to {self.steps.max()}"
        return f"<{type(self).__name__}: {self.streams} streams after {steps} steps of {self.model!r}>"

    def step(self, x: np.ndarray, rows: Sequence[int] | None = None, *, counted: bool = False) -> np.ndarray:
        """Run one time step of a session: x [streams, C, H, W] -> y [streams, classes] or a map [streams, ...].

        y is the module's output for this step.

        rows     the streams that advance, all when None; x holds one frame for each of them, the others keep their
                 state
        counted  x holds event counts from libplif: they are finite, and are not checked
        Raise PlifError, and leave the membranes unchanged, for another shape, and for a number that is not finite.
        """
        # Runs once for each frame of a live stream: for all rows it calls no Python of plif but Buffers.run.
        index: np.ndarray | slice = slice(None)
        buffers = self._all
        if rows is not None:
            index = self._rows(rows)
            if len(rows) == 0:
                return np.zeros((0, len(self.model.classes)), np.float32)
            buffers = self._load_rows(index, len(rows))
        if getattr(x, "shape", None) != buffers.x.shape:
            x = to_array(x)
            if x.shape != buffers.x.shape:
                raise _shape_error(x, buffers.x.shape, buffers)
        buffers.x[...] = x
        if not counted:
            buffers.require_finite()
        buffers.run()
        if rows is not None:
            self._store_rows(index, buffers)
        self.steps[index] += self._steps_a_call
        self._last = buffers.rates
        self._last_rows = buffers.y.shape[-2]
        return np.array(buffers.y)

    def run(self, x: np.ndarray, rows: Sequence[int] | None = None, *, counted: bool = False) -> np.ndarray:
        """Run many steps of a session: x [T, B, C, H, W] -> y float32 [T, B, classes], B streams.

        A network for still images also accepts one image [B, C, H, W], and then runs the T steps of its card. rows
        and counted: see `step`. Raise PlifError as `step` does, before the first step.
        """
        x = to_array(x)
        if len(x) == 0:
            raise PlifError(NO_STEP)
        if not counted:
            require_finite(x)
        if self.model.static and x.ndim == 1 + len(self.model.card["input"]["shape"]):
            x = np.broadcast_to(x, (self.model.T, *x.shape))
        index: np.ndarray | slice = slice(None)
        buffers = self._all
        if rows is not None:
            index = self._rows(rows)
            if len(rows) == 0:
                return np.zeros((len(x), 0, len(self.model.classes)), np.float32)
            buffers = self._load_rows(index, len(rows))
        if x.shape[1:] != buffers.x.shape:
            raise _shape_error(x, (len(x), *buffers.x.shape), buffers)
        y, self._last = buffers.run_steps(x)
        self._last_rows = y.shape[1]
        if rows is not None:
            self._store_rows(index, buffers)
        self.steps[index] += len(x)
        return y

    @property
    def rates(self) -> dict[str, float]:
        """The firing rate {layer: 0..1} of a session's last step, over neurons and rows; needs load(..., rates=True).

        For an unrolled artifact it covers all steps of the last call.
        """
        return {layer: float(values.mean()) for layer, values in self.last_rates.items()}

    @property
    def last_rates(self) -> dict[str, np.ndarray]:
        """The firing rates of each layer for each row of a session's last step: float32 [rows].

        For an unrolled artifact they are [T * rows].
        """
        if self.model.unrolled:
            return self.call_rates
        return {layer: values[-self._last_rows :] for layer, values in self.call_rates.items()}

    @property
    def call_rates(self) -> dict[str, np.ndarray]:
        """The firing rates of each layer for each row and step of a session's last `run` or `step`: float32 [T * rows]."""
        if self._last is None:
            raise PlifError("no firing rates before the first step")
        return {layer: values.copy() for layer, values in self._last.items()}

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Reset a session's membranes to their initial values, for all streams or for some."""
        index = self._rows(rows)
        for v, state in zip(self._all.membranes(), self.model.card["states"], strict=True):
            v[index] = state["initial"]
        self.steps[index] = 0

    def fade(self, factor: float, rows: Sequence[int] | None = None) -> None:
        """Decay a session's membranes towards their initial values: v = initial + (v - initial) * factor.

        `rows` are the streams, all when None.
        """
        index = self._rows(rows)
        for v, state in zip(self._all.membranes(), self.model.card["states"], strict=True):
            initial = np.float32(state["initial"])
            v[index] = initial + (v[index] - initial) * np.float32(factor)

    def snapshot(self, row: int | None = None) -> Snapshot:
        """Copy a session's membranes, float32 [streams, ...] for each state; of one stream [1, ...]."""
        index = self._rows(None if row is None else [row])
        return [v[index].copy() for v in self._all.membranes()]

    def restore(self, snapshot: Snapshot, row: int | None = None) -> None:
        """Restore a session's membranes from a snapshot, of all streams or of one.

        Raise PlifError, and leave the session unchanged, where the snapshot does not fit.
        """
        index = self._rows(None if row is None else [row])
        membranes = self._all.membranes()
        if len(snapshot) != len(membranes) or any(
            a.shape != v[index].shape for a, v in zip(snapshot, membranes, strict=True)
        ):
            raise PlifError("the snapshot has other shapes than this session; restore it into one with as many streams")
        for v, saved in zip(membranes, snapshot, strict=True):
            v[index] = saved

    @property
    def state(self) -> dict[str, np.ndarray]:
        """A session's membranes by state name, e.g. v.conv1: float32 [streams, C, H, W].

        They are views, valid until the next step.
        """
        return {state["name"]: v for state, v in zip(self.model.card["states"], self._all.membranes(), strict=True)}

    def _rows(self, rows: Sequence[int] | None) -> np.ndarray | slice:
        """Convert stream numbers to an index of a session's rows, int64 [n]; all rows where `rows` is None."""
        if rows is None:
            return slice(None)
        index = np.asarray(rows)
        if index.size and index.dtype.kind not in "iu":
            raise PlifError(f"rows {list(rows)}: expected numbers of streams")
        index = index.astype(np.int64)
        if index.ndim != 1 or (len(index) and (index.min() < 0 or index.max() >= self.streams)):
            raise PlifError(f"rows {list(rows)}: expected numbers from 0 to {self.streams - 1}")
        if len(np.unique(index)) != len(index):
            raise PlifError(f"rows {list(rows)}: a stream is named twice")
        return index

    def _load_rows(self, index: np.ndarray | slice, rows: int) -> Buffers:
        """Return buffers of as many rows as `index` has, filled with the membranes of these rows of the session.

        They are reused by the next call.
        """
        if self.model.card.get("batch") is not None:
            raise PlifError(
                f"{self.model.path}: a fixed batch steps all its streams at once; export without --batch to use rows"
            )
        if rows not in self._some:
            self._some[rows] = self.model.engine.buffers(rows, self.model.counts_rates)
        for part, v in zip(self._some[rows].membranes(), self._all.membranes(), strict=True):
            part[...] = v[index]
        return self._some[rows]

    def _store_rows(self, index: np.ndarray | slice, buffers: Buffers) -> None:
        """Copy the membranes after a call of some rows back to the buffers of all rows of the session."""
        for v, part in zip(self._all.membranes(), buffers.membranes(), strict=True):
            v[index] = part


def to_array(x: object) -> np.ndarray:
    """Convert an input x, nested lists too, to an array [...]; refuse other contents than numbers."""
    try:
        array = np.asarray(x)
    except ValueError:  # rows of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise PlifError(
            f"x is a {type(x).__name__} that makes no array of numbers; expected float32 [streams, C, H, W]"
        )
    return array


def _shape_error(x: np.ndarray, expected: tuple[int, ...], buffers: Buffers) -> PlifError:
    count = buffers.y.shape[-2]
    return PlifError(f"x is {list(x.shape)}; expected {list(expected)}: {count} streams of the card's input")
