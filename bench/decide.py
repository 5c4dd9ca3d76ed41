"""Measures deciding rules: time from onset to label, false alarms and accuracy, for a grid of rules.

    python bench/decide.py digits.onnx 'sim:digits?seed=11&seconds=120' --framing duration:10ms
    python bench/decide.py gesture.onnx 'sim:dvs128-gesture?seed=900&seconds=600' --negatives walking.aedat standing.aedat
    python bench/decide.py gesture.onnx 'sim:dvs128-gesture?seed={901..906}&seconds=40' \\
           --negatives people/*.aedat --negatives 'sim:dvs128-gesture?scene=everyday&seed={1..30}&seconds=60'
    python bench/decide.py ... --plot docs/decide.png --json

The network runs once over each source and its outputs are stored (with `--reset silence:` once for each idle=RATE).
Then every rule is applied to them by the same code that decides in a stream (runtime.stream.stream). The truth of a
source is a list of (t_on_us, t_off_us, label). Sources may hold one {a..b}, which counts, and behind " | " filters of their
own, before those of --filter: 'lying.aedat | rotate:90' stands upright.

    onset to label   from t_on, or from `recognisable_us` where the source has it, to the first decision with the right label
                     within the span; 0 when the label came before that; p50 and p90 over the spans that got the right label;
                     the other spans are counted in `never`. Spans of "other" count for none of these
    changes          of the label from the first right one to the end of its span, median and mean
    accuracy         share of spans in which the right label was shown longer than any other, with its 95 % interval (Wilson)
    false alarms     runs of one label, at least 50 ms long, per minute: in the time without truth (idle: from 300 ms after a
                     span, so that the last answer can fade; an answer that is still there then counts) and on negatives
                     (recordings without any of the classes); and the share of that time in which there is a label. The 95 %
                     interval is Byar's for a Poisson count. Several --negatives are several groups
    idle answers     share of the steps in the time without truth that got any answer, "other" included
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench.decide_plot import plot
from runtime.api import Model
from runtime.events import Frame, open_source
from runtime.events.framing import framing_of
from runtime.events.sources.base import Source
from runtime.native.rules import find_other
from runtime.stream.decide import Decision, Rules
from runtime.stream.observe import Observers
from runtime.stream.options import LIVE_FRAMING, LIVE_RULES
from runtime.stream.source_framer import SourceFramer
from runtime.stream.stream import Stream

GRID = [
    LIVE_RULES[0],
    *(f"leak:{tau}ms,margin={m}" for tau in (50, 80, 120, 200, 400) for m in (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    *(
        f"leak:{tau}ms,margin={m},release={r}"
        for tau in (120, 200, 300)
        for m, r in ((0.2, 0.05), (0.3, 0.1), (0.5, 0.2))
    ),
    *(f"own:{tau}ms,margin={m}" for tau in (80, 120, 160) for m in (0.25, 0.3, 0.4)),
    *(f"kofn:{k}/{n},release=1" for k, n in ((2, 3), (3, 5), (5, 8), (8, 12))),
    *(f"kofn:{k}/{n},margin=0.2,release=1" for k, n in ((2, 3), (3, 5), (5, 8), (8, 12))),
]
FADE_US = 300_000
ALARM_US = 50_000


class Steps(NamedTuple):
    """The network's output for each frame of one source."""

    source: SourceFramer
    frames: list[Frame]
    y: np.ndarray  # [steps, rows, classes]
    truth: list[tuple[int, int, str]]
    since_us: list[int]  # for each span: from when on an answer can be expected


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact")
    parser.add_argument("sources", nargs="+", help="with truth")
    parser.add_argument("--negatives", nargs="+", action="append", default=[])
    parser.add_argument("--framing")
    parser.add_argument("--filter", default=None)
    parser.add_argument("--reset", default="never")
    parser.add_argument(
        "--idle", type=float, default=None, help="events a second, for rules without an idle of their own"
    )
    parser.add_argument("--rules", nargs="+", default=GRID)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--plot", help="a PNG of the trade-off")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = runtime.load(options.artifact, options.engine, threads=1)
    found, live = (framing_of(model.card, one) for one in (options.framing, LIVE_FRAMING))
    framing = str(live if found is None or found.kind == "count" else found)
    groups = [[one for spec in specs for one in count_up(spec)] for specs in (options.sources, *options.negatives)]

    @cache
    def run(stepped_by: str) -> list[list[Steps]]:
        return [
            [step_all(model, framing, *with_filters(one), options.reset, stepped_by) for one in group]
            for group in groups
        ]

    def with_filters(spec: str) -> tuple[Source, str | None]:
        name, _, own = spec.partition(" | ")
        return open_source(name), ",".join(one for one in (own, options.filter) if one) or None

    idle, rows = "" if options.idle is None else f",idle={options.idle:g}", []
    for rule in (rule if ",idle=" in rule else rule + idle for rule in options.rules):
        positive, *negatives = run(stepping(rule, options.reset))
        rows.append(measure(model, rule, options.reset, positive, negatives))
    note = {"sources": options.sources, "framing": framing, "reset": options.reset}
    if options.json:
        print(json.dumps({**note, "rules": rows}, indent=2))
    else:
        show(rows, positive, note)
    if options.plot:
        plot(rows, Path(options.plot), " ".join(options.sources))


