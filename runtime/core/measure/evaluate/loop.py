"""The loop of an evaluation: samples are read and run, a batch at a time, and become predictions.

A part may do it with several workers. What it hears is the loop: how many samples of what, and who is told how far it is.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event

from runtime.core.api import Model
from runtime.core.base.errors import Interrupted, PlifError, PlifWarning
from runtime.core.base.latency import Latencies
from runtime.core.data import Dataset
from runtime.core.data.dataset import UNKNOWN
from runtime.core.engines.session import Session
from runtime.core.engines.unrolled import open_session
from runtime.core.events.fit import likeness
from runtime.core.measure.evaluate.batches import MOST_TRACED, Exits, Trace, run_batch, trace_of
from runtime.core.measure.evaluate.census import Census
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.evaluate.samples import Reading, SampleSource, read_samples
from runtime.core.measure.metrics import list_sha256, wilson
from runtime.core.measure.options import RunOptions
from runtime.core.stream.decide import NOT_SURE

Progress = Callable[[int, int, str], None]  # (done, of, a note beside the bar)
Consume = Callable[[Iterator[Prediction]], object]
USUAL = 16  # samples in a batch
MOST_NOTES = 20


@dataclass
class Outcome:
    """What was found of some samples.

    predictions  of each of them, in order
    rates   {layer: (sum of firing rates, how many)};  calls: times of the engine's calls, ms;  notes: what readers remarked
    traces  of the first samples of the set
    """

    predictions: list[Prediction] = field(default_factory=list)
    rates: dict[str, tuple[float, int]] = field(default_factory=dict)
    calls: Latencies = field(default_factory=Latencies)
    notes: list[str] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Adds what was found of further samples, but for their predictions. Each note is kept once, and MOST_NOTES in all."""
        self.add_rates(other.rates)
        self.calls.add_counts(other.calls.counts())
        self.notes = list(dict.fromkeys([*self.notes, *other.notes]))[:MOST_NOTES]
        self.traces += other.traces

    def add_rates(self, rates: Mapping[str, Sequence[float]]) -> None:
        for layer, (total, count) in rates.items():
            before = self.rates.get(layer, (0.0, 0))
            self.rates[layer] = (before[0] + total, before[1] + int(count))

    def mean_rates(self) -> dict[str, float]:
        """{layer: firing rate (0..1), the mean over steps and samples}."""
        return {layer: total / count for layer, (total, count) in self.rates.items()}


@dataclass
class Tally:
    """Samples that are done, those of them that were answered rightly, and those that could not be read."""

    samples: int = 0
    right: int = 0
    unreadable: int = 0

    def add(self, more: Tally) -> None:
        self.samples, self.right = self.samples + more.samples, self.right + more.right
        self.unreadable += more.unreadable


def count(predictions: Iterable[Prediction]) -> Tally:
    """How many there are, and of what kind."""
    found = Tally()
    for one in predictions:
        found.add(Tally(1, int(one.error is None and one.predicted == one.truth), int(one.error is not None)))
    return found


