"""Sessions: an opened artifact together with the state of one or more streams.

    session = model.session(streams=1)
    y = session.step(x)                    # x float32 [streams, C, H, W] -> y float32 [streams, classes]

A model has no state and may be shared; a session holds the membranes. Each stream is one row of the engine's batch. The
answer of a row does not depend on the other rows, and a call may advance some of the rows only.
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


def whole_votes(y: np.ndarray, voters: int) -> np.ndarray:
    """The output of a step as whole spikes: y float32 [..., classes] -> c float64 [..., classes], c = rint(y * voters).

    y is the mean of `voters` spikes a class. 0.1 added ten times is not 1; 1 added ten times is 10, in any order. A network
    without a vote layer (voters 1) has no whole spikes: its outputs are added up as they are.
    """
    wide = y.astype(np.float64)
    return np.rint(wide * voters) if voters > 1 else wide


class Session:
    """The membranes of some streams. A session is for one thread at a time; several sessions can share one engine.

    streams  how many streams, which are the rows of the batch
    steps    int64 [streams], time-steps of each stream since its last reset
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
        """One time-step: x [streams, C, H, W] -> y float32 [streams, classes], or a map
        [streams, ...], what the module returns for this step.

        rows     the streams that advance, all when None; x holds one frame for each of them, the others keep their state
        counted  x holds counts of events as libplif made them: they are finite, and are not looked at
        Raises PlifError, and leaves the membranes as they are, for another shape, and for a number that is not finite.
        """
        # Runs once for each frame of a live stream: for all rows it calls nothing of ours but Buffers.run.
        which: np.ndarray | slice = slice(None)
        buffers = self._all
        if rows is not None:
            which = self._rows(rows)
            if len(rows) == 0:
                return np.zeros((0, len(self.model.classes)), np.float32)
            buffers = self._take(which, len(rows))
        if getattr(x, "shape", None) != buffers.x.shape:
            x = as_array(x)
            if x.shape != buffers.x.shape:
                raise _other_shape(x, buffers.x.shape, buffers)
        buffers.x[...] = x
        if not counted:
            buffers.require_finite()
        buffers.run()
        if rows is not None:
            self._give_back(which, buffers)
        self.steps[which] += self._steps_a_call
        self._last = buffers.rates
        self._last_rows = buffers.y.shape[-2]
        return np.array(buffers.y)

    def run(self, x: np.ndarray, rows: Sequence[int] | None = None, *, counted: bool = False) -> np.ndarray:
        """Many steps: x [T, B, C, H, W] -> y float32 [T, B, classes], B streams.

        A network for still images may be given one image [B, C, H, W], and then runs the T steps of its card. rows and counted:
        as of `step`. Raises PlifError as `step` does, before the first step.
        """
        x = as_array(x)
        if len(x) == 0:
            raise PlifError(NO_STEP)
        if not counted:
            require_finite(x)
        if self.model.static and x.ndim == 1 + len(self.model.card["input"]["shape"]):
            x = np.broadcast_to(x, (self.model.T, *x.shape))
        which: np.ndarray | slice = slice(None)
        buffers = self._all
        if rows is not None:
            which = self._rows(rows)
            if len(rows) == 0:
                return np.zeros((len(x), 0, len(self.model.classes)), np.float32)
            buffers = self._take(which, len(rows))
        if x.shape[1:] != buffers.x.shape:
            raise _other_shape(x, (len(x), *buffers.x.shape), buffers)
        y, self._last = buffers.run_steps(x)
        self._last_rows = y.shape[1]
        if rows is not None:
            self._give_back(which, buffers)
        self.steps[which] += len(x)
        return y

    @property
    def rates(self) -> dict[str, float]:
        """{layer: firing rate (0..1) in the last step}, over neurons and rows; needs load(..., rates=True).

        Of an unrolled artifact in all steps of the last call."""
        return {layer: float(values.mean()) for layer, values in self.last_rates.items()}

    @property
    def last_rates(self) -> dict[str, np.ndarray]:
        """The same for each row of the last step: float32 [rows], of an unrolled artifact [T * rows]."""
        if self.model.unrolled:
            return self.call_rates
        return {layer: values[-self._last_rows :] for layer, values in self.call_rates.items()}

    @property
    def call_rates(self) -> dict[str, np.ndarray]:
        """The same for each row of each step of the last call, of `run` or `step`: float32 [T * rows]."""
        if self._last is None:
            raise PlifError("no firing rates before the first step")
        return {layer: values.copy() for layer, values in self._last.items()}

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Sets the membranes to their initial values, for all streams or for some."""
        which = self._rows(rows)
        for v, state in zip(self._all.membranes(), self.model.card["states"], strict=True):
            v[which] = state["initial"]
        self.steps[which] = 0

    def fade(self, factor: float, rows: Sequence[int] | None = None) -> None:
        """Moves the membranes towards their initial values: v = initial + (v - initial) * factor, for all or for some."""
        which = self._rows(rows)
        for v, state in zip(self._all.membranes(), self.model.card["states"], strict=True):
            initial = np.float32(state["initial"])
            v[which] = initial + (v[which] - initial) * np.float32(factor)

    def snapshot(self, row: int | None = None) -> Snapshot:
        """A copy of the membranes, float32 [streams, ...] for each state; of one stream [1, ...]."""
        which = self._rows(None if row is None else [row])
        return [v[which].copy() for v in self._all.membranes()]

    def restore(self, snapshot: Snapshot, row: int | None = None) -> None:
        """Sets the membranes to those of a snapshot: of all streams, or of one.

        Raises PlifError, and leaves the session as it is, where the snapshot does not fit.
        """
        which = self._rows(None if row is None else [row])
        now = self._all.membranes()
        if len(snapshot) != len(now) or any(a.shape != v[which].shape for a, v in zip(snapshot, now, strict=True)):
            raise PlifError("the snapshot has other shapes than this session; restore it into one with as many streams")
        for v, saved in zip(now, snapshot, strict=True):
            v[which] = saved

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The membranes by the state's name, e.g. v.conv1: float32 [streams, C, H, W]. Views, valid until the next step."""
        return {state["name"]: v for state, v in zip(self.model.card["states"], self._all.membranes(), strict=True)}

    def _rows(self, rows: Sequence[int] | None) -> np.ndarray | slice:
        """These rows as an index, int64 [n]; all rows where `rows` is None."""
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
        """Buffers for so many rows, with the membranes of the rows `which`. They are kept for the next call."""
        if self.model.card.get("batch") is not None:
            raise PlifError(
                f"{self.model.path}: a fixed batch steps all its streams at once; export without --batch to use rows"
            )
        if rows not in self._some:
            self._some[rows] = self.model.engine.buffers(rows, self.model.counts_rates)
        for part, v in zip(self._some[rows].membranes(), self._all.membranes(), strict=True):
            part[...] = v[which]
        return self._some[rows]

    def _give_back(self, which: np.ndarray | slice, buffers: Buffers) -> None:
        """Ends a call of some rows only."""
        for v, part in zip(self._all.membranes(), buffers.membranes(), strict=True):
            v[which] = part


def as_array(x: object) -> np.ndarray:
    """What was given for x as an array [...], of nested lists too. PlifError for what holds other than numbers."""
    try:
        array = np.asarray(x)
    except ValueError:  # rows of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise PlifError(
            f"x is a {type(x).__name__} that makes no array of numbers; expected float32 [streams, C, H, W]"
        )
    return array


def _other_shape(x: np.ndarray, expected: tuple[int, ...], buffers: Buffers) -> PlifError:
    count = buffers.y.shape[-2]
    return PlifError(f"x is {list(x.shape)}; expected {list(expected)}: {count} streams of the card's input")
