"""Batch evaluation: the accuracy of an artifact (or of a model.pt, through the torch engine) on a data set.

Each sample is a row of the batch. A row starts from reset and sees its own frames; its whole votes are added up. The
prediction is the class with the most votes, the lowest class among equals. Without a vote there is none, which counts
as wrong. `plif stream` decides the same. Batch size, workers, and whether the run was killed and resumed change no
answer.

An unreadable recording does not end the run: its row in predictions.csv says why, and accuracy is of the other
recordings. The command then exits with 2, so that nobody takes the number for the whole set. It also does if a
recording lost more than 1 % of its events.

loop.py runs it.
"""

from __future__ import annotations

import json
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from runtime.core.api import Model
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.base.files import atomic_write, make_folder
from runtime.core.base.latency import Percentiles
from runtime.core.base.options import with_fields
from runtime.core.data import add_options
from runtime.core.data.dataset import join_first_names
from runtime.core.measure.evaluate.batches import Trace
from runtime.core.measure.evaluate.census import (
    LostEvents,
    PredictionStats,
    UnreadableSamples,
    no_losses,
    no_unreadable,
)
from runtime.core.measure.evaluate.loop import EvaluationLoop, Progress
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.evaluate.samples import DatasetSplit
from runtime.core.measure.metrics import (
    ArtifactIdentity,
    ClassRow,
    collect_versions,
    compute_class_metrics,
    identify_artifact,
    macro_f1,
    wilson_interval,
)
from runtime.core.measure.options import EvaluateOptions
from runtime.core.observers import find_observers


class ModelComparison(TypedDict):
    """The comparison of a model with another one on the same samples (runtime/observers/paired_networks)."""

    path: str
    accuracy: float
    correct: int
    decisions_changed: int
    only_here: int
    only_there: int
    p: float


class SampleListRecord(TypedDict, total=False):
    """The record of an evaluation's samples: their number, and the SHA-256 of their paths and classes."""

    samples: int
    sha256: str


