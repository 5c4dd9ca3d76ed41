"""Calibration of the decision rule for live streams, which goes into the card of a new artifact (key `decide`).

    f        false labels on negatives, which are h hours of recordings without a gesture of the classes
    allowed  a rule with a rate that is surely small: the 95 % interval of f / h ends at or below the given rate, and with a
             label for at most the given share of the negatives' time, where one is given
    missed   gestures with a label that was not shown for longer than any other label

A gesture follows one of the negatives, as in a feed: the membranes are those at its end, and the rule has decided
about its last second. Every gesture is shown once more right after another one, whose label must give way. Labels shown
before are evidence against it, so a rule or network with a long memory is late. A
rule qualifies if it is allowed and its label stays once it is shown (in the median gesture). The calibration takes
the rule that misses fewest, and the quickest of equals. Each class may get a margin of its own: a smaller one if few
fire. Such margins are used only if they miss fewer gestures and the rule as a whole keeps the rate. Of cusum, the sums get
the lowest ceiling that misses at most one gesture in a hundred more, so that labels end soon. Calibrate on
other recordings than those of training or of the final evaluation: the rule is the best of many on these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.data.dataset import EventSet
from runtime.core.data.recordings import find_recordings
from runtime.core.events import Source, open_source
from runtime.core.events.frame import Frame
from runtime.core.events.framer import Framer
from runtime.core.events.framing import Framing, resolve_framing
from runtime.core.measure.evaluate.samples import DatasetSplit
from runtime.core.stream.source_framer import SourceFramer
from runtime.native.rules import find_other_class
from runtime.observers.calibrate.labels import (
    FalseLabels,
    FeedOutputs,
    poisson_interval,
    run_feed,
)
from runtime.observers.calibrate.search import GRID, IDLE, RESET, Gesture, RuleSearch


@dataclass(frozen=True)
class DecideCalibration:
    """The result of a decision-rule calibration; it is stored in the artifact's metadata card under `decide`.

    rule         a value of --decide
    per_hour     allowed false labels an hour;  at_most_per_hour: the bound that was shown
    false_labels, hours, labelled    on the negatives: their number, and the share of time with one
    gestures, missed, onset_p50_ms, onset_p90_ms: on the positives, missed_next: of `gestures_next` that follow another
    kinds        of each source of negatives: source, seconds, false_labels, labelled
    soft_false_labels, soft_onset_p50_ms, soft_onset_p90_ms   the same numbers for the soft answer
    data, split, negatives, framing   the calibration data, and how its events became frames
    """

    rule: str
    per_hour: float
    at_most_per_hour: float
    false_labels: int
    hours: float
    labelled: float
    gestures: int
    missed: int
    gestures_next: int
    missed_next: int
    onset_p50_ms: float | None
    onset_p90_ms: float | None
    soft_false_labels: int
    soft_onset_p50_ms: float | None
    soft_onset_p90_ms: float | None
    data: str
    split: str
    negatives: list[str]
    framing: str
    kinds: list[dict[str, object]]

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def calibrate_decide(
    model: Model,
    data: str,
    per_hour: float,
    negatives: Sequence[str] = (),
    *,
    split: str = "test",
    limit: int | None = None,
    follow: bool = False,
    labelled: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DecideCalibration:
    """Find the decision rule that misses fewest gestures of a data set with at most `per_hour` false labels an hour.

    per_hour      the most false labels an hour
    labelled      the largest share (0..1) of the time without a gesture that may have a label
    split, limit  of the data set: train or test, and only so many samples
    follow        with two rows, of which the second sees a small figure enlarged
    negatives     recordings, folders of them and simulated sources without a gesture, with numbers as {a..b}; samples
                  of the data set with a class that is none of the gestures are negatives as well

    Raises CheckFailed if no rule can be shown to keep that rate, PlifError if the artifact cannot stream.
    """
    if not 0 < per_hour < 1e6:
        raise PlifError(f"--calibrate-decide {per_hour:g}: expected false labels an hour above 0, e.g. 60")
    framing = resolve_framing(model.card)
    if framing is None or framing.is_offline or model.unrolled:
        raise PlifError(
            f"{model.path}: is no network for feeds (framing {framing}): export the step form with --framing duration:20ms"
        )
    framing = replace(framing, T=None, follow="on" if follow else "off")
    dataset = DatasetSplit(data, split).open(model)
    if not isinstance(dataset, EventSet):
        raise PlifError(f"{data}: holds images, and a feed has events")
    labels = [dataset.label(i) for i in range(len(dataset) if limit is None else min(limit, len(dataset)))]
    other_class = find_other_class(model.classes)
    sources = [(spec, _open_negative(one)) for spec in negatives for one in expand_specs([spec])]
    gestures: list[Gesture] = []
    silent: list[tuple[str, FeedOutputs]] = []
    total = 2 * len(labels) + len(sources) + len(GRID)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    for spec, source in sources:
        outputs = run_feed(model, SourceFramer(source, framing, model.input_shape), RESET)
        if outputs.frames:
            silent.append((spec, outputs))
        advance()
    last: tuple[int, FeedOutputs] | None = None  # the gesture before, and its class
    for number, i in enumerate(sorted(range(len(labels)), key=lambda i: labels[i] != other_class)):
        label = labels[i]
        before = silent[number % len(silent)][1] if silent and label != other_class else None
        shown = _run_sample(model, framing, dataset, i, before)
        advance()
        if shown.frames and label == other_class:
            silent.append((f"{data}, {model.classes[other_class]}", shown))
        elif shown.frames and label is not None:
            gesture = Gesture(replace(shown, end=None), label, shown.frames[0].t_start_us)
            gestures.append(gesture if before is None else gesture.prepend(before))
            if last is not None and last[0] != label:
                second = _run_sample(model, framing, dataset, i, last[1])
                gestures.append(Gesture(second, label, second.frames[0].t_start_us, True).prepend(last[1]))
            last = label, shown
        advance()
    feeds = [outputs for _, outputs in silent]
    search = RuleSearch(model, gestures, feeds, per_hour, labelled)
    search.require_enough(data)
    best = search.find_best(advance)
    soft = search.score_rule(best.rule, soft=True)
    following = sum(gesture.follows for gesture in gestures)
    return DecideCalibration(
        best.rule + IDLE,
        per_hour,
        round(poisson_interval(int(best.false.sum()))[1] / search.hours, 3),
        int(best.false.sum()),
        round(search.hours, 5),
        round(best.labelled, 5),
        len(gestures) - following,
        int(best.missed.sum()) - best.missed_next,
        following,
        best.missed_next,
        best.onset_ms[0],
        best.onset_ms[1],
        int(soft.false.sum()),
        soft.onset_ms[0],
        soft.onset_ms[1],
        data,
        split,
        list(negatives),
        str(framing),
        _count_by_kind(search, best.rule, silent),
    )


def _count_by_kind(search: RuleSearch, rule: str, silent: Sequence[tuple[str, FeedOutputs]]) -> list[dict[str, object]]:
    """Return the false labels of a rule on each kind of negatives, in the order in which they were given."""
    kinds: dict[str, list[FalseLabels]] = {}
    for spec, outputs in silent:
        kinds.setdefault(spec, []).append(search.count_false(rule, outputs))
    return [
        {
            "source": spec,
            "seconds": round(seconds := sum(one.seconds for one in found), 1),
            "false_labels": int(sum(one.counts.sum() for one in found)),
            "labelled": round(sum(one.labelled_s for one in found) / max(seconds, 1e-9), 5),
        }
        for spec, found in kinds.items()
    ]


def expand_specs(specs: Iterable[str]) -> Iterator[str]:
    """Yield source specs: a folder gives its recordings, "seed={3..5}" gives "seed=3", "seed=4" and "seed=5"."""
    for spec in specs:
        match = re.search(r"\{(\d+)\.\.(\d+)\}", spec)
        if match:
            yield from (spec.replace(match[0], str(n)) for n in range(int(match[1]), int(match[2]) + 1))
        elif Path(spec).is_dir():
            yield from find_recordings([spec])
        else:
            yield spec


def _open_negative(spec: str) -> Source:
    """Open a source that shows no gestures (a negative). Raises PlifError if it is endless, or cannot be opened."""
    source = open_source(spec)
    if source.live:
        source.close()
        raise PlifError(f"--negatives {spec}: has no end; expected recordings, and sim:NAME?seconds=..")
    return source


def _run_sample(model: Model, framing: Framing, dataset: EventSet, i: int, before: FeedOutputs | None) -> FeedOutputs:
    """Run the network over a sample from the end state of `before`; an unreadable sample gives no outputs."""
    try:
        recording = dataset.load_recording(i)
    except PlifError:
        return FeedOutputs([], np.zeros(0))
    framer = Framer(framing, model.input_shape, recording.sensor, None, recording.upright)
    return run_feed(model, iterate_frames(framer, recording.events), RESET, before=before)


def iterate_frames(framer: Framer, events: np.ndarray) -> Iterator[Frame]:
    """Yield all frames that a recording's events [N] give, the last ones included."""
    yield from framer.iter_frames(events)
    yield from framer.iter_last_frames()