@dataclass
class Loop:
    """An evaluation of the first `count` of `dataset`, which is `samples` opened.

    exits       who ends samples early; None: every sample takes all its steps
    min_margin  with which a label must lead, a share of all possible votes
    keep        where a part may keep what is done, None: nowhere;  keeper: what a user types for that
    progress    hears (done, of, a note) after every batch
    batch, workers, lanes   with which it runs: samples at once, processes, and batches at once in the only process
    done, before   how far it is, and how far it was when it was begun;  seconds: that it took
    census      what the predictions say together
    kept        what an interrupt leaves, in words
    """

    model: Model
    samples: SampleSource
    dataset: Dataset
    count: int
    how: RunOptions
    keep: Path | None
    keeper: str
    exits: Exits | None = None
    min_margin: float = 0.0
    progress: Progress | None = None
    batch: int = USUAL
    workers: int = 1
    lanes: int = 1
    done: Tally = field(default_factory=Tally)
    before: int = 0
    seconds: float = 0.0
    kept: str = "nothing is kept"

    def __post_init__(self) -> None:
        self.census = Census(likeness(self.model.card))

    @cached_property
    def data_sha256(self) -> str:
        """The SHA-256 of which samples these are (runtime.core.measure.metrics.list_sha256)."""
        entries = ((self.dataset.path(i), self.dataset.label(i)) for i in range(self.count))
        return list_sha256(entries, self.samples.place)

    @property
    def throughput_per_s(self) -> float:
        """Samples of this run, reading included."""
        return round((self.done.samples - self.before) / self.seconds, 3)

    def run(self, consume: Consume) -> Outcome:
        """Runs it. `consume` takes the predictions, in the order of the samples; what all of them have in common is returned.

        Raises PlifError where the model does not fit, or nothing can be read; Interrupted with what is known so far.
        """
        total, began = Outcome(), time.perf_counter()
        try:
            consume(self._predictions(total))
        except KeyboardInterrupt:
            known = ", ".join(filter(None, [f"{self.done.samples} of {self.count} samples are done", self._accuracy()]))
            raise Interrupted(f"{known}; {self.kept}") from None
        self.seconds = time.perf_counter() - began
        for note in total.notes:
            warnings.warn(note, PlifWarning, stacklevel=3)
        return total

    def _predictions(self, total: Outcome) -> Iterator[Prediction]:
        parts = [part.load("hear")(self, **own) for part, own in self.how.hearers("workers", always=True)]
        for found in parts[0] if parts else self._in_turn():
            total.add(found)
            for one in found.predictions:
                self.census.add(one)
                yield one

    def _in_turn(self) -> Iterator[Outcome]:
        """The answers to one batch after the other."""
        self.batch = self.model.card.get("batch") or self.how.batch or min(USUAL, self.count)
        session, first = open_session(self.model, self.batch), ""
        for at in range(0, self.count, self.batch):
            batch = read_samples(self.dataset, range(at, min(at + self.batch, self.count)))
            found = answer(session, self.dataset, batch, self.exits, self.min_margin)
            self.tell(count(found.predictions))
            first = first or found.predictions[0].error or ""
            yield found
        self.require_readable(first)

    def tell(self, more: Tally) -> None:
        """Tally what is done, and says how far it is."""
        self.done.add(more)
        if self.progress is not None:
            self.progress(self.done.samples, self.count, self._accuracy())

    def require_readable(self, first: str | None) -> None:
        """Raises PlifError where nothing that is done could be read; first: why the first one could not."""
        if self.done.unreadable == self.done.samples:
            raise PlifError(f"{self.samples}: none of {self.done.samples} recordings can be read, the first: {first}")

    def _accuracy(self) -> str:
        """The accuracy so far with its interval, in words; empty where there is none."""
        n = self.done.samples - self.done.unreadable
        if not n or self.dataset.label(0) == UNKNOWN:
            return ""
        low, high = wilson(self.done.right, n)
        return f"accuracy {100 * self.done.right / n:.2f} % ({100 * low:.1f} - {100 * high:.1f})"


def answer(
    session: Session,
    dataset: Dataset,
    batch: Reading,
    exits: Exits | None = None,
    min_margin: float = 0.0,
    stopped: Event | None = None,
) -> Outcome:
    """Runs a batch of `dataset`, at most as many samples as the session has streams. exits, min_margin: as in Loop."""
    usable = [one for one in batch.samples if one.x is not None]
    found = Outcome(notes=[note for one in batch.samples for note in one.notes])
    rows: dict[int, tuple[tuple[float, ...], int, str | None]] = {}  # (scores, steps, why there is no label)
    ms, voters = None, session.model.voters
    if usable:
        frames = [one.x for one in usable if one.x is not None] if batch.x is None else batch.x
        ran = run_batch(session, frames, exits, stopped)
        ms, found.rates = round(sum(ran.call_ms) / len(usable), 4), ran.rates
        sure = ran.sure(voters, min_margin)
        for n, (one, scores) in enumerate(zip(usable, ran.scores(voters).tolist(), strict=True)):
            rows[one.i] = tuple(scores), ran.steps[n], None if sure[n] else NOT_SURE
            if exits is None and one.i < MOST_TRACED and one.x is not None:  # else not every sample took all its steps
                found.traces.append(trace_of(ran, n, one.i, dataset.label(one.i), one.x))
        for call_ms in ran.call_ms:
            found.calls.add(call_ms)
    for one in batch.samples:
        label, fate = dataset.label(one.i), {} if one.fate is None else vars(one.fate)
        scores, steps, why = rows.get(one.i, ((), 0, None))
        about = (one.i, dataset.path(one.i), None if label == UNKNOWN else label, scores, steps)
        took = ms if one.error is None else None
        found.predictions.append(Prediction(*about, milliseconds=took, error=one.error, why=why, **fate))
    return found


def begun_engine(how: RunOptions, keep: Path | None) -> str | None:
    """The engine with which what `keep` holds was begun, where it goes on; None elsewhere."""
    return next((part.load("begun_engine")(keep, **own) for part, own in how.hearers("workers")), None)