@dataclass
class Evaluation:
    """The result of an evaluation, as `plif eval --json` prints it.

    Fractions are 0..1, confusion[true][predicted]. T is the most steps of a sample; latency is of one call of the
    engine for a batch, throughput of this run, reading included.

    latency_interval_ms  {"p50": [low, high], "p99": ...}, 95 %; None where there were too few calls to tell
    threads      that read and run batches in parallel, of the only worker
    samples      those that were read; accuracy, interval (95 %) and confusion are of them
    unanswered   samples without an answer: wrong, and in no column of confusion
    sensor       [width, height] of the recordings, None if they differ and for images; sensor_from: the source
                 of the size
    fit          how the recordings match the training of the network (runtime/core/events/fit.py), None for
                 images
    predictions  the class of each sample, NONE (-1) without an answer; truths: its true class, None if unknown
    traces       the first samples step by step; none if exit_margin ended some early
    mean_steps   steps that a sample took; fewer than T if exit_margin ended some early
    against      another model on the same samples, or None
    """

    accuracy: float
    samples: int
    correct: int
    T: int
    engine: str
    batch: int
    latency_ms: Percentiles
    throughput_per_s: float
    firing_rates: dict[str, float]
    confusion: list[list[int]] = field(repr=False)
    classes: list[str]
    data: str
    split: str = "test"
    mean_steps: float = 0.0
    exit_margin: float | None = None
    interval: tuple[float, float] = (0.0, 1.0)
    latency_interval_ms: dict[str, list[float | None]] = field(default_factory=dict)
    per_class: list[ClassRow] = field(repr=False, default_factory=list)
    macro_f1: float | None = None
    workers: int = 1
    threads: int = 1
    seconds: float = 0.0
    unreadable: UnreadableSamples = field(default_factory=no_unreadable)
    unanswered: int = 0
    lost: LostEvents = field(default_factory=no_losses)
    artifact: ArtifactIdentity = field(default_factory=ArtifactIdentity)
    data_list: SampleListRecord = field(default_factory=SampleListRecord)
    sensor: list[int] | None = None
    sensor_from: str | None = None
    fit: dict[str, object] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    predictions: list[int] = field(repr=False, default_factory=list)
    truths: list[int | None] = field(repr=False, default_factory=list)
    traces: list[Trace] = field(repr=False, default_factory=list)
    against: ModelComparison | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the evaluation as a dict for JSON, without `truths` and `traces`."""
        record = asdict(replace(self, truths=[], traces=[]))
        return {key: value for key, value in record.items() if key not in ("truths", "traces")}


@with_fields(EvaluateOptions)
def evaluate(model: Model, data: str, *, progress: Progress | None = None, **options: Any) -> Evaluation:
    """Evaluate a model on the data set `NAME:DIR`: accuracy, and firing rates if loaded with rates=True.

    options   split=, limit=, out=, exit_margin=, ...: the fields of EvaluateOptions
              (runtime/core/measure/options.py). A folder `out` gets predictions.csv, predictions.jsonl,
              timing.csv, and the shards of a run that may be resumed
    progress  called with (done, total, note) after every batch

    Raises PlifError if the data set does not fit the model (classes, input, number of time-steps) or is unreadable;
    Interrupted, with the results so far, at Ctrl-C.
    """
    settings = EvaluateOptions(data=data, **options)
    data, out, limit = (
        add_options(data, sensor=settings.sensor, csv=settings.csv, up=settings.up),
        settings.out,
        settings.limit,
    )
    fixed = model.card.get("batch")
    if fixed and settings.batch not in (None, fixed):
        raise PlifError(
            f"--batch {settings.batch}: {model.path} was exported for exactly {fixed} streams; leave --batch out"
        )
    exits = next(iter(settings.call_observers("exits", model, always=True)), None)
    samples = DatasetSplit(data, settings.split)
    dataset = samples.open(model)
    loop = EvaluationLoop(
        *(model, samples, dataset, len(dataset) if limit is None else min(limit, len(dataset)), settings),
        keep=find_shards_folder(out),
        keeper="DIR",
        exits=exits,
        progress=progress,
    )

    def consume(predictions: Iterator[Prediction]) -> None:
        for part in find_observers("predictions") if out is not None else ():
            part.load("write_predictions")(predictions, model.classes, out)
        deque(predictions, maxlen=0)

    answers, census = loop.run(consume), loop.census
    advice = f"say it: {data.partition('?')[0]}?sensor=WIDTHxHEIGHT"
    census.warn_about_sensors(data, advice, getattr(dataset, "sensor", None))
    confusion, unanswered = _count_confusion(census, len(model.classes))
    correct, samples_read = int(np.trace(confusion)), int(confusion.sum() + unanswered.sum())
    per_class = compute_class_metrics(confusion.tolist(), model.classes, unanswered.tolist())
    without = [row["class"] for row in per_class if not row["samples"]]
    if without and limit is None:
        warnings.warn(
            f"{samples}: no samples of class {join_first_names(without)}, so accuracy says nothing about it; "
            "is the set complete?",
            PlifWarning,
            stacklevel=2,
        )
    return Evaluation(
        accuracy=correct / samples_read,
        samples=samples_read,
        correct=correct,
        T=census.steps,
        mean_steps=round(census.all_steps / max(samples_read, 1), 4),
        exit_margin=None if exits is None else exits.margin,
        engine=model.engine.name,
        batch=loop.batch,
        latency_ms=answers.calls.to_dict(),
        latency_interval_ms=answers.calls.intervals(),
        throughput_per_s=loop.throughput_per_s,
        firing_rates=answers.mean_rates(),
        confusion=confusion.tolist(),
        classes=model.classes,
        data=dataset.name,
        split=settings.split,
        interval=wilson_interval(correct, samples_read),
        per_class=per_class,
        macro_f1=macro_f1(per_class),
        workers=loop.workers,
        threads=loop.lanes,
        seconds=round(loop.seconds, 3),
        unreadable=census.unreadable,
        unanswered=int(unanswered.sum()),
        lost=census.lost,
        artifact=identify_artifact(model.path, model.card),
        data_list={"samples": loop.count, "sha256": loop.data_sha256},
        sensor=list(census.sensor) if census.sensor else None,
        sensor_from=census.sensor_from,
        fit=None if model.static or census.fit is None else census.fit.to_dict(),
        versions=collect_versions(),
        predictions=census.predictions,
        truths=census.truths,
        traces=answers.traces,
    )


def find_shards_folder(out: Path | None) -> Path | None:
    """Return the folder for the shards (partial results) of an evaluation that writes into `out`; None without one."""
    return None if out is None else out / "shards"


def _count_confusion(census: PredictionStats, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the confusion matrix, int64 [true, predicted], and the samples without an answer, int64 [true].

    Only samples with a known class count.
    """
    counts = np.zeros((classes, classes + 1), np.int64)
    for truth, predicted in zip(census.truths, census.predictions, strict=True):
        if truth is not None:
            counts[truth, predicted] += 1  # NONE, -1, is the last column
    return counts[:, :-1], counts[:, -1]


def write_results(evaluation: Evaluation, folder: str | Path, command: str | None = None) -> list[Path]:
    """Write metrics.json into a folder, and return the files there that belong to this evaluation.

    folder   where `evaluate(..., out=folder)` wrote the predictions
    command  the command line of the user
    """
    folder = make_folder(Path(folder))
    metrics = folder / "metrics.json"
    content = evaluation.to_dict()
    content.pop("predictions")
    with atomic_write(metrics) as (part,):
        part.write_text(json.dumps({**content, "command": command}, indent=2) + "\n")
    files = [folder / name for part in find_observers("predictions") for name in part.load("FILES")]
    return [metrics, *(file for file in files if file.is_file())]
