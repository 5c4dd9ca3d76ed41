"""What is decided after a step. The rules of `--decide` are libplif's (evidence.c, idle.c); docs/live.md says them for users,
tests/specification in plain Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
