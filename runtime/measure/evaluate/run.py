"""Runs an evaluation: cuts it into shards, gives them to workers, and says how far it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from runtime.api import Model
from runtime.base.errors import Interrupted, PlifError, PlifWarning
from runtime.base.files import measure
from runtime.data import Dataset
from runtime.data.dataset import UNKNOWN
from runtime.measure.evaluate.choose import Choice, choose
from runtime.measure.evaluate.processes import run_in_processes
from runtime.measure.evaluate.samples import SampleSource
from runtime.measure.evaluate.shards import ShardPlan, Shards, Statistics, read_plan, shard_size
from runtime.measure.evaluate.worker import Job, Outcome, Told, Worker
from runtime.measure.metrics import list_sha256, wilson
from runtime.measure.options import RunOptions

Progress = Callable[[int, int, str], None]  # (done, of, a note beside the bar)
# of a part: (job, shards, workers, who hears of a batch, who hears how many workers there are) -> shards that are done
Elsewhere = Callable[[Job, Sequence[int], int | None, Told, Callable[[int], None]], Generator[int, None, None]]


@dataclass
class Tally:
    """How far an evaluation is; what it prints when it is interrupted."""

    labelled: bool
    done: int = 0
    right: int = 0
    unreadable: int = 0
    now: int = 0  # of those done, by this run
    workers: int = 1
    lanes: int = 1  # of this process, where it is the only worker

    def add(self, done: Outcome) -> None:
        """Counts a batch."""
        self.done += done.samples
        self.right += done.right
        self.unreadable += done.unreadable

    def accuracy(self) -> str:
        """The accuracy so far with its interval, in words; empty where there is none."""
        n = self.done - self.unreadable
        if not n or not self.labelled:
            return ""
        low, high = wilson(self.right, n)
        return f"accuracy {100 * self.right / n:.2f} % ({100 * low:.1f} - {100 * high:.1f})"


def run(
    model: Model,
    samples: SampleSource,
    dataset: Dataset,
    count: int,
    folder: Path,
    how: RunOptions,
    kept: str,
    *,
    exit_margin: float | None = None,
    min_margin: float = 0.0,
    progress: Progress | None = None,
    elsewhere: Sequence[Elsewhere] = (),
) -> tuple[Shards, Tally]:
    """Evaluates the first `count` of `dataset`, which is `samples` opened; (shards in `folder`, what was done).

    kept         what an interrupt leaves, in words
    exit_margin, min_margin  as in ShardPlan
    progress     hears (done, of, a note) after every batch
    elsewhere    who does the shards, where that is not this machine
    Raises PlifError where the model does not fit, or nothing can be read; Interrupted with what is known so far.
    """
    model = replace(model, engine=model.engine.one_thread())  # cores are better used by lanes and workers
    shards, chosen = _cut(model, samples, dataset, count, folder, how, (exit_margin, min_margin))
    missing = shards.begin(how.resume)
    several = chosen.workers > 1 or bool(elsewhere)
    lanes = 1 if several else chosen.lanes
    options = model.options
    threads = options.threads or (1 if several else None)
    job = Job(
        *(model.path, samples, shards.plan, folder, threads, options.rates, options.flush_denormals, options.sha256),
        lanes=lanes,
    )
    tally = _tally(shards, missing, dataset.label(0) != UNKNOWN)
    tally.workers, tally.lanes = chosen.workers, lanes
    before = tally.done

    def told(done: Outcome) -> None:
        tally.add(done)
        if progress is not None:
            progress(tally.done, count, tally.accuracy())

    try:
        with closing(_shards_done(job, model, dataset, missing, how, tally, told, elsewhere)) as finished:
            for k in finished:
                if tally.unreadable == tally.done:
                    why = shards.read(k)[1][0].error
                    raise PlifError(f"{samples}: none of {tally.done} recordings can be read, the first: {why}")
    except KeyboardInterrupt:
        known = ", ".join(filter(None, [f"{tally.done} of {count} samples are done", tally.accuracy()]))
        raise Interrupted(f"{known}; {kept}") from None
    except PlifError:  # a cluster that is not there, say
        shards.give_up()
        raise
    tally.now = tally.done - before
    return shards, tally


def _cut(
    model: Model,
    samples: SampleSource,
    dataset: Dataset,
    count: int,
    folder: Path,
    how: RunOptions,
    margins: tuple[float | None, float],
) -> tuple[Shards, Choice]:
    """The plan in its folder, and what was chosen. What a run that is resumed had measured is not measured again."""
    begun = read_plan(folder) if how.resume else None
    chosen = choose(model, dataset, count, how.batch or (begun.batch if begun else None), how.workers)
    entries = ((dataset.path(i), dataset.label(i)) for i in range(count))
    plan = ShardPlan(
        artifact_sha256=measure(model.path)[1],
        data=str(samples),
        list=list_sha256(entries, samples.place),
        samples=count,
        engine=model.engine.name,
        device=model.options.device,
        batch=chosen.batch,
        shard=shard_size(count, chosen.batch),
        exit_margin=margins[0],
        min_margin=margins[1],
    )
    return Shards(folder, plan), chosen


def _tally(shards: Shards, missing: list[int], labelled: bool) -> Tally:
    """What is done already."""
    tally = Tally(labelled)
    for k in sorted(set(range(shards.plan.count)) - set(missing)):
        for one in shards.read(k)[1]:
            tally.add(Outcome(1, int(one.error is None and one.predicted == one.truth), int(one.error is not None)))
    return tally


def _shards_done(
    job: Job,
    model: Model,
    dataset: Dataset,
    shards: list[int],
    how: RunOptions,
    tally: Tally,
    told: Told,
    elsewhere: Sequence[Elsewhere],
) -> Generator[int, None, None]:
    """Does the shards here, in processes, or elsewhere; yields each that is done."""
    if not shards:
        return
    if elsewhere:
        yield from elsewhere[0](job, shards, how.workers, told, partial(setattr, tally, "workers"))
    elif tally.workers > 1:
        yield from run_in_processes(job, shards, tally.workers, told)
    else:
        with closing(Worker(job, model, dataset)) as worker:
            for k, following in zip(shards, [*shards[1:], None], strict=True):
                worker.run(k, told, following)
                yield k


def show_notes(statistics: Statistics) -> None:
    """What the readers remarked in the workers, as warnings."""
    for note in statistics.notes:
        warnings.warn(note, PlifWarning, stacklevel=3)
