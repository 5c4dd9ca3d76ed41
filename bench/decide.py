"""Measures deciding rules: time from onset to label, false alarms and accuracy, for a grid of rules.

    python bench/decide.py digits.onnx 'sim:digits?seed=11&seconds=120' --framing duration:10ms
    python bench/decide.py gesture.onnx 'sim:dvs128-gesture?seed=900&seconds=600' --negatives walking.aedat standing.aedat
    python bench/decide.py ... --plot docs/decide.png --json

The network runs once over each source and its output at every step is stored. Then every rule is applied to the same outputs, by
the same code that decides in a stream (runtime.stream.stream). The truth of a source is a list of (t_on_us, t_off_us, label).

    onset to label   from t_on, or from `recognisable_us` where the source has it, to the first decision with the right label
                     within the span; 0 when the label came before that; p50 and p95 over the spans that got the right label;
                     the other spans are counted in `missed`
    accuracy         share of spans in which the right label was shown longer than any other, with its 95 % interval (Wilson)
    false alarms     runs of one label, at least 50 ms long, per minute: in the time without truth (idle: from 300 ms after a
                     span, so that the last answer can fade; an answer that is still there then counts) and on negatives
                     (recordings without any of the classes); and the share of that time in which there is a label
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from runtime.api import Model
from runtime.events import Frame, open_source
from runtime.events.sources.base import Source
from runtime.stream.decide import Decision, DecisionRule
from runtime.stream.observe import Observers
from runtime.stream.options import LIVE_FRAMING, LIVE_RULES
from runtime.stream.reset import ResetPolicy
from runtime.stream.source_framer import SourceFramer
from runtime.stream.stream import Stream

GRID = [
    *(f"leak:{tau}ms,margin={m}" for tau in (50, 80, 120, 200, 400) for m in (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    *(
        f"leak:{tau}ms,margin={m},release={r}"
        for tau in (120, 200, 300)
        for m, r in ((0.2, 0.05), (0.3, 0.1), (0.5, 0.2))
    ),
    *(f"kofn:{k}/{n},release=1" for k, n in ((2, 3), (3, 5), (5, 8), (8, 12))),
    *(f"kofn:{k}/{n},margin=0.2,release=1" for k, n in ((2, 3), (3, 5), (5, 8), (8, 12))),
]
FADE_US = 300_000
ALARM_US = 50_000
OTHER = ("other", "other gestures", "other_gestures")  # labels that mean none of the classes


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
    parser.add_argument("source", help="one with truth")
    parser.add_argument("--negatives", nargs="*", default=[])
    parser.add_argument("--framing")
    parser.add_argument("--filter", default=None)
    parser.add_argument("--reset", default="never")
    parser.add_argument("--idle", type=float, default=None, help="events a second, added to every rule")
    parser.add_argument("--rules", nargs="*", default=GRID)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--plot", help="a PNG of the trade-off")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = runtime.load(options.artifact, options.engine, threads=1)
    framing = options.framing or model.card["framing"]
    if framing is None or framing.startswith("count"):
        framing = LIVE_FRAMING
    policy = ResetPolicy.parse(options.reset)
    positive = step_all(model, open_source(options.source), framing, options.filter, policy)
    negatives = [step_all(model, open_source(one), framing, options.filter, policy) for one in options.negatives]
    idle = "" if options.idle is None else f",idle={options.idle:g}"
    rows = [measure(model, rule + idle, policy, positive, negatives) for rule in options.rules]
    if options.plot:
        plot(rows, Path(options.plot), options.source)
    if options.json:
        print(
            json.dumps({"source": options.source, "framing": framing, "reset": options.reset, "rules": rows}, indent=2)
        )
        return
    print(
        f"{options.source}, {framing}, reset {options.reset}, {len(positive.truth)} spans, {len(positive.frames)} steps"
    )
    print(f"{'rule':42}{'p50 ms':>8}{'p95 ms':>8}{'missed':>8}{'right':>8}{'idle/min':>10}{'neg/min':>9}")
    for row in rows:
        low, high = row["accuracy_95"]
        negative = (
            "-" if row["false_alarms_negatives_per_min"] is None else f"{row['false_alarms_negatives_per_min']:.2f}"
        )
        print(
            f"{row['rule']:42}{_ms(row['onset_p50_ms']):>8}{_ms(row['onset_p95_ms']):>8}{row['missed']:>8}"
            f"{row['accuracy']:>8.3f}{row['false_alarms_idle_per_min']:>10.2f}{negative:>9}   ({low:.3f}-{high:.3f})"
        )


def step_all(model: Model, source: Source, framing: str, filters: str | None, policy: ResetPolicy) -> Steps:
    """Runs the network once over a whole source, with its resets."""
    frames_of = SourceFramer(source, framing, model.input_shape, filters=filters)
    session = model.session(streams=policy.rows)
    stream = make_stream(frames_of, "sum", policy, model)
    frames, outputs = [], []
    for frame in frames_of:
        stream.before(frame, session, False)
        outputs.append(session.step(np.stack([frame.x] * policy.rows)))
        frame.x = np.zeros(0, np.float32)  # not needed again; the frames of an hour would take too much memory
        frames.append(frame)
    truth = list(getattr(source, "truth", []))
    since_us = getattr(source, "recognisable_us", [on for on, _, _ in truth])
    return Steps(frames_of, frames, np.array(outputs), truth, since_us)


def make_stream(source: SourceFramer, rule: str, policy: ResetPolicy, model: Model) -> Stream:
    return Stream("steps", source, range(policy.rows), DecisionRule.parse(rule), policy, model, Observers())


def decide(model: Model, rule: str, policy: ResetPolicy, steps: Steps) -> list[Decision]:
    """Applies a rule to stored outputs."""

    class Nothing:
        def reset(self, rows: Any = None) -> None: ...

        def fade(self, factor: float, rows: Any = None) -> None: ...

    stream = make_stream(steps.source, rule, policy, model)
    decisions = []
    for frame, y in zip(steps.frames, steps.y, strict=True):
        stream.before(frame, Nothing(), False)  # type: ignore[arg-type]
        decisions.append(stream.after(frame, y, {}))
    return decisions


def measure(model: Model, rule: str, policy: ResetPolicy, positive: Steps, negatives: list[Steps]) -> dict[str, Any]:
    decisions = decide(model, rule, policy, positive)
    t_us = np.array([d.t_us for d in decisions])
    lasts_us = np.diff(t_us, prepend=0)
    onsets, missed, right = [], 0, 0
    for (on_us, off_us, label), since_us in zip(positive.truth, positive.since_us, strict=True):
        span = range(int(np.searchsorted(t_us, on_us, "right")), int(np.searchsorted(t_us, off_us, "right")))
        first = next((decisions[i].t_us for i in span if decisions[i].label == label), None)
        if first is None:
            missed += 1
        else:
            onsets.append(max(first - since_us, 0) / 1e3)
        shown: dict[str, int] = {}
        for i in span:
            if (said := decisions[i].label) is not None:
                shown[said] = shown.get(said, 0) + int(lasts_us[i])
        right += bool(shown) and max(shown, key=lambda said: shown[said]) == label
    spans = len(positive.truth)
    idle_s, idle_labelled_s, idle_alarms = alarms(decisions, positive.frames, outside(positive.truth))
    found = [alarms(decide(model, rule, policy, steps), steps.frames, None) for steps in negatives]
    negative_s, negative_labelled_s, negative_alarms = (sum(one[i] for one in found) for i in range(3))
    return {
        "rule": rule,
        "spans": spans,
        "onset_p50_ms": _percentile(onsets, 50),
        "onset_p95_ms": _percentile(onsets, 95),
        "missed": missed,
        "accuracy": round(right / spans, 4) if spans else None,
        "accuracy_95": wilson(right, spans),
        "idle_seconds": round(idle_s, 1),
        "false_alarms_idle_per_min": round(60 * idle_alarms / idle_s, 3) if idle_s else 0.0,
        "idle_labelled": round(idle_labelled_s / idle_s, 4) if idle_s else 0.0,
        "negative_seconds": round(negative_s, 1),
        "negative_labelled": round(negative_labelled_s / negative_s, 4) if negative_s else None,
        "false_alarms_negatives_per_min": round(60 * negative_alarms / negative_s, 3) if negative_s else None,
    }


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
        said = decision.label if decision.label not in OTHER else None
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


def plot(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Plots false alarms against onset to label. The numbered rules are those that no other rule beats in both."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    negatives = any(row["false_alarms_negatives_per_min"] is not None for row in rows)
    key = "false_alarms_negatives_per_min" if negatives else "false_alarms_idle_per_min"
    rows = [row for row in rows if row["onset_p50_ms"] is not None]
    best = max(row["accuracy"] for row in rows)
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["onset_p50_ms"], row[key], -row["accuracy"])):
        if row["accuracy"] >= best - 0.05 and (not front or row[key] < front[-1][key]):
            front.append(row)
    figure, axis = plt.subplots(figsize=(8, 4.6 + 0.2 * len(front)))
    low = min(row["accuracy"] for row in rows)
    for kind, marker in (("leak", "o"), ("kofn", "s"), ("sum", "^")):
        mine = [row for row in rows if row["rule"].startswith(kind)]
        if mine:
            x, y = [row[key] for row in mine], [row["onset_p50_ms"] for row in mine]
            p95 = [row["onset_p95_ms"] - row["onset_p50_ms"] for row in mine]
            axis.errorbar(x, y, [[0] * len(p95), p95], fmt="none", ecolor="0.85", zorder=0)
            colour = [row["accuracy"] for row in mine]
            dots = axis.scatter(x, y, c=colour, vmin=low, vmax=1, marker=marker, cmap="viridis", label=kind, s=36)
    for row in rows:
        if row["rule"] == LIVE_RULES[0]:
            label = f"{row['rule']}, a feed's default"
            axis.scatter(
                [row[key]], [row["onset_p50_ms"]], marker="o", s=130, facecolor="none", edgecolor="#c2410c", label=label
            )
    for number, row in enumerate(front, 1):
        where = (row[key], row["onset_p50_ms"])
        axis.annotate(str(number), where, fontsize=9, xytext=(-4, 7), textcoords="offset points", weight="bold")
    lines = [
        f"{number:2}  {row['rule']:34}{row['onset_p50_ms']:5.0f} ms {row[key]:6.1f} a minute {100 * row['accuracy']:6.1f} % right"
        for number, row in enumerate(front, 1)
    ]
    axis.set_xlabel(f"false alarms a minute, on {'recordings of none of it' if negatives else 'idle stretches'}")
    axis.set_ylabel("onset to label (ms):\nmedian, line to the 95th percentile")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper right")
    figure.colorbar(dots, ax=axis, label="spans with the right label most of the time")
    axis.set_title(title, fontsize=9)
    figure.supxlabel("\n".join(lines), fontsize=8, family="monospace", x=0.04, ha="left")
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    main()
