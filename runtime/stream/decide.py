"""From the output of each step to a decision: how evidence adds up, and when it is enough.

    y       what the network gave in this step, float32 [classes]; a multiple of 1/voters where it votes
    c       whole spikes of this step, c = rint(y * voters)    (runtime.engines.session.whole_votes)

    sum     E = E + c                   W = W + 1                   what evaluation does
    leak    E = E exp(-dt/tau) + c      W = W exp(-dt/tau) + 1      old evidence fades (leak:500ms says tau)
    kofn    the class that won k of the last n steps                (kofn:3/5)
    own     as leak, and an answer stands on its own evidence       (own:80ms; runtime.stream.hold)

Integers, not float averages: 0.1 added ten times is not 1, and an answer must not depend on the order of a sum. Ties go to
the lowest class. Without a single spike the answer is None ("not sure"), here and in evaluation (`answer_of`).

What may follow, after commas:

    margin=M    the winner must lead the second by a share M of all possible spikes (voters W); with kofn this is asked of each
                step: without this lead no class wins the step
    release=R   an answer stays until its lead falls below R (kofn: until it has fewer than R of the last n steps): hysteresis.
                Without it sum and leak judge each step anew, and kofn keeps its answer until another class has k. With own it
                is the answer's own share of all possible spikes, below which it ends
    other=TIME  own: "other" becomes the answer when it has led by the margin for so long
    exit=M      of sum: the first answer that leads the second by a share M of all spikes that could vote in T steps (voters T) is
                final until the next reset (runtime/engines/early_exit.py); a recording is read no further
    idle=auto   an answer is None while the scene is as quiet as the camera's noise, which is learnt, and no class but "other" has
                evidence (runtime.stream.floor); nothing is emptied
    idle=RATE   below so many events a second (smoothed over 200 ms) nothing happens: the answer is None, evidence is emptied
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.engines.early_exit import leads, needed
from runtime.events.framing import parse_time_us
from runtime.stream.hold import HeldAnswer

RATE_TAU_US = 200_000.0
EXPECTED = (
    "expected sum, leak[:500ms], kofn[:3/5] or own[:80ms], then margin=, release=, idle=, (sum) exit= or (own) other= "
    "after commas"
)
NOT_SURE = "not sure"  # why there is no label where the evidence is not enough
OWN = {"margin": 0.25, "release": 0.05, "other": 400_000.0}  # docs/live.md, deciding


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


class FadingSum:
    """sum (tau_us infinite) and leak. `share` is the answer's share of all possible spikes, 0..1.

    exit_lead  whole votes by which the first class must lead for the answer to be final; final: whether it is
    """

    KEEPS = ("evidence", "weight", "share", "answer", "final")

    def __init__(
        self,
        classes: int,
        voters: int,
        tau_us: float,
        margin: float,
        release: float | None,
        exit_lead: float | None = None,
    ) -> None:
        self.evidence = np.zeros(classes)  # E, float64 [classes]
        self.weight = 0.0  # W
        self.voters, self.tau_us, self.margin = voters, tau_us, margin
        self.release = margin if release is None else release
        self.share = 0.0
        self.answer: int | None = None
        self.exit_lead, self.final = exit_lead, False

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        """The evidence c float64 [classes] of one step that lasted dt_us; returns the answer so far, or None."""
        if self.final:
            return self.answer
        if self.tau_us != np.inf:
            self.fade(math.exp(-max(dt_us, 0) / self.tau_us))
        self.evidence += c
        self.weight += 1
        possible = self.voters * self.weight
        winner = answer_of(self.evidence, possible, self.margin)
        if winner is not None:
            self.answer = winner
        elif self.answer is not None and (
            not self.evidence.any() or lead_of(self.evidence, self.answer, possible) < self.release
        ):
            self.answer = None
        self.share = 0.0 if self.answer is None else float(self.evidence[self.answer]) / possible
        enough = self.exit_lead is not None and bool(leads(self.evidence) >= self.exit_lead)
        self.final = enough and self.answer is not None  # a margin may be wider than the lead of an exit
        return self.answer

    def fade(self, factor: float) -> None:
        """Multiplies the evidence by `factor`, after a gap in time."""
        self.evidence *= factor
        self.weight *= factor

    def reset(self) -> None:
        self.evidence[:] = 0
        self.weight = self.share = 0.0
        self.answer = None
        self.final = False


class KofN:
    """The class that won k of the last n steps; its members are those of FadingSum."""

    final = False  # it always goes on

    KEEPS = ("history", "share", "answer")

    def __init__(self, classes: int, k: int, n: int, voters: int, margin: float, release: float | None) -> None:
        self.classes, self.k, self.voters, self.margin, self.release = classes, k, voters, margin, release or 0
        self.recent: deque[tuple[int | None, np.ndarray]] = deque(maxlen=n)
        self.answer: int | None = None
        self.share = 0.0

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        """c float64 [classes]; dt_us is not used."""
        winner = answer_of(c, self.voters, self.margin)
        self.recent.append((winner, c.copy()))
        if winner is not None and self._wins(winner) >= self.k:
            self.answer = winner
        elif self.answer is not None and self._wins(self.answer) < self.release:
            self.answer = None
        spikes = 0.0 if self.answer is None else sum(float(step[self.answer]) for _, step in self.recent)
        self.share = spikes / (self.voters * len(self.recent))
        return self.answer

    @property
    def history(self) -> np.ndarray:
        """float64 [n, 1 + classes]: the winner (-1: none) and c of each of the last n steps; -2 where there was none."""
        rows = np.full((self.recent.maxlen or 0, 1 + self.classes), -2.0)
        for row, (winner, c) in zip(rows, self.recent, strict=False):
            row[:] = -1 if winner is None else winner, *c
        return rows

    @history.setter
    def history(self, rows: np.ndarray) -> None:
        self.recent.clear()
        for winner, *c in rows[rows[:, 0] > -2]:
            self.recent.append((None if winner < 0 else int(winner), np.array(c)))

    def _wins(self, one: int) -> int:
        return sum(winner == one for winner, _ in self.recent)

    def fade(self, factor: float) -> None:
        pass  # the last n steps are what they are

    def reset(self) -> None:
        self.recent.clear()
        self.answer = None
        self.share = 0.0


Evidence = FadingSum | KofN | HeldAnswer


def smooth_rate(before: tuple[float, float], events: int, dt_us: int) -> tuple[float, float]:
    """(R, W) before a frame -> (R, W) after it; events a second are 1e6 R / W.

    R = R exp(-dt/tau) + events, W = W exp(-dt/tau) + dt
    """
    kept = math.exp(-max(dt_us, 0) / RATE_TAU_US)
    return before[0] * kept + events, before[1] * kept + max(dt_us, 1)


@dataclass(frozen=True)
class DecisionRule:
    """--decide, parsed. kind is sum, leak, kofn or own; idle_per_s is in events a second; idle_auto: the rate is learnt."""

    kind: str
    tau_us: float = np.inf
    k: int = 0
    n: int = 0
    margin: float = 0.0
    release: float | None = None
    idle_per_s: float | None = None
    idle_auto: bool = False
    other_us: float = np.inf
    exit_margin: float | None = None

    @classmethod
    def parse(cls, text: str) -> DecisionRule:
        """`sum`, `leak[:TAU]` such as leak:500ms, `kofn[:K/N]` such as kofn:3/5, `own[:TAU]`, with their options.

        Raises PlifError, which says what is wrong with it.
        """
        where = f"--decide {text}"
        first, *options = text.split(",")
        kind, _, argument = first.partition(":")
        values: dict[str, float] = {}
        for option in options:
            key, equals, number = option.strip().partition("=")
            if key not in ("margin", "release", "idle", "other", "exit") or not equals or key in values:
                raise PlifError(f"{where}: '{option.strip()}' is not understood; {EXPECTED}")
            if key == "other":
                values[key] = parse_time_us(where, "other", number)
            else:
                values[key] = np.nan if (key, number) == ("idle", "auto") else _number(where, key, number)
        if kind == "own":
            values = OWN | values
        elif "other" in values:
            raise PlifError(f"{where}: other= belongs to own; {EXPECTED}")
        margin, release, idle = values.get("margin", 0.0), values.get("release"), values.get("idle")
        auto = idle is not None and bool(np.isnan(idle))
        tau_us: float = np.inf
        k = n = 0
        if kind == "leak":
            tau_us = parse_time_us(where, "the time constant", argument or "500ms")
        elif kind == "kofn":
            match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", argument or "3/5")
            if not match or not 0 < int(match[1]) <= int(match[2]):
                raise PlifError(f"{where}: {EXPECTED}")
            k, n = int(match[1]), int(match[2])
            if release is not None and (release != int(release) or release > k):
                raise PlifError(f"{where}: release={release:g} of kofn is a number of steps, from 0 to {k}")
        elif kind == "own":
            tau_us = parse_time_us(where, "the time constant", argument or "80ms")
        elif kind != "sum" or argument:
            raise PlifError(f"{where}: {EXPECTED}")
        bound = 1 if kind == "own" else margin
        if margin > 1 or (kind != "kofn" and release is not None and release > bound):
            raise PlifError(
                f"{where}: expected margin= from 0 to 1, and release= not above {'1' if kind == 'own' else 'it'}"
            )
        exit_margin = values.get("exit")
        if exit_margin is not None and (kind != "sum" or exit_margin <= 0):
            raise PlifError(f"{where}: exit= is a share above 0, and belongs to sum")
        rate = None if auto else idle
        return cls(kind, tau_us, k, n, margin, release, rate, auto, values.get("other", np.inf), exit_margin)

    def evidence(self, classes: int, voters: int, other: int | None = None, T: int = 1) -> Evidence:
        """Empty evidence for a network of so many classes and voters a class, and samples of T steps.

        other  the class that means none of them
        """
        if self.kind == "own":
            assert self.release is not None
            return HeldAnswer(classes, voters, self.tau_us, self.margin, self.release, self.other_us, other)
        if self.kind == "kofn":
            return KofN(classes, self.k, self.n, voters, self.margin, self.release)
        lead = None if self.exit_margin is None else needed(self.exit_margin, voters, T)
        return FadingSum(classes, voters, self.tau_us, self.margin, self.release, lead)


def _number(where: str, key: str, text: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(k?)", text)
    if not match or (match[2] and key != "idle"):
        raise PlifError(f"{where}: {key}={text}: expected a number such as {'2000 or 2k' if key == 'idle' else '0.1'}")
    return float(match[1]) * (1000 if match[2] else 1)
