"""Training windows, and the label of each of their steps: a gesture, its onset, noise before it, or nothing.

    label      class >= 0;  IDLE (-1): no class should get votes;  IGNORE_LABEL (-2): any answer is right

    plain      a segment of the recording, its class at every step
    idle:P     noise alone: IDLE. An idle scene is not "other": evidence for it would first have to fade
    splice:P   noise, then the gesture from the middle, IDLE then the class; every fourth the other way round
    onset:P    from up to 0.6 of the window before the segment's beginning: IDLE, then the class; 0.4 s before it are
               IGNORE_LABEL, since arms that rise may be many things
    rest:P     begins sooner, so that at least half of it is the time before those 0.4 s: IDLE, somebody who stands
               there; plain if a recording holds nothing before its segment
    active:1   the class only in steps with more events than the recording has at rest, else IDLE: everyday recordings
               contain rests, and rests that are labelled "other" teach that idle is other
    shuffle:P  freeze:P  axes:P    hard negatives (variation.py), labelled "other"; their first 0.12 s are IGNORE_LABEL

These options share one line of text with those of plif_train.hooks.mixed_windows.variation: `--vary
mirror:0.5,stretch:0.7-1.5,idle:0.05`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from plif_train.core.network.losses import IGNORE_LABEL
from plif_train.hooks.mixed_windows.variation import (
    HARD_NEGATIVES,
    SWAPS,
    Clip,
    Floats,
    NoiseGenerator,
    is_negative_allowed,
    merge_clips,
    swap_classes,
    vary_clip,
)
from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import number_parser, parse_items, parse_range
from runtime.native.rules import find_other_class

IDLE = -1
SINGLE_NUMBERS = ("mirror", "reverse", "shift", "turn", "quarter", "cut", "thin", "both", "halo", "noise", "hot")
RANGES = ("stretch", "scale")
BEFORE = ("onset", "rest")  # windows that begin before their segment
KINDS = ("idle", "splice", *BEFORE, *HARD_NEGATIVES)
WINDOW_OPTIONS = (*KINDS, "active")
SHARES = ("mirror", "reverse", "quarter", "cut", "thin", "both", "halo", "noise", *WINDOW_OPTIONS)  # at most 1
RISE_US, FALL_US, HARD_US, ENTER_US, LEAVE_US = 400_000, 300_000, 120_000, 40_000, 80_000
NOISE_PER_S = (200.0, 8_000.0)  # of idle windows, log-uniform, on the whole sensor


def parse_variation(text: str) -> dict[str, tuple[float, ...]]:
    """Parse the text of the option --vary, `mirror:0.5,stretch:0.7-1.5,...`, into the numbers of each setting.

    The PlifError names the fault.
    """
    readers = {
        name: number_parser(0, 1) if name in SHARES else number_parser(0) for name in (*SINGLE_NUMBERS, *WINDOW_OPTIONS)
    } | dict.fromkeys(RANGES, parse_range)
    parsed = parse_items("--vary", text, readers, mark=":", example="mirror:0.5,stretch:0.7-1.5") if text else {}
    values = {name: value if name in RANGES else (value,) for name, value in parsed.items()}
    shares = [values.get(name, (0.0,))[0] for name in KINDS]
    if sum(shares) > 1:
        raise PlifError(f"--vary {text}: {', '.join(KINDS)} add up to {sum(shares):g}, expected 1 at most")
    return values


@dataclass
class LabelledSegment:
    """A labelled segment of a recording: its events, and its class from start_us to end_us.

    background    events a microsecond when the recording is at rest
    upright       the rotation that makes its view upright
    """

    clip: Clip
    label: int
    start_us: float
    end_us: float
    background: float
    upright: str = "identity"


class VariedSegment(NamedTuple):
    """A piece cut from a labelled segment of a recording for a training window, and randomly varied.

    slowdown          the factor by which it was made longer
    class_start_us    the time at which the class begins in it
    end_us            the time at which the recording ends in it
    background        the background rate of the segment, as it was varied
    """

    clip: Clip
    label: int
    slowdown: float
    class_start_us: float
    end_us: float
    background: float


class WindowSampler:
    """A sampler of random time windows for training (`steps` steps of step_us each) from labelled recordings."""

    def __init__(
        self,
        variation: Mapping[str, tuple[float, ...]],
        steps: int,
        step_us: float,
        size: tuple[int, int],
        classes: Sequence[str],
    ) -> None:
        self.variation, self.steps, self.step_us, self.size, self.classes = variation, steps, step_us, size, classes
        other_label = find_other_class(list(classes))
        self.other_label = IDLE if other_label is None else other_label
        if other_label is None and any(kind in variation for kind in HARD_NEGATIVES):
            raise PlifError(
                f"--vary: hard negatives need a class that means none of the others, as 'other', among {', '.join(classes)}"
            )
        if "axes" in variation and size[0] != size[1]:
            raise PlifError(f"--vary axes: needs a square sensor, found {size[0]}x{size[1]}")
        self._swaps = {name: swap_classes(classes, pairs) for name, pairs in SWAPS.items() if name in variation}
        self._noise = NoiseGenerator(size, np.random.default_rng(0))
        self._active = variation.get("active", (0.0,))[0] > 0

    def draw(self, segment: LabelledSegment, rng: np.random.Generator) -> tuple[Clip, npt.NDArray[np.int64]]:
        """Cut a random time window for training: its events, times from 0 on, and labels by step, int64 [steps]."""
        length_us = self.steps * self.step_us
        kind = self._draw_kind(segment, rng)
        labels = np.full(self.steps, IDLE)
        parts = [self._draw_background(length_us, kind, rng)]
        if kind != "idle":
            cut = self._draw_segment(segment, kind, length_us, rng)
            clip, label = cut.clip, cut.label
            if kind in HARD_NEGATIVES:
                clip, label = HARD_NEGATIVES[kind](clip, rng), self.other_label
            t = np.arange(self.steps) * self.step_us
            labels[:] = label
            if kind in BEFORE:
                labels[t < cut.class_start_us] = IGNORE_LABEL
                labels[t + self.step_us <= cut.class_start_us - RISE_US * cut.slowdown] = IDLE
            elif kind == "splice":
                clip = self._splice(clip, labels, t, length_us, rng)
            elif self._active:
                step_numbers = np.minimum(clip.t // self.step_us, self.steps - 1).astype(int)
                rest_events = cut.background * self.step_us
                quiet = rest_events + 4 * np.sqrt(rest_events) + self.step_us / 1_000
                labels[np.bincount(step_numbers, minlength=self.steps)[: self.steps] <= quiet] = IDLE
            if kind in HARD_NEGATIVES or self._active:
                labels[t < HARD_US] = IGNORE_LABEL
            labels[t >= cut.end_us] = IGNORE_LABEL
            parts.append(clip)
        clip = merge_clips(parts)
        keep = (clip.t >= 0) & (clip.t < length_us)
        return clip.pick(keep), labels

    def _draw_kind(self, segment: LabelledSegment, rng: np.random.Generator) -> str:
        drawn = rng.random()
        for name in KINDS:
            drawn -= self.variation.get(name, (0.0,))[0]
            if drawn < 0:
                gesture = segment.label not in (self.other_label, IDLE)
                fits = name in ("idle", "rest") or (gesture and is_negative_allowed(name, self.classes[segment.label]))
                return name if fits else "plain"
        return "plain"

    def _draw_background(self, length_us: float, kind: str, rng: np.random.Generator) -> Clip:
        low, high = NOISE_PER_S
        if kind in ("idle", "splice"):
            per_us = 1e-6 * np.exp(rng.uniform(np.log(low), np.log(high)))
        else:
            per_us = rng.uniform(0, self.variation.get("noise", (0.0,))[0]) * self.size[0] * self.size[1] / 40_000
        clip = self._noise.draw_noise(per_us, length_us, rng)
        return (
            merge_clips([clip, self._noise.draw_hot_pixels(int(self.variation["hot"][0]), length_us, rng)])
            if "hot" in self.variation
            else clip
        )

    def _draw_segment(
        self, segment: LabelledSegment, kind: str, length_us: float, rng: np.random.Generator
    ) -> VariedSegment:
        low, high = self.variation.get("stretch", (1.0, 1.0))
        slow = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        needed_us = length_us / slow
        if kind == "onset":
            begin_us = segment.start_us - rng.uniform(0.2, 0.6) * needed_us
        elif kind == "rest":
            begin_us = max(
                segment.start_us - RISE_US - rng.uniform(0.5, 1.0) * needed_us, min(FALL_US, segment.start_us)
            )
        else:
            begin_us = rng.uniform(segment.start_us, max(segment.end_us - needed_us, segment.start_us))
        first, last = np.searchsorted(segment.clip.t, (begin_us, begin_us + needed_us))
        clip = segment.clip.pick(slice(first, last))
        clip = Clip((clip.t - begin_us) * slow, clip.x, clip.y, clip.p)
        variation = (
            self.variation
            if kind not in BEFORE
            else {name: value for name, value in self.variation.items() if name != "reverse"}
        )
        varied, label = vary_clip(clip, segment.label, variation, self.size, self._swaps, rng)
        floor = segment.background / slow * len(varied) / max(len(clip), 1)
        starts_us, lasts_us = ((time_us - begin_us) * slow for time_us in (segment.start_us, segment.end_us))
        return VariedSegment(varied, label, slow, starts_us, lasts_us, floor)

    def _splice(
        self,
        clip: Clip,
        labels: npt.NDArray[np.int64],
        t: Floats,
        length_us: float,
        rng: np.random.Generator,
    ) -> Clip:
        """Remove the beginning (or the end) of a clip, in whole steps, and correct the labels of the window."""
        cut_us = self.step_us * int(rng.integers(2, max(3, self.steps * 2 // 3)))
        if rng.random() < 0.75:
            labels[t < cut_us] = IDLE
            labels[(t >= cut_us) & (t < cut_us + ENTER_US)] = IGNORE_LABEL
            return clip.pick(clip.t >= cut_us)
        labels[t >= cut_us] = IDLE
        labels[(t >= cut_us) & (t < cut_us + LEAVE_US)] = IGNORE_LABEL
        return clip.pick(clip.t < cut_us)
