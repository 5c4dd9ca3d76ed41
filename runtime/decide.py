"""From the output of each step to an answer: how evidence adds up, and when the membranes start afresh.

    y       what the network gave in this step, float32 [classes]; a multiple of 1/voters where it votes
    c       whole spikes of this step, c = rint(y * voters)

    sum     E = E + c                                  what evaluation does
    leak    E = E * exp(-dt / tau) + c                 old evidence fades (leak:500ms says tau)
    kofn    the class that won k of the last n steps   (kofn:3/5); the last answer holds until another class reaches k

Integers, not float averages: 0.1 added ten times is not 1, and an answer must not depend on the order of a sum. Ties go to
the lowest class. Without a single spike the answer is None ("not sure"); evaluation, which must answer, then says the lowest
class, as PyTorch's argmax does.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from runtime.errors import PlifError


class Rule(Protocol):
    name: ClassVar[str]

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        """The evidence of one step that lasted dt_us; returns the winner so far, or None."""
        ...

    def reset(self) -> None: ...


class Sum:
    name: ClassVar[str] = "sum"

    def __init__(self, classes: int) -> None:
        self.evidence = np.zeros(classes)

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        self.evidence += c
        return _winner(self.evidence)

    def reset(self) -> None:
        self.evidence[:] = 0


class Leak(Sum):
    name: ClassVar[str] = "leak"

    def __init__(self, classes: int, tau_us: float) -> None:
        super().__init__(classes)
        self.tau_us = tau_us

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        self.evidence *= np.exp(-max(dt_us, 0) / self.tau_us)
        return super().add(c, dt_us)


class KofN:
    name: ClassVar[str] = "kofn"

    def __init__(self, classes: int, k: int, n: int) -> None:
        self.k, self.recent = k, deque[int | None](maxlen=n)
        self.answer: int | None = None

    def add(self, c: np.ndarray, dt_us: int) -> int | None:
        winner = _winner(c)
        self.recent.append(winner)
        if winner is not None and self.recent.count(winner) >= self.k:
            self.answer = winner
        return self.answer

    def reset(self) -> None:
        self.recent.clear()
        self.answer = None


def _winner(evidence: np.ndarray) -> int | None:
    return int(evidence.argmax()) if evidence.any() else None  # argmax gives the first of equals


def make_rule(text: str, classes: int) -> Rule:
    """`sum`, `leak[:TAU]` such as leak:500ms, `kofn[:K/N]` such as kofn:3/5."""
    name, _, argument = text.partition(":")
    if name == "sum" and not argument:
        return Sum(classes)
    if name == "leak":
        return Leak(classes, duration_us(argument or "500ms", f"--decide {text}"))
    if name == "kofn":
        match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", argument or "3/5")
        if match and 0 < int(match[1]) <= int(match[2]):
            return KofN(classes, int(match[1]), int(match[2]))
    raise PlifError(f"--decide {text}: expected sum, leak[:500ms] or kofn[:3/5]")


def duration_us(text: str, where: str) -> int:
    """'500ms', '20us' or '1.5s' in microseconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", text)
    value = round(float(match[1]) * {"us": 1, "ms": 1_000, "s": 1_000_000}[match[2]]) if match else 0
    if not 0 < value < 10**15:
        raise PlifError(f"{where}: '{text}' is not a duration; expected one such as 500ms, 20us or 1.5s")
    return value


@dataclass
class ResetPolicy:
    """When membranes and evidence start afresh. A new recording always does; `never` and `recording` do nothing else.

    every:T      after every T steps
    silence:MS   when no event came for that many milliseconds (or a gap in time as long)
    """

    kind: str = "recording"
    every: int = 0
    silence_us: int = 0
    _steps: int = 0
    _silent_us: int = 0

    @classmethod
    def parse(cls, text: str) -> ResetPolicy:
        if text in ("never", "recording"):
            return cls(text)
        name, _, argument = text.partition(":")
        if name == "every" and re.fullmatch(r"[1-9]\d{0,8}", argument):
            return cls("every", every=int(argument))
        if name == "silence" and re.fullmatch(r"[1-9]\d{0,8}(ms)?", argument):
            return cls("silence", silence_us=1000 * int(argument.removesuffix("ms")))
        raise PlifError(f"--reset {text}: expected never, recording, every:T (steps) or silence:MS (milliseconds)")

    def due(self, events: int, dt_us: int, discontinuity: bool) -> bool:
        """Whether to reset before the step of a frame with that many events, dt_us after the last frame."""
        silent = self._silent_us + (abs(dt_us) if events == 0 or discontinuity else 0)  # time may step back, too
        due = self.kind == "every" and self._steps >= self.every
        due = due or (self.kind == "silence" and silent >= self.silence_us and (events > 0 or discontinuity))
        self._silent_us = silent if events == 0 else 0
        self._steps = 1 if due else self._steps + 1
        return due
