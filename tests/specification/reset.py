"""When membranes and evidence start afresh, and when they fade (docs/live-rules.md, Deciding, --reset)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from tests.specification.text import match, require, time_us


@dataclass(frozen=True)
class Policy:
    """What a line says. `every:T/K` runs K rows."""

    kind: str
    T: int = 0
    K: int = 1
    silence_us: int = 0
    tau_us: int = 0


class Step(NamedTuple):
    """What a policy knows of a step."""

    dt_us: int  # from the end of the frame before to the end of this one
    gap_us: int  # from the end of the frame before to the beginning of this one: what no frame covers
    is_silent: bool  # no event in it, or idle=RATE calls it idle
    jumps: bool  # a gap of more than a second came before it


def parse(text: str) -> Policy:
    """`never`, `recording`, `every:T[/K]` with T of 9 digits and K to 64 and to T, `silence:MS` of 9 digits, `decay:TAU`."""
    name, _, argument = text.partition(":")
    if text in ("never", "recording"):
        return Policy("never")  # within a recording they are the same
    require(name in ("every", "silence", "decay"), text)
    if name == "every":
        T, K = (int(number or 1) for number in match("([1-9][0-9]{0,8})(?:/([1-9][0-9]?))?", argument))
        require(min(T, 64) >= K, "more rows than steps, or than 64")
        return Policy("every", T=T, K=K)
    if name == "silence":
        return Policy("silence", silence_us=1000 * int(match("([1-9][0-9]{0,8})(?:ms)?", argument)[0]))
    return Policy("decay", tau_us=time_us(argument))


def factor(policy: Policy, row: int, steps: list[Step]) -> float:
    """What membranes and evidence of a row are multiplied by before the last of these steps: 1 keeps them, 0 is a reset."""
    return {"every": every, "silence": silence, "decay": decay}.get(policy.kind, lambda *_: 1.0)(policy, row, steps)


def every(policy: Policy, row: int, steps: list[Step]) -> float:
    """Reset before step n (from 0) where   n = r + T, r + 2T, ..., or r itself,   r = floor(T (row + 1) / K)

    Each of the K rows is reset every T steps, T/K steps after the row before it; the first after T/K steps, a single one after T.
    """
    first, n = policy.T * (row + 1) // policy.K, len(steps) - 1
    return 0.0 if n >= first and (n - first) % policy.T == 0 else 1.0


def silence(policy: Policy, row: int, steps: list[Step]) -> float:
    """Reset where events come again, or time jumps, and   |dt| of the silent steps since the last event >= MS

    A step into which time jumps counts as silent, too, although it has events.
    """
    *before, now = steps
    silent_us = abs(now.dt_us) if now.is_silent or now.jumps else 0
    while before and before[-1].is_silent:
        silent_us += abs(before.pop().dt_us)
    return 0.0 if silent_us >= policy.silence_us and (now.jumps or not now.is_silent) else 1.0


def decay(policy: Policy, row: int, steps: list[Step]) -> float:
    """exp(-|gap| / TAU) after a gap of more than a second, which no frame covers"""
    now = steps[-1]
    return math.exp(-abs(now.gap_us) / policy.tau_us) if now.jumps else 1.0
