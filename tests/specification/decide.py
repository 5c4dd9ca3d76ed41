"""How the votes of the steps add up to an answer, and when there is none (docs/live-rules.md, Deciding).

c       votes [classes] of a step: whole spikes, rint(y voters)
dt      from the end of the frame before to the end of this one; time that goes back counts as none
s       a class's share of all spikes that were possible, 0..1
lead    of a class: its share less the largest share of another
first   the class with the most evidence, of equals the lowest; none where there is no evidence
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tests.specification.text import decimal, match, options, require, time_us

OTHERS = ("other", "other gestures", "other_gestures")  # a class of this name means none of the others


@dataclass(frozen=True)
class Rule:
    """What a line says. None: it says nothing, and there is none of it."""

    kind: str
    tau_us: int | None = None
    k: int = 0
    n: int = 0
    margin: float = 0.0  # the smallest of
    margins: tuple[float, ...] = ()  # one for each class, where they differ
    release: float = 0.0
    idle: float | str | None = None  # events a second, or "auto"
    other_us: int | None = None
    exit: float | None = None
    soft: float | None = None
    drift: float | None = None
    most: float = 1.0

    def margin_of(self, one: int) -> float:
        return self.margins[one] if self.margins else self.margin

    def soft_of(self, one: int) -> float:
        """Where soft= is not given, half of the margin, of cusum 0."""
        usual = 0.0 if self.kind == "cusum" else self.margin_of(one) / 2
        return usual if self.soft is None else self.soft


def parse(text: str) -> Rule:
    """`sum`, `leak[:500ms]`, `kofn[:3/5]`, `own[:80ms]` or `cusum[:300ms]`, then options in any order,
    with blanks around them or none.

    margin is at most 1: one number, or one for each class, 0.2/0.4/0.3, of 128 at most; then the margin is the least of them.
    release is at most margin, which it is where it is not given; of own and cusum at most 1; of kofn a whole number of steps, at
    most K, and 0 where it is not given. Only idle may end in k, for a thousand. exit is above 0. soft is at most 1, and kofn has
    none. drift is at most 1, most is above 0 and at most 1. `own` alone is own:80ms,margin=0.25,release=0.05,other=400ms,
    `cusum` alone cusum:300ms,margin=0.05,release=0,other=400ms,drift=0.15.
    """
    first, *parts = text.split(",")
    kind, _, argument = first.partition(":")
    usual = {"sum": "", "leak": "500ms", "kofn": "3/5", "own": "80ms", "cusum": "300ms"}
    require(kind in usual and (kind != "sum" or not argument), first)
    argument = argument or usual[kind]
    extra = {
        "sum": ("exit", "soft"),
        "leak": ("soft",),
        "own": ("other", "soft"),
        "cusum": ("other", "soft", "drift", "most"),
    }
    given = options([part.strip() for part in parts], ("margin", "release", "idle", *extra.get(kind, ())))
    if kind == "own":
        given = {"margin": "0.25", "release": "0.05", "other": "400ms", **given}
    if kind == "cusum":
        given = {"margin": "0.05", "release": "0", "other": "400ms", "drift": "0.15", **given}
    k, n = (int(part) for part in match("([0-9]{1,4})/([0-9]{1,4})", argument)) if kind == "kofn" else (0, 0)
    each = tuple(decimal(one.strip()) for one in given.get("margin", "0").split("/"))
    margin = min(each)
    release = decimal(given["release"]) if "release" in given else 0.0 if kind == "kofn" else margin
    require(kind != "kofn" or (0 < k <= n and release.is_integer()), "kofn: 0 < K <= N, and release a number of steps")
    require(
        max(each) <= 1 and len(each) <= 128 and release <= {"kofn": k, "own": 1, "cusum": 1}.get(kind, margin),
        "margin or release is too large",
    )
    soft = decimal(given["soft"]) if "soft" in given else None
    require(soft is None or soft <= 1, "soft is at most 1")
    drift = decimal(given["drift"]) if "drift" in given else None
    require(drift is None or drift <= 1, "drift is at most 1")
    most = decimal(given.get("most", "1"))
    require(0 < most <= 1, "most is above 0, and at most 1")
    leave = decimal(given["exit"]) if "exit" in given else None
    require(leave != 0, "exit is above 0")
    return Rule(
        *(kind, time_us(argument) if kind in ("leak", "own", "cusum") else None, k, n, margin),
        margins=each if len(each) > 1 else (),
        release=release,
        idle=rate_of(given["idle"]) if "idle" in given else None,
        other_us=time_us(given["other"]) if "other" in given else None,
        exit=leave,
        soft=soft,
        drift=drift,
        most=most,
    )


def rate_of(text: str) -> float | str:
    """`2000`, `2k` or `auto`"""
    return text if text == "auto" else decimal(text[:-1]) * 1000 if text.endswith("k") else decimal(text)


def first_of(values: list[float]) -> int | None:
    return values.index(max(values)) if any(values) else None


def lead_of(values: list[float], one: int) -> float:
    return values[one] - max((value for i, value in enumerate(values) if i != one), default=0.0)


class Sum:
    """E = E f + c,   W = W f + 1,   s = E / (voters W)        sum: f = 1        leak, own: f = exp(-dt / tau)

    sum adds up all votes since the reset, as evaluation does. leak and own are running votes: a step counts less the longer
    ago it was. The score is s(answer), and 0 without an answer.
    """

    def __init__(self, rule: Rule, classes: int, voters: int, T: int, other: int | None) -> None:
        self.rule, self.voters, self.T, self.other = rule, voters, T, other
        self.E, self.W = [0.0] * classes, 0.0
        self.answer: int | None = None
        self.is_final = False
        self.led_us = 0.0  # own: for how long "other" has led

    def add(self, c: list[float], dt_us: int) -> None:
        if self.is_final:
            return
        if self.rule.tau_us:
            self.fade(math.exp(-max(dt_us, 0) / self.rule.tau_us))
        self.E, self.W = [e + votes for e, votes in zip(self.E, c, strict=True)], self.W + 1
        self.answer = self.held(dt_us) if self.rule.kind == "own" else self.found()
        self.is_final = self.is_enough()

    def share(self, one: int) -> float:
        return self.E[one] / (self.voters * self.W) if self.W else 0.0

    def lead(self, one: int) -> float:
        return lead_of(self.E, one) / (self.voters * self.W)

    def found(self) -> int | None:
        """sum, leak:   lead(first) >= its margin:  the answer is first.     lead(answer) < release:  none.     else it stays"""
        first = first_of(self.E)
        if first is not None and self.leads(first, self.rule.margin_of(first)):
            return first
        stays = self.answer is not None and first is not None and self.lead(self.answer) >= self.rule.release
        return self.answer if stays else None

    def leads(self, one: int, margin: float) -> bool:
        return margin == 0 or self.lead(one) >= margin

    @property
    def soft(self) -> int | None:
        """lead(first) >= soft of first:  the soft answer is first, at once and whatever is held.     else none"""
        first = first_of(self.E)
        return first if first is not None and self.leads(first, self.rule.soft_of(first)) else None

    def held(self, dt_us: int) -> int | None:
        """own, cusum:   lead(first) >= margin:  first leads.     s(answer) < release, or 0:  none.     else it stays

        A class that leads and is not the answer becomes it at once. Only "other" has to lead for other=TIME on end, of which a
        step counts for half at most, since what was between two frames is no lead. While "other" leads, an answer stays even
        below its release.
        """
        first = first_of(self.E)
        leads = first is not None and self.lead(first) >= self.rule.margin_of(first)
        other_leads = leads and first == self.other
        self.led_us = self.led_us + min(max(dt_us, 0), self.rule.other_us / 2) if other_leads else 0.0
        if leads and first not in (self.answer, self.other):
            return first
        if other_leads and self.led_us >= self.rule.other_us:
            return self.other
        s = 0.0 if self.answer is None else self.share(self.answer)
        stays = other_leads or (s > 0 and s >= self.rule.release)
        return self.answer if stays else None

    def is_enough(self) -> bool:
        """exit:   E(answer) - E(second) >= exit voters T        T: steps of a sample in training

        The first answer of which this is true is final until the next reset. (exit is a decimal: a millionth less is enough.)
        """
        if self.rule.exit is None or self.answer is None:
            return False
        return lead_of(self.E, self.answer) >= self.rule.exit * self.voters * self.T * (1 - 1e-6)

    @property
    def score(self) -> float:
        return 0.0 if self.answer is None else self.share(self.answer)

    @property
    def says_something(self) -> bool:
        """s >= 0.05 for a class that is not "other": there is evidence, so idle=auto does not hide the answer."""
        return any(self.share(i) >= 0.05 for i in range(len(self.E)) if i != self.other)

    def fade(self, factor: float) -> None:
        self.E, self.W = [e * factor for e in self.E], self.W * factor


class Cusum(Sum):
    """S_i = clip(S_i + (c_i / voters - 3/4 r_i / voters - drift) min(dt / tau, 1/2), 0, M_i)        r_i = max_j c_j,  j != i

    M_i = max(most, margin of i)     without votes a full sum is empty after M_i tau / drift

    Page's cumulative sum (Biometrika 1954) of evidence for a class against nothing: what was before leaves it at 0 and no lower.
    s and lead are S. The rest is as for own. The score is the answer's share of the running votes, as of leak:200ms.
    """

    def __init__(self, rule: Rule, classes: int, voters: int, T: int, other: int | None) -> None:
        super().__init__(rule, classes, voters, T, other)
        self.running = Sum(replace(rule, kind="leak", tau_us=200_000), classes, voters, T, other)

    def fade(self, factor: float) -> None:
        super().fade(factor)
        self.running.fade(factor)

    @property
    def score(self) -> float:
        return 0.0 if self.answer is None else self.running.share(self.answer)

    def add(self, c: list[float], dt_us: int) -> None:
        self.running.add(c, dt_us)
        part = min(max(dt_us, 0) / self.rule.tau_us, 0.5)
        rivals = [max((other for k, other in enumerate(c) if k != i), default=0.0) for i in range(len(c))]
        for i, r in enumerate(rivals):
            gain = (c[i] - 0.75 * r) / self.voters - self.rule.drift
            self.E[i] = min(max(self.E[i] + gain * part, 0.0), max(self.rule.most, self.rule.margin_of(i)))
        self.answer = self.held(dt_us)

    def share(self, one: int) -> float:
        return self.E[one]

    lead = share

    @property
    def says_something(self) -> bool:
        """S > 0 for a class that is not "other"."""
        return any(value > 1e-9 for i, value in enumerate(self.E) if i != self.other)


class KofN:
    """The class that won K of the last N steps; it stays until another has K (release=R: until it won fewer than R of them).

    A step is won by the class with the most votes, if it leads by a share `margin` of the voters. A class becomes the answer in
    a step that it wins. The score is the answer's share of all possible spikes in the last N steps, as far as there were N.
    """

    is_final = False

    def __init__(self, rule: Rule, classes: int, voters: int, T: int, other: int | None) -> None:
        self.rule, self.voters, self.other = rule, voters, other
        self.steps: list[list[float]] = []
        self.answer: int | None = None

    def winner(self, c: list[float]) -> int | None:
        first = first_of(c)
        enough = first is not None and lead_of(c, first) / self.voters >= self.rule.margin_of(first)
        return first if enough else None

    @property
    def soft(self) -> int | None:
        """Who won the last step."""
        return self.winner(self.steps[-1]) if self.steps else None

    def add(self, c: list[float], dt_us: int) -> None:
        self.steps = [*self.steps, c][-self.rule.n :]
        won = [self.winner(step) for step in self.steps]
        if won[-1] is not None and won.count(won[-1]) >= self.rule.k:
            self.answer = won[-1]
        elif won.count(self.answer) < self.rule.release:
            self.answer = None

    @property
    def score(self) -> float:
        return 0.0 if self.answer is None else sum(c[self.answer] for c in self.steps) / (self.voters * len(self.steps))

    @property
    def says_something(self) -> bool:
        return self.answer not in (None, self.other)

    def fade(self, factor: float) -> None:
        """The last steps are what they are."""


class Rate:
    """R = R f + events,   W = W f + d,   f = exp(-d / 200 ms):   10^6 R / W events a second     d: how long the frame lasts

    idle=RATE: below so many the answer is idle. Evidence is cleared when that begins, and nothing is added to it until it ends;
    votes are counted. (d is 1 us at least in W.)
    """

    def __init__(self) -> None:
        self.R = self.W = 0.0

    def after(self, events: int, lasts_us: int) -> float:
        f = math.exp(-lasts_us / 200_000)
        self.R, self.W = self.R * f + events, self.W * f + max(lasts_us, 1)
        return 1e6 * self.R / self.W


class Noise:
    """quiet:   rate < 2 floor + 300 events a second        idle=auto: the scene is quiet, and nothing has evidence

    floor is 0 until frames with events have lasted a second; then it is the rate. From there it follows the rate: down by 20 % a
    second at most, up by 0.02 (floor + 150) a second at most, and not at all while the rate is below 1.
    """

    def __init__(self) -> None:
        self.floor, self.seen_us = 0.0, 0

    def is_quiet(self, rate: float, events: int, lasts_us: int) -> bool:
        lasts_s = lasts_us / 1e6
        if self.seen_us < 1_000_000:
            self.seen_us += lasts_us if events else 0
            self.floor = rate if self.seen_us >= 1_000_000 else 0.0
        elif rate >= 1:
            lowest, highest = self.floor * (1 - 0.2 * lasts_s), self.floor + 0.02 * lasts_s * (self.floor + 150)
            self.floor = min(max(rate, lowest), highest)
        return rate < 2 * self.floor + 300
