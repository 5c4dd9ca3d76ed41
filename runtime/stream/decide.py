"""What is decided after a step. The rules of `--decide` are libplif's (evidence.c, idle.c); docs/live.md says them for users,
tests/specification in plain Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

NOT_SURE = "not sure"  # why there is no label where the evidence is not enough


@dataclass(frozen=True)
class Decision:
    """What the network says after one step.

    t_us        end of the frame, in the time of the recording
    step        number of the step, from 0
    label       the class, or None: nothing happens, or the evidence is not enough
    index       its number, or None
    score       the winner's share of all possible spikes, voters x steps, in the steps that the rule looks at
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

    def to_dict(self, source: bool = False) -> dict[str, Any]:
        """One line of --json; `source` where there are several."""
        line = {
            "t_us": self.t_us,
            "step": self.step,
            "label": self.label,
            "index": self.index,
            "score": round(self.score, 6),
            "votes": self.votes,
            "latency_ms": round(self.latency_ms, 4),
        }
        if self.why is not None:
            line["why"] = self.why
        return {"source": self.source, **line} if source else line


def answer_of(evidence: np.ndarray, possible: float, margin: float = 0.0) -> int | None:
    """The class with the most evidence, the first of equals; None where there is none for any class, or where it does not lead
    the second by the share `margin` of what is possible. evidence  float64 [classes]"""
    winner = int(evidence.argmax()) if evidence.any() else None  # argmax gives the first of equals
    return None if winner is None or (margin and lead_of(evidence, winner, possible) < margin) else winner


def lead_of(evidence: np.ndarray, one: int, possible: float) -> float:
    """The lead of class `one` over the best other class, as a share of what is possible; negative where another leads."""
    others = np.delete(evidence, one)
    return float(evidence[one] - (others.max() if len(others) else 0.0)) / possible
