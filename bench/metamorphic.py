"""Measure how a gesture network's answer follows changes of its recordings.

    python bench/metamorphic.py gesture.onnx --data dvs128-gesture:gestures --limit 168
    python bench/metamorphic.py gesture.onnx --data folder:clips --each

Each recording is streamed from reset, as in evaluation (votes summed up over all of it), once for each change. `expected` is the
share of answers that are the label that the change leaves (mirrored: the mirrored class), `unchanged` of those that are still the
recording's own label, `other` of those that say none of the gestures or nothing, `rate` the mean firing rate of the label's own
voters; `--each` gives every recording's answer and rate, too. "body cut away" keeps what is above 20 pixels (of a picture of 128)
below the median row of a recording's events: hands and head, as somebody is seen behind a desk. For changes that leave no motion
(shuffled, frozen) or another one (axes exchanged: waves, drums and guitar only) nothing but "other" is expected. Recordings of
"other" are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from plif_train.hooks.mixed_windows.samples import clip_to_events
from plif_train.hooks.mixed_windows.variation import (
    HARD_NEGATIVES,
    SWAPS,
    Clip,
    cut_below_hands,
    is_negative_allowed,
    swap_classes,
)
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.data import open_dataset
from runtime.core.data.dataset import EventSet
from runtime.core.engines.session import to_spike_counts
from runtime.core.events import make_frames
from runtime.core.events.framer import UPRIGHT
from runtime.core.events.framing import Framing, resolve_framing
from runtime.native.rules import find_other_class, make_view_tables

Size = tuple[int, int]  # (width, height) of the sensor
Change = Callable[[Clip, np.random.Generator, Size], Clip]


def _about_the_middle(factor: float) -> Change:
    def change(clip: Clip, _: np.random.Generator, size: Size) -> Clip:
        cx, cy = (size[0] - 1) / 2, (size[1] - 1) / 2
        return Clip(clip.t, cx + factor * (clip.x - cx), cy + factor * (clip.y - cy), clip.p)

    return change


def _hard(kind: str) -> Change:
    return lambda clip, rng, _: HARD_NEGATIVES[kind](clip, rng)


NO_GESTURE = {"shuffled": "shuffle", "frozen": "freeze", "axes exchanged": "axes"}
CHANGES: dict[str, Change] = {
    "as it is": lambda clip, *_: clip,
    "mirrored": lambda clip, _, size: Clip(clip.t, size[0] - 1 - clip.x, clip.y, clip.p),
    "16 pixels left": lambda clip, *_: Clip(clip.t, clip.x - 16, clip.y, clip.p),
    "16 pixels right": lambda clip, *_: Clip(clip.t, clip.x + 16, clip.y, clip.p),
    "0.7 times as large": _about_the_middle(0.7),
    "1.3 times as large": _about_the_middle(1.3),
    "1.5 times as slow": lambda clip, *_: Clip(clip.t * 1.5, clip.x, clip.y, clip.p),
    "1.5 times as fast": lambda clip, *_: Clip(clip.t / 1.5, clip.x, clip.y, clip.p),
    "30 % of the events": lambda clip, rng, _: clip.pick(rng.random(len(clip)) < 0.3),
    "10 % of the events": lambda clip, rng, _: clip.pick(rng.random(len(clip)) < 0.1),
    "ON and OFF exchanged": lambda clip, *_: Clip(clip.t, clip.x, clip.y, ~clip.p),
    "body cut away": lambda clip, _, size: cut_below_hands(clip, size),
    **{name: _hard(kind) for name, kind in NO_GESTURE.items()},
}


def as_seen(events: np.ndarray, size: Size, upright: str, framing: Framing) -> Clip:
    """Return a recording in the view of the framing: left is left, however the format stores it."""
    of_x, of_y, _ = make_view_tables(str(framing), (1, size[1], size[0]), size, UPRIGHT.index(upright))
    y, x = np.divmod(of_x[events["x"]] + of_y[events["y"]], size[0])
    return Clip((events["t"] - events["t"][0]).astype(float), x.astype(float), y.astype(float), events["p"])


def firing(model: Model, clip: Clip, size: Size, framing: Framing) -> np.ndarray:
    """Return the firing rate of each class's voters over the whole clip, float64 [classes]; the clip is not turned."""
    session, steps = model.session(), 0
    votes = np.zeros(len(model.classes))
    for frame in make_frames(
        clip_to_events(clip, size), replace(framing, orientation="stored"), model.input_shape, size
    ):
        votes += to_spike_counts(session.step(frame[None])[0], model.voters)
        steps += 1
    return votes / max(steps * model.voters, 1)


def mirror_of(classes: list[str]) -> list[int] | None:
    """Return the mirrored class of each class; None, with a note, if one has no counterpart."""
    try:
        return swap_classes(classes, SWAPS["mirror"])
    except PlifError as error:
        print(f"note: not mirrored: {error}", file=sys.stderr)
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact")
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--each", action="store_true", help="every recording's answer, too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = runtime.load(options.artifact, threads=1)
    framing = resolve_framing(model.card) or Framing.parse("duration:40ms")
    data = open_dataset(options.data, framing=framing, shape=model.input_shape, classes=model.classes)
    if not isinstance(data, EventSet):
        raise SystemExit(f"{options.data}: holds no events")
    mirrored = mirror_of(model.classes)
    other = {find_other_class(model.classes), None}
    seen: dict[str, list[tuple[bool, bool, bool, float]]] = {name: [] for name in CHANGES}
    each = []
    draws = {name: np.random.default_rng(0) for name in CHANGES}
    for i in range(min(options.limit or len(data), len(data))):
        label = data.label(i)
        if label in other:
            continue
        events, size, upright = data.recording(i)
        clip = as_seen(events, size, upright, framing)
        for name, change in CHANGES.items():
            wanted: set[int | None] = {label}
            if name in NO_GESTURE:
                if not is_negative_allowed(NO_GESTURE[name], model.classes[label]):
                    continue
                wanted = other
            elif name == "mirrored":
                if mirrored is None:
                    continue
                wanted = {mirrored[label]}
            rates = firing(model, change(clip, draws[name], size), size, framing)
            found = int(rates.argmax()) if rates.any() else None
            rate = round(float(rates[label]), 3)
            seen[name].append((found in wanted, found == label, found in other, rate))
            said = None if found is None else model.classes[found]
            each.append({"recording": i, "label": model.classes[label], "change": name, "answer": said, "rate": rate})
    rows = []
    for name, answers in seen.items():
        if not answers:
            continue
        shares = [round(float(share), 3) for share in np.mean(answers, axis=0)]
        named = dict(zip(("expected", "unchanged", "other", "rate"), shares, strict=True))
        rows.append({"change": name, "recordings": len(answers), **named})
    if options.json:
        told = {"artifact": options.artifact, "data": options.data.partition(":")[0], "rows": rows}
        print(json.dumps({**told, "each": each} if options.each else told, indent=2))
        return
    print(f"{'change':24}{'recordings':>11}{'expected':>10}{'unchanged':>11}{'other':>8}{'rate':>7}")
    for row in rows:
        shown = f"{row['expected']:>10}{row['unchanged']:>11}{row['other']:>8}{row['rate']:>7}"
        print(f"{row['change']:24}{row['recordings']:>11}{shown}")
    for one in each if options.each else ():
        print(f"{one['change']:24}{one['label']:>24}: {one['answer'] or '-'}, rate {one['rate']}")


if __name__ == "__main__":
    main()