def show(rows: list[dict[str, Any]], positive: list[Steps], note: Mapping[str, Any]) -> None:
    spans, steps = sum(len(one.truth) for one in positive), sum(len(one.frames) for one in positive)
    print(f"{' '.join(note['sources'])}, {note['framing']}, reset {note['reset']}, {spans} spans, {steps} steps")
    print(f"{'rule':50}   p50   p90  never     right   changes  idle answers  false labels a minute (share of time)")
    for row in rows:
        false = "  ".join(
            "-"
            if one["per_min"] is None
            else f"{one['per_min']:.2f} [{one['per_min_95'][0]:.2f} {one['per_min_95'][1]:.2f}] ({one['labelled']:.3f})"
            for one in (row["idle"], *row["negatives"])
        )
        right, changes = f"{row['right']}/{row['gestures']}", f"{row['changes_median']:.0f}/{row['changes_mean']:.1f}"
        times = f"{_ms(row['onset_p50_ms']):>6}{_ms(row['onset_p90_ms']):>6}"
        print(f"{row['rule']:50}{times}{row['never']:>7}{right:>10}{changes:>10}{row['idle_answers']:>14.3f}  {false}")


def count_up(spec: str) -> list[str]:
    """ "seed={3..5}" -> "seed=3", "seed=4", "seed=5"."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", spec)
    if not match:
        return [spec]
    return [spec.replace(match[0], str(n)) for n in range(int(match[1]), int(match[2]) + 1)]


def stepping(rule: str, reset: str) -> str:
    """The rule under which the network is stepped for `rule`: idle frames count as silence for the resets."""
    idle = re.search(r",\s*idle=(?!auto)([^,]+)", rule)
    return f"sum,idle={idle[1]}" if idle and reset.startswith("silence") else "sum"


def step_all(model: Model, framing: str, source: Source, filters: str | None, reset: str, rule: str) -> Steps:
    """Runs the network once over a whole source, with the resets that it has under `rule`."""
    frames_of = SourceFramer(source, framing, model.input_shape, filters=filters)
    stream = make_stream(frames_of, rule, reset, model)
    rows = stream.rules.rows
    session = model.session(streams=rows)
    frames, outputs = [], []
    for frame in frames_of:
        stream.before(frame, session, False)
        outputs.append(session.step(np.stack([frame.x] * rows)))
        frame.x, frame.newest = np.zeros(0, np.float32), None  # the frames of an hour would take too much memory
        frames.append(frame)
    truth = list(getattr(source, "truth", []))
    since_us = getattr(source, "recognisable_us", [on for on, _, _ in truth])
    return Steps(frames_of, frames, np.array(outputs), truth, since_us)


def make_stream(source: SourceFramer, rule: str, reset: str, model: Model) -> Stream:
    return Stream("steps", source, 0, Rules(model.classes, model.voters, model.T, rule, reset), model, Observers())


def decide(model: Model, rule: str, reset: str, steps: Steps) -> list[Decision]:
    """Applies a rule to stored outputs."""

    class Nothing:
        def reset(self, rows: Any = None) -> None: ...

        def fade(self, factor: float, rows: Any = None) -> None: ...

    stream = make_stream(steps.source, rule, reset, model)
    decisions = []
    for frame, y in zip(steps.frames, steps.y, strict=True):
        stream.before(frame, Nothing(), False)  # type: ignore[arg-type]
        decisions.append(stream.after(frame, y, {}))
    return decisions


def measure(model: Model, rule: str, reset: str, positive: list[Steps], negatives: list[list[Steps]]) -> dict[str, Any]:
    onsets, changes, never, right, gestures, answered, waited = [], [], 0, 0, 0, 0, 0
    idle = []
    for steps in positive:
        decisions = decide(model, rule, reset, steps)
        gaps = outside(steps.truth)
        idle.append(alarms(decisions, steps.frames, gaps))
        without = [d for d in decisions if any(a <= d.t_us <= b for a, b in gaps)]
        waited, answered = waited + len(without), answered + sum(d.label is not None for d in without)
        t_us = np.array([d.t_us for d in decisions])
        lasts_us = np.diff(t_us, prepend=0)
        for (on_us, off_us, label), since_us in zip(steps.truth, steps.since_us, strict=True):
            if is_other(label):
                continue
            gestures += 1
            span = range(int(np.searchsorted(t_us, on_us, "right")), int(np.searchsorted(t_us, off_us, "right")))
            said = [decisions[i].label for i in span]
            first = next((n for n, one in enumerate(said) if one == label), None)
            if first is None:
                never += 1
            else:
                onsets.append(max(int(t_us[span[first]]) - since_us, 0) / 1e3)
                changes.append(sum(a != b for a, b in pairwise(said[first:])))
            shown: dict[str, int] = {}
            for i, one in zip(span, said, strict=True):
                if one is not None:
                    shown[one] = shown.get(one, 0) + int(lasts_us[i])
            right += bool(shown) and max(shown, key=lambda one: shown[one]) == label
    return {
        "rule": rule,
        "gestures": gestures,
        "onset_p50_ms": _percentile(onsets, 50),
        "onset_p90_ms": _percentile(onsets, 90),
        "onset_p95_ms": _percentile(onsets, 95),
        "never": never,
        "right": right,
        "accuracy": round(right / gestures, 4) if gestures else 0.0,
        "accuracy_95": wilson(right, gestures),
        "changes_median": float(np.median(changes)) if changes else 0.0,
        "changes_mean": round(float(np.mean(changes)), 2) if changes else 0.0,
        "idle_answers": round(answered / waited, 4) if waited else 0.0,
        "idle": _false(idle),
        "negatives": [
            _false([alarms(decide(model, rule, reset, one), one.frames, None) for one in g]) for g in negatives
        ],
    }


def is_other(label: str | None) -> bool:
    """Whether that is a class that means none of the others."""
    return label is not None and find_other([label]) is not None


def _false(found: list[tuple[float, float, int]]) -> dict[str, Any]:
    """False labels of one group, from (seconds, seconds with a label, false labels) of each of its recordings; of no time
    at all there is no rate."""
    seconds, labelled, count = (sum(one[i] for one in found) for i in range(3))
    minutes = seconds / 60
    return {
        "seconds": round(seconds, 1),
        "count": int(count),
        "per_min": round(count / minutes, 3) if minutes else None,
        "per_min_95": [round(one / minutes, 3) for one in poisson_interval(int(count))] if minutes else None,
        "labelled": round(labelled / seconds, 4) if seconds else None,
    }


def poisson_interval(n: int) -> tuple[float, float]:
    """The 95 % interval of the mean of a Poisson count n, by Byar's approximation."""
    z = 1.96
    low = n * (1 - 1 / (9 * n) - z / (3 * n**0.5)) ** 3 if n else 0.0
    high = (n + 1) * (1 - 1 / (9 * (n + 1)) + z / (3 * (n + 1) ** 0.5)) ** 3
    return max(low, 0.0), high


