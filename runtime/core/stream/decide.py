"""What is decided after a step, and by which rules: when state begins anew, how evidence adds up, when there is an answer.

The rules are libplif's (resetting.h, decide.c, idle.h); docs/live-rules.md says them, tests/specification in plain Python.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.engines.session import Session
from runtime.core.events.frame import Frame
from runtime.core.events.lines import DecisionLine
from runtime.native.interface import NativeSession, PlifDecision, PlifNetwork, error
from runtime.native.rules import names_of

NOT_SURE = "not sure"  # why there is no label where the evidence is not enough


@dataclass(frozen=True)
class Decision:
    """What the network says after one step.

    t_us        end of the frame, in the time of the recording
    step        number of the step, from 0
    label       the class, or None: nothing happens, or the evidence is not enough. The firm answer
    soft        the class that leads at once, by half of what `label` needs (soft=; of cusum by anything), or None: sooner, and
                more often wrong
    index       its number, or None
    score       the winner's share of all possible spikes, voters x steps, in the steps that the rule looks at; of cusum its sum
    votes       spikes of each class since the reset (sums of y where the network does not vote)
    latency_ms  from the complete frame to this decision
    source      the name of its source
    why         "idle" or NOT_SURE where label is None, else None
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

    def to_dict(self, source: bool = False) -> DecisionLine:
        """One line of --json; `source` where there are several."""
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
        return {"source": self.source, **line} if source else line


class Rules(NativeSession):
    """The rules of one stream: `before` each step of the network, and `after` it.

    classes   their names, of a network with so many voters a class and steps T of a sample
    decide, reset, framing  texts of --decide, --reset and --framing; of the framing only whether it can show silence counts
    rows      of the network that the stream has: K of every:T/K, else 1
    keep      float64 [rows], after `before`: by what the membranes of each row are multiplied first, around their initial values:
              1 leaves them as they are, 0 begins afresh
    Raises PlifError for texts that are no rules, and where the native library is missing.
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
        network = PlifNetwork(c.sizeof(PlifNetwork), len(classes), voters, T, names_of(classes))
        super().__init__(network, framing=framing, decide=decide, reset=reset)
        self.rows = int(self._library.plif_rows(self._at))
        self._keep = (c.c_double * self.rows)()
        self.keep = np.ctypeslib.as_array(self._keep)
        self._found = PlifDecision()
        self._of_found = c.byref(self._found)

    def before(self, start_us: int, end_us: int, events: int, flags: int = 0) -> bool:
        """A frame of so many events is to be stepped; fills in `keep`. Whether time is missing before it.

        flags  GAP: time or events are missing before it; AFRESH: all rows begin afresh; LOST: nothing is known of the scene
        """
        found = self._library.plif_before(self._at, start_us, end_us, events, flags, self._keep)
        if found < 0:
            raise error()
        return bool(found)

    def begin(self, frame: Frame, flags: int, session: Session, rows: Sequence[int]) -> int:
        """`before` a frame, and what it says is done to these rows of a session: how many begin afresh. Marks the frame."""
        frame.discontinuity = self.before(frame.t_start_us, frame.t_end_us, frame.events, flags)
        afresh = 0
        for row, factor in zip(rows, self.keep, strict=True):
            if factor == 0:
                session.reset([row])
                afresh += 1
            elif factor != 1:
                session.fade(float(factor), [row])
        return afresh

    def after(self, y: np.ndarray) -> PlifDecision:
        """y float32 [rows, classes] of that step -> what libplif says, whose numbers stay until the next call."""
        if y.shape != (self.rows, len(self.classes)):
            raise PlifError(f"y of shape {list(y.shape)}; expected [{self.rows}, {len(self.classes)}]")
        whole = np.ascontiguousarray(y, np.float32)
        if self._library.plif_after(self._at, whole.ctypes.data, self._of_found) < 0:
            raise error()
        return self._found

    def say(self, frames: np.ndarray, y: np.ndarray) -> np.ndarray:
        """`before` and `after` of steps that are stored: int64 [steps, 2], index and soft of each decision.

        frames int64 [steps, 4]: start and end in us, events, flags.  y float32 [steps, rows, classes]
        """
        if y.shape[1:] != (self.rows, len(self.classes)) or frames.shape != (len(y), 4):
            raise PlifError(f"y of shape {list(y.shape)}; expected [{len(frames)}, {self.rows}, {len(self.classes)}]")
        whole, times = np.ascontiguousarray(y, np.float32), np.ascontiguousarray(frames, np.int64)
        found = np.empty((len(y), 2), np.int64)
        if self._library.plif_say(self._at, len(y), times.ctypes.data, whole.ctypes.data, found.ctypes.data) < 0:
            raise error()
        return found
