"""Chooses a gesture network: gestures however they are seen, and people who make none. Several networks side by side.

    python bench/people.py sim.onnx gesture.onnx --clips folder:CLIPS --motions motions.npz \\
           --people 'neal_walking.aedat?up=bottom' 'standing.aedat?up=right' --plot people.png
    python bench/people.py gesture.onnx --performers 2 --minutes 1      in short, of what plif draws itself

Every network answers live, from a reset on, in the frames that its card asks for, by its card's rule (or --rule). Sets are
made as they are needed, of held-out performers by a seed that trained nothing (SEED); what is not made here is named on the
command line.

    gestures     by 17 performers, 170 windows of 0.8 s: as the set has them (laws 1), as people do them (laws 2), and the
                 same people close by (cut), near, far (4 to 7 m), faint; of laws 2, and of recordings (--clips), the events cut
                 away, 1.5 and 2 times as near, 0.7 times as large, at both sides, at half pace, backwards. Right: the label was
                 shown longer than any other, and for half of the time after it came. With their times shuffled, or one moment
                 again and again, they show no motion: right is "other", or no label. "After people": from the membranes that
                 somebody who means nothing leaves, whose last second the rule has seen; "right after another gesture" likewise
    sessions     gestures out of standing still: from recognisable to the right label, changes after it, from the end of the
                 gesture until the label is gone, answers while idle
    false        runs of one label, 50 ms at least, a minute, and the share of time with one, on people who mean nothing:
                 --motions (held-out actors), moves, everyday people, things, and recordings by --people; arms that are raised
                 and do not gesture, and things that swing, each kind in a row. None of these kinds trained a network
    bare hands   before the lens, with a forearm and no body: two waves and four circles, and hands that make no gesture
    --all        also each distance (a person of 1.75 m is 402 pixels by the distance in m high, of 128 rows), lamps, noise,
                 hot pixels, a tilted camera, two people; performers as those that trained, whose votes for the right class
                 (JSON: `votes`) stand beside those of held-out ones; a camera of 1280x720; and --follow
    "at WxH"     the same people and places before a camera of that size, drawn at that size and seen as `plif stream` shows them
                 by default, in rows of their own (--sensors): the first --larger performers, and of people, moves, raised arms
                 and sessions the same share, since a picture of 640x480 takes ten times as long. Changes, clips, recordings,
                 everyday people, things and the curve are of 128x128 alone

Intervals are 95 %: Wilson's of shares, Byar's of counts. `soft` is the answer given at once. The curve (--plot) has one point
a rule of the grid of `plif eval --calibrate-decide`: false labels an hour on all people, and the share of drawn gestures
(whole, cut, near, far) that are missed after people.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench.decide import Seen, measure_level, see
from bench.metamorphic import Size
from bench.people_shown import (
    CHOSEN_BY,
    CONDITIONS,
    NEAR,
    OF_BOTH,
    SEED,
    SENSORS,
    Case,
    at_size,
    clips,
    drawn,
    hands,
    list_views,
    people,
    sessions,
)
from plif_train.hooks.mixed_windows.variation import SIDES, swap_classes
from runtime.core.base.grammar import parse_size
from runtime.core.base.progress import Progress
from runtime.core.events import open_source
from runtime.core.events.framer import Framer
from runtime.core.events.framing import resolve_framing
from runtime.core.measure.metrics import wilson_interval
from runtime.core.stream.options import LIVE_RULES
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.performers.figure import SENSOR
from runtime.native.rules import find_other_class
from runtime.observers.calibrate.labels import (
    FeedOutputs,
    Labels,
    decide_labels,
    longest_label,
    measure_steps,
    run_feed,
    score_gesture,
)
from runtime.observers.calibrate.rules import iterate_frames
from runtime.observers.calibrate.search import GRID, IDLE, RESET, Gesture


class Judged:
    """One network, and what it gave for all that was shown."""

    def __init__(self, artifact: str, rule: str | None, follow: bool = False) -> None:
        self.model = runtime.load(artifact, threads=1)
        framing = resolve_framing(self.model.card)
        if framing is None or framing.kind == "count" or sorted(self.model.classes) != sorted(CLASSES):
            raise SystemExit(f"{artifact}: expected a network of {', '.join(CLASSES)} with frames that follow a clock")
        self.framing = replace(framing, T=None, follow="on" if follow else "off")
        decide = (follow and self.model.card.get("follow")) or self.model.card.get("decide")
        self.rule = rule or (str(decide["rule"]) if isinstance(decide, dict) else LIVE_RULES[0])
        self.other, self.by_other_arm = find_other_class(self.model.classes), swap_classes(self.model.classes, SIDES)
        self.cases: list[tuple[str, FeedOutputs, int | None]] = []
        self.after: list[tuple[str, Gesture]] = []  # the gestures of the curve, after people, and after one another
        self.last: dict[str, tuple[FeedOutputs, int]] = {}  # of each group the gesture before, and its class
        self.sessions: dict[str, list[Seen]] = {}  # of "", and of each larger sensor " at WxH"
        self.people: dict[str, list[Seen]] = {}

    def show(self, case: Case) -> None:
        right = None if case.right is None else self.model.classes.index(case.right)
        steps = self.step(case.events, case.size)
        # The membranes of thousands would take too much memory.
        self.cases.append((case.group, replace(steps, end=None), right))
        at = at_size(case.size)
        if right is None or case.group not in (f"drawn, {name}{at}" for name in CHOSEN_BY):
            return
        people = next((seen for name, seen in self.people.items() if name == name.partition(" at ")[0] + at), None)
        if people:
            self._show_after(case, right, "after people", people[len(self.cases) % len(people)].steps)
        before, other = self.last.get(case.group, (None, right))
        if before is not None and other != right:
            self._show_after(case, right, "right after another gesture", before)
        if steps.frames:
            self.last[case.group] = steps, right

    def _show_after(self, case: Case, right: int, what: str, before: FeedOutputs) -> None:
        steps = self.step(case.events, case.size, before)
        if steps.frames:
            gesture = Gesture(replace(steps, end=None), right, steps.frames[0].t_start_us)
            self.after.append((f"{case.group}, {what}", gesture.prepend(before)))

    def step(self, events: np.ndarray, size: Size, before: FeedOutputs | None = None) -> FeedOutputs:
        framer = Framer(replace(self.framing, orientation="stored"), self.model.input_shape, size, None, "identity")
        return run_feed(self.model, iterate_frames(framer, events), RESET, before=before)

    def hear(self, spec: str) -> Seen:
        return see(self.model, str(self.framing), open_source(spec), None, RESET, "sum")

    def rights(self, rule: str, soft: bool = False) -> dict[str, list[bool]]:
        """Of each group, whether each answer was right."""
        found: dict[str, list[bool]] = {}
        for group, steps, right in self.cases:
            said = decide_labels(self.model, rule, RESET, steps)[soft]
            if right is None:
                found.setdefault(group, []).append(answer_of(said, steps) in (None, self.other))
                continue
            found.setdefault(group, []).append(is_right(said, steps, right))
            if group.partition(" at ")[0] == NEAR:
                either = any(is_right(said, steps, arm) for arm in (right, self.by_other_arm[right]))
                found.setdefault(f"{group}, by either arm", []).append(either)
        return found

    def votes(self) -> dict[str, float]:
        """Return the mean vote of the right class over the second half of each gesture, of each group; 1: all its voters."""
        found: dict[str, list[float]] = {}
        for group, steps, right in self.cases:
            if right is not None and len(steps.y):
                found.setdefault(group, []).append(float(steps.y[len(steps.y) // 2 :].max(1)[:, right].mean()))
        return {group: float(np.mean(values)) for group, values in found.items()}

    def after_others(self, rule: str) -> dict[str, list[bool]]:
        """Return the gestures of the curve, each after non-gesture motion, and right after another gesture."""
        found: dict[str, list[bool]] = {}
        for group, fed in self.after:
            heard = fed.score(decide_labels(self.model, rule, RESET, fed.steps).firm)
            found.setdefault(group, []).append(heard.right)
        return found

    def false(self, rule: str, groups: Sequence[str]) -> tuple[int, float]:
        """Return the false labels, and the hours, of these groups of people."""
        rows = measure_level(self.model, "firm", [], [], *self._of(rule, groups))["negatives"]
        return sum(row["count"] for row in rows), sum(row["seconds"] for row in rows) / 3600

    def _of(self, rule: str, groups: Sequence[str]) -> tuple[list[list[Seen]], list[list[Labels]]]:
        seen = [self.people[group] for group in groups]
        return seen, [[decide_labels(self.model, rule, RESET, one.steps) for one in group] for group in seen]

    def judge(self) -> dict[str, Any]:
        groups = list(self.people)
        negatives, against = self._of(self.rule, groups)
        levels = {level: measure_level(self.model, level, [], [], negatives, against) for level in Labels._fields}
        shares = {}
        for group, rights in {**self.rights(self.rule), **self.after_others(self.rule)}.items():
            n, right = len(rights), sum(rights)
            shares[group] = {"right": right, "of": n, "share_95": [round(end, 3) for end in wilson_interval(right, n)]}
        for group, votes in self.votes().items():
            shares[group]["votes"] = round(votes, 3)
        false = {
            group: {level: levels[level]["negatives"][i] for level in Labels._fields} for i, group in enumerate(groups)
        }
        sessions = {f"sessions{at}": self._judge_sessions(seen) for at, seen in self.sessions.items()}
        return {"rule": self.rule, "gestures": shares, "sessions": sessions, "false_labels": false}

    def _judge_sessions(self, seen: list[Seen]) -> dict[str, Any]:
        said = [decide_labels(self.model, self.rule, RESET, one.steps) for one in seen]
        levels = {level: measure_level(self.model, level, seen, said, [], []) for level in Labels._fields}
        keep = ("gestures", "right", "never", "changes_median", "changes_mean", "idle_answers")
        times = ("onset_p50_ms", "onset_p90_ms", "end_p50_ms", "end_p90_ms")
        return {name: levels["firm"][name] for name in keep} | {
            f"{level}_{name}": levels[level][name] for level in Labels._fields for name in times
        }

    def curve(self, groups: Sequence[str]) -> list[dict[str, Any]]:
        """Return false labels an hour, and the share of gestures missed after people, by each rule of the grid."""
        points = []
        for rule in dict.fromkeys((self.rule, *(one + IDLE for one in GRID))):
            rights = [
                one
                for group, found in self.after_others(rule).items()
                if group.endswith("after people") and " at " not in group
                for one in found
            ]
            count, hours = self.false(rule, groups)
            points.append({"rule": rule, "per_hour": count / hours, "missed": 1 - sum(rights) / len(rights)})
        return points


def answer_of(said: np.ndarray, steps: FeedOutputs) -> int | None:
    """Return the class that was shown longest, None if none was shown. said int64 [steps]."""
    return longest_label(said.tolist(), measure_steps(steps.frames).tolist())


def is_right(said: np.ndarray, steps: FeedOutputs, right: int) -> bool:
    """Return whether a class was shown longest, and for half of the time after it came. said int64 [steps]."""
    span = (steps.frames[0].t_start_us, steps.frames[-1].t_end_us) if steps.frames else (0, 0)
    return score_gesture(said, steps.frames, span, span[0], right).right


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--clips", help="NAME:DIR, recordings of gestures")
    parser.add_argument("--motions", help="an NPZ of motion capture")
    parser.add_argument(
        "--people", nargs="*", default=[], help="recordings without a gesture; ?up= says how they stand"
    )
    parser.add_argument("--performers", type=int, default=17, help="of 10 gestures each")
    parser.add_argument("--minutes", type=float, default=10, help="of each kind of people who mean nothing")
    parser.add_argument("--sessions", type=int, default=6, help="of 40 s, of each law")
    parser.add_argument(
        "--sensors", nargs="+", help=f"WIDTHxHEIGHT of the cameras; {', '.join(SENSORS)} when not given"
    )
    parser.add_argument("--larger", type=int, default=3, help="performers before a camera that is not 128x128")
    parser.add_argument("--views", nargs="+", help="of gestures; all when not given")
    parser.add_argument("--seed", type=int, default=SEED, help="of everything that is drawn; one that chose nothing")
    parser.add_argument("--rule", help="instead of the cards'")
    parser.add_argument("--follow", action="store_true", help="each network with a view that follows, too")
    parser.add_argument(
        "--all", action="store_true", help="everything: distances, noise, two people, 1280x720, and --follow"
    )
    parser.add_argument("--plot", type=Path, help="a PNG of gestures missed against false labels an hour")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.follow |= options.all
    options.sensors = options.sensors or (*SENSORS, *["1280x720"] * options.all)
    networks = {artifact: Judged(artifact, options.rule) for artifact in options.artifacts}
    networks |= {f"{one}, follow": Judged(one, options.rule, True) for one in options.artifacts if options.follow}
    judged = list(networks.values())
    sizes = [parse_size(f"--sensors {text}", text) for text in options.sensors]
    larger = min(options.larger, options.performers)
    for size in sorted(sizes, key=lambda size: size != SENSOR):
        share, performers = (1.0, options.performers) if size == SENSOR else (larger / options.performers, larger)
        show_all(judged, options, size, performers, share)
    for one in judged:
        if options.people and SENSOR in sizes:
            one.people["recordings"] = [one.hear(spec) for spec in options.people]
    found = {artifact: one.judge() for artifact, one in networks.items()}
    mean_nothing = [
        group for group in judged[0].people if not group.startswith(("things", "swings")) and " at " not in group
    ]
    if options.plot or options.json:
        for artifact, one in networks.items():
            found[artifact]["curve"] = one.curve(mean_nothing)
    if options.plot:
        plot(found, options.plot)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


def show_all(judged: list[Judged], options: argparse.Namespace, size: Size, performers: int, share: float) -> None:
    """Show all networks non-gesture motion, then gestures, then sessions, before a camera of this size."""
    with Progress(f"people{at_size(size)}") as progress:
        for done, (group, events) in enumerate(people(share * options.minutes, options.motions, size, options.seed), 1):
            for one in judged:
                one.people.setdefault(group, []).append(Seen(one.step(events, size), [], []))
            progress.update(done, done + 1)
    views = len(options.views or list_views(options.all)) + (len(CONDITIONS) + 1 if options.all else 0)
    shown, total = (
        [drawn(performers, size, options.all, options.seed, options.views), hands(performers, size, options.seed)],
        performers * (10 * views + 12),
    )
    if size == SENSOR:
        total += performers * 10 * (len(OF_BOTH) + 3)
        if options.clips:
            shown.append(clips(options.clips, judged[0].model, judged[0].framing))
    with Progress(f"gestures{at_size(size)}") as progress:
        for done, case in enumerate((case for cases in shown for case in cases), 1):
            for one in judged:
                one.show(case)
            progress.update(min(done, total), total)
    for one in judged:
        one.sessions[at_size(size)] = [
            one.hear(spec) for spec in sessions(max(1, round(share * options.sessions)), size, options.seed)
        ]


def show(found: dict[str, Any]) -> None:
    """Print the table of docs/gesture-results.md: a column for each network."""
    names, first = list(found), next(iter(found.values()))
    print("| | " + " | ".join(f"{name.replace('.onnx', '')}, `{found[name]['rule']}`" for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")

    def row(title: str, cells: Sequence[str]) -> None:
        print(f"| {title} | " + " | ".join(cells) + " |")

    for group in first["gestures"]:
        mine = [found[name]["gestures"][group] for name in names]
        row(group, ["{} of {} ({:.2f} - {:.2f})".format(one["right"], one["of"], *one["share_95"]) for one in mine])
    for title in first["sessions"]:
        mine = [found[name]["sessions"][title] for name in names]
        row(f"{title}, right of {mine[0]['gestures']}", [f"{one['right']}, never {one['never']}" for one in mine])
        for level in Labels._fields:
            cells = [f"{_ms(one[f'{level}_onset_p50_ms'])} and {_ms(one[f'{level}_onset_p90_ms'])}" for one in mine]
            row(f"{title}: {level} label after onset, p50 and p90, ms", cells)
        cells = [f"{_ms(one['firm_end_p50_ms'])} and {_ms(one['firm_end_p90_ms'])}" for one in mine]
        row(f"{title}: firm label after the end of the gesture, p50 and p90, ms", cells)
        changes = [f"{one['changes_median']:.0f}, {one['changes_mean']:.1f}" for one in mine]
        row(f"{title}: changes after the right label, median and mean", changes)
        row(f"{title}: idle steps with an answer, %", [f"{100 * one['idle_answers']:.1f}" for one in mine])
    for group in first["false_labels"]:
        for level in Labels._fields:
            mine = [found[name]["false_labels"][group][level] for name in names]
            cells = [
                "{:.2g} ({:.2g} - {:.2g}), {:.1f} %".format(one["per_min"], *one["per_min_95"], 100 * one["labelled"])
                for one in mine
            ]
            row(f"{group}, {mine[0]['seconds'] / 60:.1f} min: false {level} labels a minute, share of time", cells)


def plot(found: dict[str, Any], path: Path) -> None:
    """Misses against false labels an hour: what no rule of the network beats; a ring is its own rule."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2))
    for artifact, one in found.items():
        points = sorted((point["per_hour"], point["missed"]) for point in one["curve"])
        front = [point for i, point in enumerate(points) if point[1] < min((p[1] for p in points[:i]), default=2)]
        x, y = zip(*front, strict=True)
        (line,) = axis.step(
            [max(value, 1) for value in x],
            [100 * value for value in y],
            where="post",
            label=Path(artifact).name.replace(".onnx", ""),
        )
        mine = one["curve"][0]
        axis.plot(max(mine["per_hour"], 1), 100 * mine["missed"], "o", mfc="none", color=line.get_color(), ms=9)
    axis.set_xscale("log")
    axis.set_ylim(0, 100)
    axis.set_xlabel("false labels an hour, on people who mean nothing")
    axis.set_ylabel("drawn gestures missed, %")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    main()