def outside(truth: list[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """The times in us without truth: from FADE_US after each span to the next span, and before the first."""
    ends = [off + FADE_US for _, off, _ in truth]
    begins = [on for on, _, _ in truth]
    gaps = zip([-(1 << 60), *ends], [*begins, 1 << 60], strict=True)
    return [(a, b) for a, b in gaps if a < b]


def alarms(
    decisions: list[Decision], frames: list[Frame], where: list[tuple[int, int]] | None
) -> tuple[float, float, int]:
    """(seconds in all, seconds with a label, runs of one label of at least ALARM_US) within `where`; None is everywhere."""
    seconds, labelled, count, at = 0.0, 0.0, 0, 0
    label: str | None = None
    since_us = 0
    counted = True
    for decision, frame in zip(decisions, frames, strict=True):
        inside = True
        if where is not None:
            while at < len(where) and where[at][1] <= frame.t_start_us:
                at += 1
            inside = at < len(where) and where[at][0] <= frame.t_start_us
        said = None if is_other(decision.label) else decision.label
        if said != label:
            label, since_us, counted = said, frame.t_start_us, False
        if inside:
            lasted_s = (frame.t_end_us - frame.t_start_us) / 1e6
            seconds, labelled = seconds + lasted_s, labelled + lasted_s * (label is not None)
            if label is not None and not counted and frame.t_end_us - since_us >= ALARM_US:
                count, counted = count + 1, True
    return seconds, labelled, count


def wilson(right: int, n: int) -> list[float]:
    """The 95 % interval of a proportion."""
    if n == 0:
        return [0.0, 1.0]
    z, p = 1.96, right / n
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [round(float((middle + sign * half) / (1 + z * z / n)), 4) for sign in (-1, 1)]


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    main()
