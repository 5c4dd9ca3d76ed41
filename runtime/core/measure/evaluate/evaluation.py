"""Batch evaluation: the accuracy of an artifact (or of a model.pt, through the torch engine) on a data set.

Each sample is a row of the batch. A row starts from reset and sees its own frames; its whole votes are added up, and the
prediction is the class with the most votes, the lowest class among equals, and none without a vote, which counts as wrong: what
`plif stream` says of the recording. Batch, workers, and whether the run was killed and resumed change no answer.

A recording that cannot be read does not end the run: it is named, its row in predictions.csv says why, and accuracy is of the
others. The command then exits with 2, so that nobody takes the number for one of the whole set; so it does where one lost more
than one in a hundred of its events.

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
from runtime.core.base.files import make_folder, whole_or_nothing
from runtime.core.base.latency import Percentiles
from runtime.core.base.options import with_fields
from runtime.core.data import with_options
from runtime.core.data.dataset import first_names
from runtime.core.measure.evaluate.batches import Trace
from runtime.core.measure.evaluate.census import Census, Lost, Unread, nothing_lost, nothing_unread
from runtime.core.measure.evaluate.loop import Loop, Progress
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.evaluate.samples import SplitOf
from runtime.core.measure.metrics import (
    ClassRow,
    Identity,
    artifact_identity,
    class_metrics,
    macro_f1,
    versions,
    wilson,
)
from runtime.core.measure.options import EvaluateOptions
from runtime.core.observers import hearing


class Against(TypedDict):
    """Another model on the same samples (runtime/observers/paired_networks)."""

    path: str
    accuracy: float
    correct: int
    decisions_changed: int
    only_here: int
    only_there: int
    p: float


class DataList(TypedDict, total=False):
    """Which samples: how many, and the SHA-256 of their paths and classes (runtime.core.measure.metrics.list_sha256)."""

    samples: int
    sha256: str


@dataclass
class Evaluation:
    """What `plif eval --json` prints.

    Fractions are 0..1, confusion[true][predicted]. T is the most steps a sample took; latency is of one call of the engine for
    a batch, throughput of this run, reading included.

    latency_interval_ms  {"p50": [low, high], "p99": ...}, 95 %; None where there were too few calls to tell
    threads      that read and run batches side by side, of the only worker
    samples      those that were read; accuracy, interval (95 %) and confusion are of them
    unanswered   samples without an answer: wrong, and in no column of confusion
    sensor       [width, height] of the recordings, None where they differ and for images; sensor_from: who says so, as in Source
    fit          of the recordings and the network (runtime/core/events/fit.py), None for images
    predictions  the class of each sample, NONE (-1) where it has no answer; truths: its own, None where it is not known
    traces       the first samples step by step; none where exit_margin ended some early
    mean_steps   steps that a sample took; fewer than T where exit_margin ended some early
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
    unreadable: Unread = field(default_factory=nothing_unread)
    unanswered: int = 0
    lost: Lost = field(default_factory=nothing_lost)
    artifact: Identity = field(default_factory=Identity)
    data_list: DataList = field(default_factory=DataList)
    sensor: list[int] | None = None
    sensor_from: str | None = None
    fit: dict[str, object] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    predictions: list[int] = field(repr=False, default_factory=list)
    truths: list[int | None] = field(repr=False, default_factory=list)
    traces: list[Trace] = field(repr=False, default_factory=list)
    against: Against | None = None

    def to_dict(self) -> dict[str, object]:
        """All but `truths`, which the data set knows, and `traces`, of which the curves are."""
        found = asdict(replace(self, truths=[], traces=[]))
        return {key: value for key, value in found.items() if key not in ("truths", "traces")}


