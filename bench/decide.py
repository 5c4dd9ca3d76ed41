"""Measures deciding rules: time from onset to label, false alarms and accuracy, for a grid of rules.

    python bench/decide.py digits.onnx 'sim:digits?seed=11&seconds=120' --framing duration:10ms
    python bench/decide.py gesture.onnx 'sim:dvs128-gesture?seed=900&seconds=600' --negatives walking.aedat standing.aedat
    python bench/decide.py gesture.onnx 'sim:dvs128-gesture?seed={901..906}&seconds=40' \\
           --negatives people/*.aedat --negatives 'sim:dvs128-gesture?scene=everyday&seed={1..30}&seconds=60'
    python bench/decide.py ... --plot docs/decide.png --json

The network runs once over each source and its outputs are stored (with `--reset silence:` once for each idle=RATE).
Then every rule is applied to them by the same code that decides in a stream (runtime.observers.calibrate.labels). The truth of a
source is a list of (t_on_us, t_off_us, label). Sources may hold one {a..b}, which counts, and behind " | " filters of their
own, before those of --filter; 'lying.aedat?up=left' says on which side of the stored picture heads are.

    onset to label   from t_on, or from `recognisable_us` where the source has it, to the first decision with the right label
                     within the span; 0 when the label came before that; p50 and p90 over the spans that got the right label;
                     the other spans are counted in `never`. Spans of "other" count for none of these
    changes          of the label from the first right one to the end of its span, median and mean
    accuracy         share of spans in which the right label was shown longer than any other, with its 95 % interval (Wilson)
    false alarms     runs of one label, at least 50 ms long, per minute: in the time without truth (idle: from 300 ms after a
                     span, so that the last answer can fade; an answer that is still there then counts) and on negatives
                     (recordings without any of the classes); and the share of that time in which there is a label. The 95 %
                     interval is Byar's for a Poisson count. Several --negatives are several groups
    soft             the same of the soft answer, that is given at once (--json has all of it)
    idle answers     share of the steps in the time without truth that got any answer, "other" included
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench.decide_plot import plot
from runtime.core.api import Model
from runtime.core.events import open_source
from runtime.core.events.framing import resolve_framing
from runtime.core.events.sources.base import Source
from runtime.core.measure.metrics import wilson_interval
from runtime.core.stream.options import LIVE_FRAMING, LIVE_RULES
from runtime.core.stream.source_framer import SourceFramer
from runtime.native.rules import find_other_class
from runtime.observers.calibrate.labels import (
    FalseLabels,
    FeedOutputs,
    GestureScore,
    Labels,
    Span,
    count_false_labels,
    decide_labels,
    poisson_interval,
    run_feed,
    score_gesture,
)
from runtime.observers.calibrate.rules import expand_specs
from runtime.observers.calibrate.search import GRID as ANY_NETWORK

GRID = [
    LIVE_RULES[0],
    *ANY_NETWORK,
    *(
        f"leak:{tau}ms,margin={m},release={r}"
        for tau in (120, 200, 300)
        for m, r in ((0.2, 0.05), (0.3, 0.1), (0.5, 0.2))
    ),
    *(f"kofn:{k}/{n},release=1" for k, n in ((2, 3), (3, 5), (5, 8), (8, 12))),
    *(f"kofn:{k}/{n},margin=0.2,release=1" for k, n in ((2, 3), (3, 5), (5, 8), (8, 12))),
]
FADE_US = 300_000


class Seen(NamedTuple):
    """One source: what the network gave for each frame, its gestures, and for each from when on an answer can be expected."""

    steps: FeedOutputs
    truth: list[tuple[int, int, str]]
    since_us: list[int]


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
    found, live = (resolve_framing(model.card, one) for one in (options.framing, LIVE_FRAMING))
    framing = str(live if found is None or found.kind == "count" else found)
    groups = [list(expand_specs(specs)) for specs in (options.sources, *options.negatives)]

    @cache
    def run(stepped_by: str) -> list[list[Seen]]:
        return [
            [see(model, framing, *with_filters(one), options.reset, stepped_by) for one in group] for group in groups
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


def show(rows: list[dict[str, Any]], positive: list[Seen], note: Mapping[str, Any]) -> None:
    spans, steps = sum(len(one.truth) for one in positive), sum(len(one.steps.frames) for one in positive)
    print(f"{' '.join(note['sources'])}, {note['framing']}, reset {note['reset']}, {spans} spans, {steps} steps")
    print(
        f"{'rule':50}   p50   p90  end p50 p90  never     right   changes  idle answers  false labels a minute (share of time)"
    )
    for row in rows:
        false = "  ".join(
            "-"
            if one["per_min"] is None
            else f"{one['per_min']:.2f} [{one['per_min_95'][0]:.2f} {one['per_min_95'][1]:.2f}] ({one['labelled']:.3f})"
            for one in (row["idle"], *row["negatives"])
        )
        right, changes = f"{row['right']}/{row['gestures']}", f"{row['changes_median']:.0f}/{row['changes_mean']:.1f}"
        times = f"{_ms(row['onset_p50_ms']):>6}{_ms(row['onset_p90_ms']):>6}"
        ends = f"{_ms(row['end_p50_ms']):>7}{_ms(row['end_p90_ms']):>6}"
        print(
            f"{row['rule']:50}{times}{ends}{row['never']:>7}{right:>10}{changes:>10}{row['idle_answers']:>14.3f}  {false}"
        )
    print("soft:")
    for row in rows:
        soft = row["soft"]
        times = f"{_ms(soft['onset_p50_ms']):>6}{_ms(soft['onset_p90_ms']):>6}"
        false = "  ".join("-" if one["per_min"] is None else f"{one['per_min']:.2f}" for one in soft["negatives"])
        print(f"{row['rule']:50}{times}{soft['never']:>7}{soft['right']:>10}{'':24}  {false}")


def stepping(rule: str, reset: str) -> str:
    """Return the rule under which the network is stepped for `rule`: idle frames count as silence for the resets."""
    idle = re.search(r",\s*idle=(?!auto)([^,]+)", rule)
    return f"sum,idle={idle[1]}" if idle and reset.startswith("silence") else "sum"


def see(model: Model, framing: str, source: Source, filters: str | None, reset: str, rule: str) -> Seen:
    """Run the network once over a whole source, with the resets of `rule`."""
    steps = run_feed(model, SourceFramer(source, framing, model.input_shape, filters=filters), reset, rule)
    truth = list(getattr(source, "truth", []))
    return Seen(steps, truth, getattr(source, "recognisable_us", [on for on, _, _ in truth]))


def measure(model: Model, rule: str, reset: str, positive: list[Seen], negatives: list[list[Seen]]) -> dict[str, Any]:
    """One rule, by its firm answer and, under "soft", by the soft one."""
    said = [decide_labels(model, rule, reset, one.steps) for one in positive]
    against = [[decide_labels(model, rule, reset, one.steps) for one in group] for group in negatives]
    rows = [measure_level(model, level, positive, said, negatives, against) for level in Labels._fields]
    return {"rule": rule, **rows[0], "soft": rows[1]}


def measure_level(
    model: Model,
    level: str,
    positive: list[Seen],
    said: list[Labels],
    negatives: list[list[Seen]],
    against: list[list[Labels]],
) -> dict[str, Any]:
    heard: list[GestureScore] = []
    answered, waited, idle = 0, 0, []

    def false(one: Seen, labels: Labels, where: list[Span] | None) -> FalseLabels:
        return count_false_labels(getattr(labels, level), one.steps.frames, len(model.classes), other, where)

    other, numbers = find_other_class(model.classes), {name: i for i, name in enumerate(model.classes)}
    for one, labels in zip(positive, said, strict=True):
        gaps, mine = outside(one.truth), getattr(labels, level)
        idle.append(false(one, labels, gaps))
        t_us = np.array([frame.t_end_us for frame in one.steps.frames])
        without = np.any([(a <= t_us) & (t_us <= b) for a, b in gaps], axis=0)
        waited, answered = waited + int(without.sum()), answered + int((mine[without] >= 0).sum())
        for (on_us, off_us, label), since_us in zip(one.truth, one.since_us, strict=True):
            if find_other_class([label]) is None:
                number = numbers.get(label, len(numbers))  # of a class that the network does not know: never said
                heard.append(score_gesture(mine, one.steps.frames, (on_us, off_us), since_us, number))
    onsets = [one.onset_ms for one in heard if one.onset_ms is not None]
    changes = [one.changes for one in heard if one.onset_ms is not None]
    ends = [one.end_ms for one in heard if one.end_ms is not None]
    right = sum(one.right for one in heard)
    return {
        "gestures": len(heard),
        "onset_p50_ms": _percentile(onsets, 50),
        "onset_p90_ms": _percentile(onsets, 90),
        "onset_p95_ms": _percentile(onsets, 95),
        "end_p50_ms": _percentile(ends, 50),
        "end_p90_ms": _percentile(ends, 90),
        "never": len(heard) - len(onsets),
        "right": right,
        "accuracy": round(right / len(heard), 4) if heard else 0.0,
        "accuracy_95": [round(end, 4) for end in wilson_interval(right, len(heard))],
        "changes_median": float(np.median(changes)) if changes else 0.0,
        "changes_mean": round(float(np.mean(changes)), 2) if changes else 0.0,
        "idle_answers": round(answered / waited, 4) if waited else 0.0,
        "idle": _false(idle),
        "negatives": [
            _false([false(one, labels, None) for one, labels in zip(group, mine, strict=True)])
            for group, mine in zip(negatives, against, strict=True)
        ],
    }


def _false(found: list[FalseLabels]) -> dict[str, Any]:
    """Return the rate of false labels of a group from those of its recordings; None if no time was recorded."""
    seconds, labelled = sum(one.seconds for one in found), sum(one.labelled_s for one in found)
    count, minutes = int(sum(one.counts.sum() for one in found)), seconds / 60
    return {
        "seconds": round(seconds, 1),
        "count": count,
        "per_min": round(count / minutes, 3) if minutes else None,
        "per_min_95": [round(one / minutes, 3) for one in poisson_interval(count)] if minutes else None,
        "labelled": round(labelled / seconds, 4) if seconds else None,
    }


def outside(truth: list[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """Return the times in us without truth: from FADE_US after each span to the next span, and before the first."""
    ends = [off + FADE_US for _, off, _ in truth]
    begins = [on for on, _, _ in truth]
    gaps = zip([-(1 << 60), *ends], [*begins, 1 << 60], strict=True)
    return [(a, b) for a, b in gaps if a < b]


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    main()
