"""What one training window holds, and the label of each of its steps: a gesture, its onset, noise before it, or nothing.

    label      class >= 0;  IDLE (-1): nobody should be voted for;  UNASKED (-2): any answer is right

    plain      a stretch of the recording, its class at every step
    idle:P     noise alone: IDLE. An idle scene is not "other": evidence for it would first have to fade
    splice:P   noise, then the gesture from the middle, IDLE then the class; every fourth the other way round
    onset:P    from up to 0.6 of the window before the row's beginning: IDLE, then the class; 0.4 s before it are UNASKED,
               since arms that rise may be many things
    rest:P     begins sooner, so that at least half of it is the time before those 0.4 s: IDLE, somebody who stands there;
               plain where a recording holds nothing before its row
    active:1   the class only in steps with more events than the recording has at rest, else IDLE: everyday recordings
               contain rests, and rests that are labelled "other" teach that idle is other
    shuffle:P  freeze:P  axes:P    hard negatives (variation.py), labelled "other"; their first 0.12 s are UNASKED

In one line of text with the options of plif_train.hooks.mixed_windows.variation, `--vary mirror:0.5,stretch:0.7-1.5,idle:0.05`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from plif_train.core.network.losses import UNASKED
from plif_train.hooks.mixed_windows.variation import HARD, SWAPS, Clip, Floats, Noise, allows, exchanged, join, vary
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import number, read_items, span
from runtime.native.rules import find_other

IDLE = -1
ONE = ("mirror", "reverse", "shift", "turn", "quarter", "cut", "thin", "both", "halo", "noise", "hot")
TWO = ("stretch", "scale")
BEFORE = ("onset", "rest")  # windows that begin before their row
KINDS = ("idle", "splice", *BEFORE, *HARD)
WHOLE = (*KINDS, "active")
SHARES = ("mirror", "reverse", "quarter", "cut", "thin", "both", "halo", "noise", *WHOLE)  # at most 1
RISE_US, FALL_US, HARD_US, ENTER_US, LEAVE_US = 400_000, 300_000, 120_000, 40_000, 80_000
NOISE_PER_S = (200.0, 8_000.0)  # of idle windows, log-uniform, on the whole sensor


def parse_variation(text: str) -> dict[str, tuple[float, ...]]:
    """`mirror:0.5,stretch:0.7-1.5,...` -> the numbers of each option. PlifError says what is wrong."""
    readers = {name: number(0, 1) if name in SHARES else number(0) for name in (*ONE, *WHOLE)} | dict.fromkeys(
        TWO, span
    )
    read = read_items("--vary", text, readers, mark=":", example="mirror:0.5,stretch:0.7-1.5") if text else {}
    found = {name: value if name in TWO else (value,) for name, value in read.items()}
    whole = [found.get(name, (0.0,))[0] for name in KINDS]
    if sum(whole) > 1:
        raise PlifError(f"--vary {text}: {', '.join(KINDS)} add up to {sum(whole):g}, expected 1 at most")
    return found


@dataclass
class LabelledStretch:
    """One labelled stretch of a recording: its events from `from_us` on, the class from start_us on.

    floor    events a microsecond when the recording is at rest
    upright  how its view becomes upright"""

    clip: Clip
    label: int
    start_us: float
    end_us: float
    floor: float
    upright: str = "identity"


class Cut(NamedTuple):
    """A varied stretch of a row, from time 0 on.

    slow    how many times longer it was made
    starts_us, lasts_us   when the class begins in it, and when the recording ends in it
    floor   the row's, as the stretch was varied"""

    clip: Clip
    label: int
    slow: float
    starts_us: float
    lasts_us: float
    floor: float


