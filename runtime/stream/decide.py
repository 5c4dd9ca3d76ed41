"""From the output of each step to an answer: how evidence adds up, and when it is enough.

    y       what the network gave in this step, float32 [classes]; a multiple of 1/voters where it votes
    c       whole spikes of this step, c = rint(y * voters)

    sum     E = E + c                   W = W + 1                   what evaluation does
    leak    E = E exp(-dt/tau) + c      W = W exp(-dt/tau) + 1      old evidence fades (leak:500ms says tau)
    kofn    the class that won k of the last n steps                (kofn:3/5)

Integers, not float averages: 0.1 added ten times is not 1, and an answer must not depend on the order of a sum. Ties go to
the lowest class. Without a single spike the answer is None ("not sure"); evaluation, which must answer, then says the lowest
class, as PyTorch's argmax does.

What may follow, after commas:

    margin=M    the winner must lead the second by M of all that could have been (E / (voters W)); kofn: in a step, to win it
    release=R   an answer stays until its lead falls below R (kofn: until it has fewer than R of the last n steps): hysteresis.
                Without it sum and leak judge each step anew, and kofn keeps its answer until another class has k
    idle=RATE   below so many events a second (smoothed over 200 ms) nothing happens: the answer is None, evidence is emptied
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.framing import parse_time_us

IDLE_TAU_US = 200_000.0
EXPECTED = "expected sum, leak[:500ms] or kofn[:3/5], then margin=, release= or idle= after commas"


class Rule(Protocol):
    """`share` is the last winner's part of all the spikes that the rule's steps could have had, 0..1."""

    name: ClassVar[str]
    share: float

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        """The evidence of one step that lasted dt_us; returns the answer so far, or None."""
        ...

    def fade(self, factor: float) -> None:
        """Evidence counts for less: a gap in time."""
        ...

    def reset(self) -> None: ...


class Sum:
    name: ClassVar[str] = "sum"

    def __init__(self, classes: int, voters: int = 1, margin: float = 0.0, release: float | None = None) -> None:
        self.evidence = np.zeros(classes)
        self.weight = 0.0
        self.voters, self.margin = voters, margin
        self.release = margin if release is None else release
        self.share = 0.0
        self.answer: int | None = None

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        self.evidence += c
        self.weight += 1
        winner = _winner(self.evidence)
        possible = self.voters * self.weight
        if winner is not None and (self.margin == 0 or self._lead(winner, possible) >= self.margin):
            self.answer = winner
        elif self.answer is not None and (winner is None or self._lead(self.answer, possible) < self.release):
            self.answer = None
        self.share = 0.0 if self.answer is None else float(self.evidence[self.answer]) / possible
        return self.answer

    def _lead(self, one: int, possible: float) -> float:
        """Of a class over the best other one, as a share of what could have been; negative where another leads."""
        others = np.delete(self.evidence, one)
        return float(self.evidence[one] - (others.max() if len(others) else 0.0)) / possible

    def fade(self, factor: float) -> None:
        self.evidence *= factor
        self.weight *= factor

    def reset(self) -> None:
        self.evidence[:] = 0
        self.weight = self.share = 0.0
        self.answer = None


class Leak(Sum):
    name: ClassVar[str] = "leak"

    def __init__(
        self, classes: int, tau_us: float, voters: int = 1, margin: float = 0.0, release: float | None = None
    ) -> None:
        super().__init__(classes, voters, margin, release)
        self.tau_us = tau_us

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        self.fade(float(np.exp(-max(dt_us, 0) / self.tau_us)))
        return super().add(c, dt_us)


class KofN:
    name: ClassVar[str] = "kofn"

    def __init__(self, classes: int, k: int, n: int, voters: int = 1, margin: float = 0.0, release: int = 0) -> None:
        self.k, self.voters, self.margin, self.release = k, voters, margin, release
        self.recent: deque[tuple[int | None, np.ndarray]] = deque(maxlen=n)
        self.answer: int | None = None
        self.share = 0.0

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        winner = _winner(c)
        if winner is not None and self.margin:
            others = np.delete(c, winner)
            if (c[winner] - (others.max() if len(others) else 0.0)) / self.voters < self.margin:
                winner = None
        self.recent.append((winner, c.copy()))
        if winner is not None and self._wins(winner) >= self.k:
            self.answer = winner
        elif self.answer is not None and self._wins(self.answer) < self.release:
            self.answer = None
        spikes = 0.0 if self.answer is None else sum(float(step[self.answer]) for _, step in self.recent)
        self.share = spikes / (self.voters * len(self.recent))
        return self.answer

    def _wins(self, one: int) -> int:
        return sum(winner == one for winner, _ in self.recent)

    def fade(self, factor: float) -> None:
        pass  # the last n steps are what they are

    def reset(self) -> None:
        self.recent.clear()
        self.answer = None
        self.share = 0.0


def _winner(evidence: np.ndarray) -> int | None:
    return int(evidence.argmax()) if evidence.any() else None  # argmax gives the first of equals


@dataclass
class Idle:
    """Is anything happening? Events a second, R = R exp(-dt/tau) + events over W = W exp(-dt/tau) + dt."""

    per_s: float
    _events: float = 0.0
    _us: float = 0.0

    def __call__(self, events: int, dt_us: int) -> bool:
        """Whether the stream is idle with this frame of so many events in dt_us."""
        kept = float(np.exp(-max(dt_us, 0) / IDLE_TAU_US))
        self._events = self._events * kept + events
        self._us = self._us * kept + max(dt_us, 1)
        return 1e6 * self._events / self._us < self.per_s


@dataclass(frozen=True)
class Plan:
    """--decide, read: makes the rules of as many streams as there are."""

    rule: str
    tau_us: int = 0
    k: int = 0
    n: int = 0
    margin: float = 0.0
    release: float | None = None
    idle_per_s: float | None = None

    @classmethod
    def parse(cls, text: str) -> Plan:
        """PlifError says what is wrong with it."""
        where = f"--decide {text}"
        first, *options = text.split(",")
        name, _, argument = first.partition(":")
        values: dict[str, float] = {}
        for option in options:
            key, equals, number = option.strip().partition("=")
            if key not in ("margin", "release", "idle") or not equals or key in values:
                raise PlifError(f"{where}: '{option.strip()}' is not understood; {EXPECTED}")
            values[key] = _number(where, key, number)
        margin, release, idle = values.get("margin", 0.0), values.get("release"), values.get("idle")
        if name == "sum" and not argument:
            made = cls("sum", margin=margin, release=release, idle_per_s=idle)
        elif name == "leak":
            tau = parse_time_us(where, "the time constant", argument or "500ms")
            made = cls("leak", tau_us=tau, margin=margin, release=release, idle_per_s=idle)
        elif name == "kofn":
            match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", argument or "3/5")
            if not match or not 0 < int(match[1]) <= int(match[2]):
                raise PlifError(f"{where}: {EXPECTED}")
            k, n = int(match[1]), int(match[2])
            if release is not None and (release != int(release) or release > k):
                raise PlifError(f"{where}: release={release:g} of kofn is a number of steps, from 0 to {k}")
            made = cls("kofn", k=k, n=n, margin=margin, release=release, idle_per_s=idle)
        else:
            raise PlifError(f"{where}: {EXPECTED}")
        if margin > 1 or (name != "kofn" and release is not None and release > margin):
            raise PlifError(f"{where}: expected margin= from 0 to 1, and release= not above it")
        return made

    def make(self, classes: int, voters: int) -> Rule:
        if self.rule == "sum":
            return Sum(classes, voters, self.margin, self.release)
        if self.rule == "leak":
            return Leak(classes, self.tau_us, voters, self.margin, self.release)
        return KofN(classes, self.k, self.n, voters, self.margin, int(self.release or 0))

    def make_idle(self) -> Idle | None:
        return None if self.idle_per_s is None else Idle(self.idle_per_s)


def make_rule(text: str, classes: int, voters: int = 1) -> Rule:
    """`sum`, `leak[:TAU]` such as leak:500ms, `kofn[:K/N]` such as kofn:3/5, with their options."""
    return Plan.parse(text).make(classes, voters)


def _number(where: str, key: str, text: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(k?)", text)
    if not match or (match[2] and key != "idle"):
        raise PlifError(f"{where}: {key}={text}: expected a number such as {'2000 or 2k' if key == 'idle' else '0.1'}")
    return float(match[1]) * (1000 if match[2] else 1)