@with_fields(EvaluateOptions)
def evaluate(model: Model, data: str, *, progress: Progress | None = None, **options: Any) -> Evaluation:
    """Accuracy on the data set `NAME:DIR`; firing rates, too, where the model was loaded with rates=True.

    options   split=, limit=, out=, exit_margin=, ...: the fields of EvaluateOptions (runtime/core/measure/options.py). A folder
              `out` gets predictions.csv, predictions.jsonl, timing.csv, and the shards of a run that may be resumed
    progress  hears (done, of, a note) after every batch

    Raises PlifError when the data set does not fit the model (classes, input, number of time-steps) or nothing of it can be read;
    Interrupted, with what is known so far, at Ctrl-C.
    """
    how = EvaluateOptions(data=data, **options)
    data, out, limit = with_options(data, sensor=how.sensor, csv=how.csv, up=how.up), how.out, how.limit
    fixed = model.card.get("batch")
    if fixed and how.batch not in (None, fixed):
        raise PlifError(
            f"--batch {how.batch}: {model.path} was exported for exactly {fixed} streams; leave --batch out"
        )
    exits = next(iter(how.hear("exits", model, always=True)), None)
    samples = SplitOf(data, how.split)
    dataset = samples.open(model)
    loop = Loop(
        *(model, samples, dataset, len(dataset) if limit is None else min(limit, len(dataset)), how),
        keep=kept_in(out),
        keeper="DIR",
        exits=exits,
        progress=progress,
    )

    def consume(predictions: Iterator[Prediction]) -> None:
        for part in hearing("predictions") if out is not None else ():
            part.load("write_predictions")(predictions, model.classes, out)
        deque(predictions, maxlen=0)

    answers, census = loop.run(consume), loop.census
    advice = f"say it: {data.partition('?')[0]}?sensor=WIDTHxHEIGHT"
    census.remark(data, advice, getattr(dataset, "sensor", None))
    confusion, unanswered = _confusion(census, len(model.classes))
    correct, samples_read = int(np.trace(confusion)), int(confusion.sum() + unanswered.sum())
    per_class = class_metrics(confusion.tolist(), model.classes, unanswered.tolist())
    without = [row["class"] for row in per_class if not row["samples"]]
    if without and limit is None:
        warnings.warn(
            f"{samples}: no samples of class {first_names(without)}, so accuracy says nothing about it; is the set complete?",
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
        split=how.split,
        interval=wilson(correct, samples_read),
        per_class=per_class,
        macro_f1=macro_f1(per_class),
        workers=loop.workers,
        threads=loop.lanes,
        seconds=round(loop.seconds, 3),
        unreadable=census.unreadable,
        unanswered=int(unanswered.sum()),
        lost=census.lost,
        artifact=artifact_identity(model.path, model.card),
        data_list={"samples": loop.count, "sha256": loop.data_sha256},
        sensor=list(census.sensor) if census.sensor else None,
        sensor_from=census.sensor_from,
        fit=None if model.static or census.fit is None else census.fit.to_dict(),
        versions=versions(),
        predictions=census.predictions,
        truths=census.truths,
        traces=answers.traces,
    )


def kept_in(out: Path | None) -> Path | None:
    """Where the evaluation into a folder may keep what is done; None where there is no folder."""
    return None if out is None else out / "shards"


def _confusion(census: Census, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(confusion int64 [true, predicted], those without an answer int64 [true]) of the samples that have a class."""
    counts = np.zeros((classes, classes + 1), np.int64)
    for truth, predicted in zip(census.truths, census.predictions, strict=True):
        if truth is not None:
            counts[truth, predicted] += 1  # NONE, -1, is the last column
    return counts[:, :-1], counts[:, -1]


def write_results(result: Evaluation, folder: str | Path, command: str | None = None) -> list[Path]:
    """metrics.json; returns what the folder holds of this evaluation.

    folder   where `evaluate(..., out=folder)` wrote the predictions
    command  what the user typed
    """
    folder = make_folder(Path(folder))
    metrics = folder / "metrics.json"
    content = result.to_dict()
    content.pop("predictions")
    with whole_or_nothing(metrics) as (part,):
        part.write_text(json.dumps({**content, "command": command}, indent=2) + "\n")
    files = [folder / name for part in hearing("predictions") for name in part.load("FILES")]
    return [metrics, *(file for file in files if file.is_file())]