class Windows:
    """Draws windows of `steps` steps of step_us from rows of one sensor, of (width, height)."""

    def __init__(
        self,
        how: Mapping[str, tuple[float, ...]],
        steps: int,
        step_us: float,
        size: tuple[int, int],
        classes: Sequence[str],
    ) -> None:
        self.how, self.steps, self.step_us, self.size, self.classes = how, steps, step_us, size, classes
        other = find_other(list(classes))
        self.other = IDLE if other is None else other
        if other is None and any(kind in how for kind in HARD):
            raise PlifError(
                f"--vary: hard negatives need a class that means none of the others, as 'other', among {', '.join(classes)}"
            )
        if "axes" in how and size[0] != size[1]:
            raise PlifError(f"--vary axes: needs a square sensor, found {size[0]}x{size[1]}")
        self._swaps = {name: exchanged(classes, pairs) for name, pairs in SWAPS.items() if name in how}
        self._noise = Noise(size, np.random.default_rng(0))
        self._active = how.get("active", (0.0,))[0] > 0

    def draw(self, row: LabelledStretch, rng: np.random.Generator) -> tuple[Clip, npt.NDArray[np.int64]]:
        """A window and the labels of its steps [steps]; the window begins at time 0."""
        length_us = self.steps * self.step_us
        kind = self._kind(row, rng)
        labels = np.full(self.steps, IDLE)
        parts = [self._background(length_us, kind, rng)]
        if kind != "idle":
            cut = self._cut(row, kind, length_us, rng)
            clip, label = cut.clip, cut.label
            if kind in HARD:
                clip, label = HARD[kind](clip, rng), self.other
            t = np.arange(self.steps) * self.step_us
            labels[:] = label
            if kind in BEFORE:
                labels[t < cut.starts_us] = UNASKED
                labels[t + self.step_us <= cut.starts_us - RISE_US * cut.slow] = IDLE
            elif kind == "splice":
                clip = self._splice(clip, labels, t, length_us, rng)
            elif self._active:
                at = np.minimum(clip.t // self.step_us, self.steps - 1).astype(int)
                rest = cut.floor * self.step_us
                quiet = rest + 4 * np.sqrt(rest) + self.step_us / 1_000
                labels[np.bincount(at, minlength=self.steps)[: self.steps] <= quiet] = IDLE
            if kind in HARD or self._active:
                labels[t < HARD_US] = UNASKED
            labels[t >= cut.lasts_us] = UNASKED
            parts.append(clip)
        clip = join(parts)
        keep = (clip.t >= 0) & (clip.t < length_us)
        return clip.pick(keep), labels

    def _kind(self, row: LabelledStretch, rng: np.random.Generator) -> str:
        drawn = rng.random()
        for name in KINDS:
            drawn -= self.how.get(name, (0.0,))[0]
            if drawn < 0:
                gesture = row.label not in (self.other, IDLE)
                fits = name in ("idle", "rest") or (gesture and allows(name, self.classes[row.label]))
                return name if fits else "plain"
        return "plain"

    def _background(self, length_us: float, kind: str, rng: np.random.Generator) -> Clip:
        low, high = NOISE_PER_S
        if kind in ("idle", "splice"):
            per_us = 1e-6 * np.exp(rng.uniform(np.log(low), np.log(high)))
        else:
            per_us = rng.uniform(0, self.how.get("noise", (0.0,))[0]) * self.size[0] * self.size[1] / 40_000
        clip = self._noise.make(per_us, length_us, rng)
        return join([clip, self._noise.hot(int(self.how["hot"][0]), length_us, rng)]) if "hot" in self.how else clip

    def _cut(self, row: LabelledStretch, kind: str, length_us: float, rng: np.random.Generator) -> Cut:
        low, high = self.how.get("stretch", (1.0, 1.0))
        slow = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        needed_us = length_us / slow
        if kind == "onset":
            begin_us = row.start_us - rng.uniform(0.2, 0.6) * needed_us
        elif kind == "rest":
            begin_us = max(row.start_us - RISE_US - rng.uniform(0.5, 1.0) * needed_us, min(FALL_US, row.start_us))
        else:
            begin_us = rng.uniform(row.start_us, max(row.end_us - needed_us, row.start_us))
        first, last = np.searchsorted(row.clip.t, (begin_us, begin_us + needed_us))
        clip = row.clip.pick(slice(first, last))
        clip = Clip((clip.t - begin_us) * slow, clip.x, clip.y, clip.p)
        how = self.how if kind not in BEFORE else {name: value for name, value in self.how.items() if name != "reverse"}
        varied, label = vary(clip, row.label, how, self.size, self._swaps, rng)
        floor = row.floor / slow * len(varied) / max(len(clip), 1)
        starts_us, lasts_us = ((at - begin_us) * slow for at in (row.start_us, row.end_us))
        return Cut(varied, label, slow, starts_us, lasts_us, floor)

    def _splice(
        self,
        clip: Clip,
        labels: npt.NDArray[np.int64],
        t: Floats,
        length_us: float,
        rng: np.random.Generator,
    ) -> Clip:
        """Removes the beginning (or the end) of the clip, in whole steps, and labels the window so."""
        cut_us = self.step_us * int(rng.integers(2, max(3, self.steps * 2 // 3)))
        if rng.random() < 0.75:
            labels[t < cut_us] = IDLE
            labels[(t >= cut_us) & (t < cut_us + ENTER_US)] = UNASKED
            return clip.pick(clip.t >= cut_us)
        labels[t >= cut_us] = IDLE
        labels[(t >= cut_us) & (t < cut_us + LEAVE_US)] = UNASKED
        return clip.pick(clip.t < cut_us)
