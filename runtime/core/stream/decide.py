"""The decision after a step: resets of the state, sums of the evidence, and the answer.

The rules are libplif's (resetting.h, decide.c, idle.h); docs/live-rules.md describes them, tests/specification has
them in plain Python.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.engines.session import Session
from runtime.core.events.frame import Frame
from runtime.core.events.lines import DecisionLine, FollowedView
from runtime.native.interface import NativeSession, PlifDecision, PlifNetwork, last_error
from runtime.native.rules import encode_names

NOT_SURE = "not sure"  # the reason for no label: the evidence is not enough


@dataclass(frozen=True)
class Decision:
    """The decision of a network after one step: its class, score, votes and latency.

    t_us        end of the frame, in the time of the recording
    step        number of the step, from 0
    label       the class, or None: nothing happens, or the evidence is not enough. The firm answer
    soft        the leading class by half of the lead that `label` needs (soft=; of cusum by any lead), or None:
      sooner, and
                more often wrong
    index       number of the class, or None
    score       the winner's fraction of all possible spikes, voters x steps, in the steps of the rule; of cusum lately
    votes       spikes of each class since the reset (sums of y where the network does not vote)
    latency_ms  from the complete frame to this decision
    source      the name of its source
    why         "idle" or NOT_SURE where label is None, else None
    view        with follow=on: the view that follows, the votes of both rows in this step, and whose answer it is
    """

    t_us: int
    step: int
    label: str | None
    index: int | None
    score: float
    votes: list[float]
    latency_ms: float
    source: str = ""
    why: str | None = None
    soft: str | None = None
    view: FollowedView | None = None

    def to_dict(self, source: bool = False) -> DecisionLine:
        """Return a decision as one line of --json; with the name of the source if `source` is true."""
        line: DecisionLine = {
            "t_us": self.t_us,
            "step": self.step,
            "label": self.label,
            "soft": self.soft,
            "index": self.index,
            "score": round(self.score, 6),
            "votes": self.votes,
            "latency_ms": round(self.latency_ms, 4),
        }
        if self.why is not None:
            line["why"] = self.why
        if self.view is not None:
            line["view"] = self.view
        return {"source": self.source, **line} if source else line


class Rules(NativeSession):
    """The decision and reset rules of one stream, run by libplif.

    classes   the class names of a network with so many voters a class and steps T of a sample
    decide, reset, framing  texts of --decide, --reset and --framing; only the framing's ability to show silence matters
    rows      the network rows of the stream: K of every:T/K, 2 of a framing with follow=on, else 1
    decay     float64 [rows], set by `before_step`: the factor that each row's membranes are multiplied by, around their
              initial values: 1 leaves them as they are, 0 resets them
    Raise PlifError for texts that are no rules, and where the native library is missing.
    """

    def __init__(
        self,
        classes: Sequence[str],
        voters: int,
        T: int,
        decide: str = "sum",
        reset: str = "never",
        framing: str | None = None,
    ) -> None:
        self.classes, self.voters = list(classes), voters
        network = PlifNetwork(c.sizeof(PlifNetwork), len(classes), voters, T, encode_names(classes))
        super().__init__(network, framing=framing, decide=decide, reset=reset)
        self.rows = int(self._library.plif_rows(self._handle))
        self._decay = (c.c_double * self.rows)()
        self.decay = np.ctypeslib.as_array(self._decay)
        self._decision = PlifDecision()
        self._decision_ref = c.byref(self._decision)

    def before_step(self, start_us: int, end_us: int, events: int, flags: int = 0) -> bool:
        """Apply a stream's reset rule before a frame: set `decay`, the factor for each row's membranes.

        Return whether time is missing before the frame.

        flags  GAP: time or events are missing before it; AFRESH: all rows start afresh; LOST: nothing is known of the
               scene
        """
        gap = self._library.plif_before(self._handle, start_us, end_us, events, flags, self._decay)
        if gap < 0:
            raise last_error()
        return bool(gap)

    def apply_resets(self, frame: Frame, flags: int, session: Session, rows: Sequence[int]) -> int:
        """Apply a stream's reset rule before a frame to some rows of a session; return how many rows it reset.

        The frame is marked where time is missing before it.
        """
        frame.discontinuity = self.before_step(frame.t_start_us, frame.t_end_us, frame.events, flags)
        afresh = 0
        for row, factor in zip(rows, self.decay, strict=True):
            if factor == 0:
                session.reset([row])
                afresh += 1
            elif factor != 1:
                session.fade(float(factor), [row])
        return afresh

    def after_step(self, y: np.ndarray) -> PlifDecision:
        """Apply a stream's decision rule to the network's output y float32 [rows, classes]; return the decision.

        The decision's numbers are valid until the next call.
        """
        if y.shape != (self.rows, len(self.classes)):
            raise PlifError(f"y of shape {list(y.shape)}; expected [{self.rows}, {len(self.classes)}]")
        contiguous = np.ascontiguousarray(y, np.float32)
        if self._library.plif_after(self._handle, contiguous.ctypes.data, self._decision_ref) < 0:
            raise last_error()
        return self._decision

    def decide_stored(self, frames: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Run decision rules over stored steps; return the class (firm) and an early guess (soft), int64 [steps, 2].

        frames int64 [steps, 4]: start and end in us, events, flags.  y float32 [steps, rows, classes]
        """
        if y.shape[1:] != (self.rows, len(self.classes)) or frames.shape != (len(y), 4):
            raise PlifError(f"y of shape {list(y.shape)}; expected [{len(frames)}, {self.rows}, {len(self.classes)}]")
        contiguous, times = np.ascontiguousarray(y, np.float32), np.ascontiguousarray(frames, np.int64)
        decisions = np.empty((len(y), 2), np.int64)
        if (
            self._library.plif_say(
                self._handle, len(y), times.ctypes.data, contiguous.ctypes.data, decisions.ctypes.data
            )
            < 0
        ):
            raise last_error()
        return decisions
