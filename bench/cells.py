"""How a cell of a larger sensor should light: its nearest pixel, all its pixels, or K distinct ones. At equal false labels.

    python bench/cells.py gesture-people.onnx --sensor 640x480 --performers 3 --minutes 2 --json

The network sees 128x128 cells; a cell of 640x480 has 14 pixels. `nearest` is what `plif stream` does: the pixel nearest to the
middle of each cell. K=1 is any pixel (resize=sum, value=binary). Events of windows of held-out performers (bench/people_shown.py:
whole and far) and of people who mean nothing (moves) get noise of --noise events a second and pixel. A row: gestures right, and
false labels a minute, by the rule of the card; then by the rule of the grid that misses fewest with at most as many false labels
as `nearest` has by the card's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.people import Judged, is_right
from bench.people_shown import SECONDS, SEED, VIEWS, Size, cut_windows, noise, to_clip
from plif_train.hooks.mixed_windows.samples import clip_to_events
from runtime.core.base.grammar import parse_size
from runtime.core.base.progress import Progress
from runtime.core.events.frame import Frame
from runtime.core.events.framer import Framer
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.gesture_sim.simulate_gesture import record_performer
from runtime.datasets.performers.schedule import OTHER
from runtime.observers.calibrate.labels import FeedOutputs, count_false_labels, decide_labels, run_feed
from runtime.observers.calibrate.rules import iterate_frames
from runtime.observers.calibrate.search import GRID, IDLE, RESET

WINDOW_US = 40_000
SIDE = 128  # of the network's picture


def light_cells(events: np.ndarray, size: Size, k: int, end_us: int) -> np.ndarray:
    """Return the picture float32 [2, 128, 128] of the 40 ms before end_us: 1 where K distinct pixels of a cell fired.

    events [N] in order of time. The cells divide the middle square of the sensor.
    """
    t = events["t"]
    mine = events[np.searchsorted(t, end_us - WINDOW_US) : np.searchsorted(t, end_us)]
    side, left, top = min(size), (size[0] - min(size)) // 2, (size[1] - min(size)) // 2
    x, y = mine["x"].astype(np.int64) - left, mine["y"].astype(np.int64) - top
    inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
    x, y, p = x[inside], y[inside], mine["p"][inside].astype(np.int64)
    pixels = np.unique((p * side + y) * side + x)
    p, y, x = pixels // (side * side), pixels // side % side, pixels % side
    cells = (p * SIDE + y * SIDE // side) * SIDE + x * SIDE // side
    counts = np.bincount(cells, minlength=2 * SIDE * SIDE).reshape(2, SIDE, SIDE)
    return (counts >= k).astype(np.float32)


def show(judged: Judged, events: np.ndarray, size: Size, k: int | None) -> FeedOutputs:
    """Run the network over a recording whose cells light by K pixels, or by the nearest one (None)."""
    framing = replace(judged.framing, orientation="stored")
    frames = iterate_frames(Framer(framing, judged.model.input_shape, size, None, "identity"), events)

    def lit() -> Iterator[Frame]:
        for frame in frames:
            if k is not None:
                frame.x = light_cells(events, size, k, frame.t_end_us)
            yield frame

    return replace(run_feed(judged.model, lit(), RESET), end=None)


def record_all(
    size: Size, performers: int, minutes: float
) -> tuple[list[tuple[str, np.ndarray, int]], list[np.ndarray]]:
    """Return windows (view, events, class) of whole and far people, and recordings of people who mean nothing."""
    windows, nothing = [], []
    with Progress("drawing") as progress:
        count = max(1, round(60 * minutes / SECONDS["moves"]))
        for view in ("laws 2", "far"):
            for number in range(performers):
                events, rows = record_performer(SEED, "test", number, "windows", replace(VIEWS[view], size=size))
                for gesture, mine in cut_windows(events, rows):
                    if gesture != OTHER:
                        windows.append((view.replace("laws 2", "whole"), mine, gesture))
                progress.update(len(windows), 20 * performers + count)
        for number in range(count):
            staging = replace(VIEWS["laws 2"], view="mixed", size=size)
            nothing.append(record_performer(SEED, "test", number, "moves", staging)[0])
            progress.update(len(windows) + len(nothing), 20 * performers + count)
    return windows, nothing


def add_noise(events: np.ndarray, hz: float, size: Size, seed: int) -> np.ndarray:
    return clip_to_events(noise(hz)(to_clip(events), np.random.default_rng(seed), size), size)


def score(
    judged: Judged, rule: str, shown: Sequence[tuple[str, FeedOutputs, int]], quiet: Sequence[FeedOutputs]
) -> dict[str, Any]:
    """Return the gestures right of each view, and false labels a minute, of one rule."""
    right: dict[str, int] = {}
    for view, steps, gesture in shown:
        said = decide_labels(judged.model, rule, RESET, steps).firm
        right[view] = right.get(view, 0) + is_right(said, steps, gesture)
    found = [
        count_false_labels(
            decide_labels(judged.model, rule, RESET, steps).firm, steps.frames, len(CLASSES), judged.other
        )
        for steps in quiet
    ]
    minutes = sum(one.seconds for one in found) / 60
    return {
        "rule": rule,
        "right": right,
        "false_per_min": round(sum(int(one.counts.sum()) for one in found) / minutes, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact")
    parser.add_argument("--sensor", default="640x480")
    parser.add_argument("--performers", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 1.0, 5.0])
    parser.add_argument("--pixels", type=int, nargs="+", default=[1, 2, 3, 4, 8], help="K")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    judged, size = Judged(options.artifact, None), parse_size(f"--sensor {options.sensor}", options.sensor)
    windows, nothing = record_all(size, options.performers, options.minutes)
    rows = []
    for hz in options.noise:
        limit = None
        for k in (None, *options.pixels):
            shown = [
                (view, show(judged, add_noise(events, hz, size, i), size, k), gesture)
                for i, (view, events, gesture) in enumerate(windows)
            ]
            quiet = [show(judged, add_noise(events, hz, size, 7 + i), size, k) for i, events in enumerate(nothing)]
            mine = score(judged, judged.rule, shown, quiet)
            limit = mine["false_per_min"] if limit is None else limit
            tried = [score(judged, rule + IDLE, shown, quiet) for rule in GRID]
            allowed = [one for one in tried if one["false_per_min"] <= limit]
            best = max(allowed, key=lambda one: sum(one["right"].values()), default=None)
            cells = "nearest" if k is None else f"K={k}"
            rows.append({"noise_hz": hz, "cell": cells, **mine, "at_most": limit, "best": best})
            if not options.json:
                of = len(windows) // 2
                print(
                    f"{hz:g} Hz  {cells:8} {mine['right']} of {of}, {mine['false_per_min']} a minute; at most {limit}: {best}"
                )
    if options.json:
        print(json.dumps({"sensor": options.sensor, "windows": len(windows), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
