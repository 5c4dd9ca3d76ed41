"""The loop of an evaluation: samples are read and run, a batch at a time, and become predictions.

A part may run it with several workers. It gets the loop: the samples, the options and the progress callback.
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
from runtime.core.events.fit import load_domain_monitor
from runtime.core.measure.evaluate.batches import MAX_TRACES, ExitRule, Trace, make_trace, run_batch
from runtime.core.measure.evaluate.census import PredictionStats
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.evaluate.samples import SampleBatch, SampleSource, read_samples
from runtime.core.measure.metrics import hash_sample_list, wilson_interval
from runtime.core.measure.options import RunOptions
from runtime.core.stream.decide import NOT_SURE

Progress = Callable[[int, int, str], None]  # (done, total, a note next to the bar)
Consume = Callable[[Iterator[Prediction]], object]
DEFAULT_BATCH = 16  # samples in a batch
MAX_NOTES = 20


@dataclass
class Outcome:
    """The results of an evaluation for some of its samples: predictions, firing rates, times and notes.

    predictions  of each of them, in order
    rates   {layer: (sum of firing rates, their number)};  calls: times of the engine's calls, ms;  notes: remarks
            of readers
    traces  of the first samples of the set
    """

    predictions: list[Prediction] = field(default_factory=list)
    rates: dict[str, tuple[float, int]] = field(default_factory=dict)
    calls: Latencies = field(default_factory=Latencies)
    notes: list[str] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Add an evaluation's results for further samples, except for their predictions.

        Each note is kept once, and MAX_NOTES in all.
        """
        self.add_rates(outcome.rates)
        self.calls.add_counts(outcome.calls.counts())
        self.notes = list(dict.fromkeys([*self.notes, *outcome.notes]))[:MAX_NOTES]
        self.traces += outcome.traces

    def add_rates(self, rates: Mapping[str, Sequence[float]]) -> None:
        for layer, (total, count) in rates.items():
            before = self.rates.get(layer, (0.0, 0))
            self.rates[layer] = (before[0] + total, before[1] + int(count))

    def mean_rates(self) -> dict[str, float]:
        """Return {layer: firing rate (0..1)} of an evaluation, the mean over steps and samples."""
        return {layer: total / count for layer, (total, count) in self.rates.items()}


@dataclass
class Tally:
    """The numbers of an evaluation's samples that are finished, answered rightly, and unreadable."""

    samples: int = 0
    right: int = 0
    unreadable: int = 0

    def add(self, tally: Tally) -> None:
        self.samples, self.right = self.samples + tally.samples, self.right + tally.right
        self.unreadable += tally.unreadable


def count_predictions(predictions: Iterable[Prediction]) -> Tally:
    """Count predictions: all, right ones and unreadable ones."""
    tally = Tally()
    for prediction in predictions:
        tally.add(
            Tally(
                1,
                int(prediction.error is None and prediction.predicted == prediction.truth),
                int(prediction.error is not None),
            )
        )
    return tally


@dataclass
class EvaluationLoop:
    """An evaluation of the first `count` samples of `dataset`, which `samples` opened.

    exits       the rule that ends samples early; None: every sample takes all its steps
    min_margin  by which a label must lead, a share of all possible votes
    keep        the folder where a part may save finished batches, None: none;  keeper: the value of --out for
                the user
    progress    called with (done, total, note) after every batch
    batch, workers, lanes   samples in a batch, processes, and parallel batches in the only process
    finished, before   samples finished so far, and those finished before a resumed run;  seconds: duration of
                       this run
    census      the statistics over the predictions
    interrupt_note   a sentence about the results that an interrupt leaves
    """

    model: Model
    samples: SampleSource
    dataset: Dataset
    count: int
    options: RunOptions
    keep: Path | None
    keeper: str
    exits: ExitRule | None = None
    min_margin: float = 0.0
    progress: Progress | None = None
    batch: int = DEFAULT_BATCH
    workers: int = 1
    lanes: int = 1
    finished: Tally = field(default_factory=Tally)
    before: int = 0
    seconds: float = 0.0
    interrupt_note: str = "nothing is kept"

    def __post_init__(self) -> None:
        self.census = PredictionStats(load_domain_monitor(self.model.card))

    @cached_property
    def data_sha256(self) -> str:
        """The SHA-256 of an evaluation's list of samples (runtime.core.measure.metrics.hash_sample_list)."""
        entries = ((self.dataset.path(i), self.dataset.label(i)) for i in range(self.count))
        return hash_sample_list(entries, self.samples.place)

    @property
    def throughput_per_s(self) -> float:
        """The samples per second that this run of the evaluation processes, reading included."""
        return round((self.finished.samples - self.before) / self.seconds, 3)

    def run(self, consume: Consume) -> Outcome:
        """Run the evaluation: call `consume` with an iterator over the predictions; return the results over all samples.

        Raises PlifError if the model does not fit, or no sample is readable; Interrupted with the results so far.
        """
        total, began = Outcome(), time.perf_counter()
        try:
            consume(self._predictions(total))
        except KeyboardInterrupt:
            progress = ", ".join(
                filter(None, [f"{self.finished.samples} of {self.count} samples are done", self._describe_accuracy()])
            )
            raise Interrupted(f"{progress}; {self.interrupt_note}") from None
        self.seconds = time.perf_counter() - began
        for note in total.notes:
            warnings.warn(note, PlifWarning, stacklevel=3)
        return total

    def _predictions(self, total: Outcome) -> Iterator[Prediction]:
        parts = [
            part.load("hear")(self, **options)
            for part, options in self.options.select_observers("workers", always=True)
        ]
        for outcome in parts[0] if parts else self._run_batches():
            total.add(outcome)
            for prediction in outcome.predictions:
                self.census.add(prediction)
                yield prediction

    def _run_batches(self) -> Iterator[Outcome]:
        """Yield the results of an evaluation, one batch of samples after the other."""
        self.batch = self.model.card.get("batch") or self.options.batch or min(DEFAULT_BATCH, self.count)
        session, first = open_session(self.model, self.batch), ""
        for start in range(0, self.count, self.batch):
            batch = read_samples(self.dataset, range(start, min(start + self.batch, self.count)))
            outcome = run_samples(session, self.dataset, batch, self.exits, self.min_margin)
            self.report_progress(count_predictions(outcome.predictions))
            first = first or outcome.predictions[0].error or ""
            yield outcome
        self.require_readable(first)

    def report_progress(self, tally: Tally) -> None:
        """Add finished samples to the tally of an evaluation, and report the progress."""
        self.finished.add(tally)
        if self.progress is not None:
            self.progress(self.finished.samples, self.count, self._describe_accuracy())

    def require_readable(self, first: str | None) -> None:
        """Raise PlifError if none of the finished samples was readable; `first` is the error of the first one."""
        if self.finished.unreadable == self.finished.samples:
            raise PlifError(
                f"{self.samples}: none of {self.finished.samples} recordings can be read, the first: {first}"
            )

    def _describe_accuracy(self) -> str:
        """Return a text with the accuracy so far and its confidence interval; empty without known classes."""
        n = self.finished.samples - self.finished.unreadable
        if not n or self.dataset.label(0) == UNKNOWN:
            return ""
        low, high = wilson_interval(self.finished.right, n)
        return f"accuracy {100 * self.finished.right / n:.2f} % ({100 * low:.1f} - {100 * high:.1f})"


def run_samples(
    session: Session,
    dataset: Dataset,
    batch: SampleBatch,
    exits: ExitRule | None = None,
    min_margin: float = 0.0,
    stopped: Event | None = None,
) -> Outcome:
    """Run a batch of samples through a session, at most one for each stream, and return their predictions.

    exits, min_margin: as in EvaluationLoop
    """
    usable = [sample for sample in batch.samples if sample.x is not None]
    outcome = Outcome(notes=[note for sample in batch.samples for note in sample.notes])
    rows: dict[int, tuple[tuple[float, ...], int, str | None]] = {}  # (scores, steps, why there is no label)
    ms, voters = None, session.model.voters
    if usable:
        frames = [sample.x for sample in usable if sample.x is not None] if batch.x is None else batch.x
        result_batch = run_batch(session, frames, exits, stopped)
        ms, outcome.rates = round(sum(result_batch.call_ms) / len(usable), 4), result_batch.rates
        sure = result_batch.has_lead(voters, min_margin)
        for n, (sample, scores) in enumerate(zip(usable, result_batch.scores(voters).tolist(), strict=True)):
            rows[sample.i] = tuple(scores), result_batch.steps[n], None if sure[n] else NOT_SURE
            if (
                exits is None and sample.i < MAX_TRACES and sample.x is not None
            ):  # with early exits, samples did not take all their steps
                outcome.traces.append(make_trace(result_batch, n, sample.i, dataset.label(sample.i), sample.x))
        for call_ms in result_batch.call_ms:
            outcome.calls.add(call_ms)
    for sample in batch.samples:
        label, event_fields = (
            dataset.label(sample.i),
            {} if sample.event_outcome is None else vars(sample.event_outcome),
        )
        scores, steps, why = rows.get(sample.i, ((), 0, None))
        facts = (sample.i, dataset.path(sample.i), None if label == UNKNOWN else label, scores, steps)
        elapsed_ms = ms if sample.error is None else None
        outcome.predictions.append(
            Prediction(*facts, milliseconds=elapsed_ms, error=sample.error, why=why, **event_fields)
        )
    return outcome


def find_resumed_engine(options: RunOptions, keep: Path | None) -> str | None:
    """Return the name of the engine that began a resumed evaluation; None for a new one."""
    return next(
        (part.load("find_resumed_engine")(keep, **values) for part, values in options.select_observers("workers")), None
    )
