"""Batch evaluation: the accuracy of an artifact (or of a model.pt, through the torch engine) on a data set.

Each sample is a row of the batch. A row starts from reset and sees its own frames; its whole votes are added up, and the
prediction is the class with the most votes, the lowest class among equals. The other rows of the batch change nothing.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.base.files import make_folder, whole_or_nothing
from runtime.base.latency import Latencies
from runtime.base.text import cell
from runtime.data import Dataset, open_dataset
from runtime.data.dataset import first_names
from runtime.engines.model import OpenModel
from runtime.engines.session import Session, whole_votes
from runtime.engines.unrolled import open_session

DEFAULT_BATCH = 16


@dataclass
class Evaluation:
    """What `plif eval --json` prints.

    Fractions are 0..1, confusion[true][predicted]. T is the most steps a sample took; latency is of one step of the batch.
    against is another model on the same samples: {"path", "accuracy", "correct", "decisions_changed"}, or None.
    """

    accuracy: float
    samples: int
    correct: int
    T: int
    engine: str
    batch: int
    latency_ms: dict[str, float | None]
    throughput_per_s: float
    firing_rates: dict[str, float]
    confusion: list[list[int]]
    classes: list[str]
    data: str
    predictions: list[int] = field(repr=False, default_factory=list)
    against: dict[str, Any] | None = None

    def compare(self, other: Evaluation, path: str | Path) -> None:
        """Sets `against`. Raises PlifError when the other has other classes, so that its decisions mean something else."""
        if other.classes != self.classes:
            raise PlifError(f"{path}: has other classes, so its decisions cannot be compared; expected the same ones")
        changed = sum(a != b for a, b in zip(self.predictions, other.predictions, strict=True))
        self.against = {
            "path": str(path),
            "accuracy": other.accuracy,
            "correct": other.correct,
            "decisions_changed": changed,
        }

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    model: OpenModel,
    data: str,
    *,
    split: str = "test",
    limit: int | None = None,
    batch: int | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Accuracy on the data set `NAME:DIR`; firing rates, too, where the model was loaded with rates=True.

    limit    how many samples, the first of the split; all when None
    batch    samples at once, 16 when None
    workers  threads that read samples ahead

    Raises PlifError when the data set does not fit the model (classes, input, number of time-steps).
    """
    if (batch is not None and batch < 1) or workers < 1:
        raise PlifError(f"--batch {batch} --workers {workers}: expected at least 1")
    fixed = model.card.get("batch")
    if fixed and batch not in (None, fixed):
        raise PlifError(f"--batch {batch}: {model.path} was exported for exactly {fixed} streams; leave --batch out")
    card = model.card
    dataset = open_dataset(
        data,
        split,
        framing=card["framing"],
        shape=model.input_shape,
        normalisation=card["normalisation"],
        classes=model.classes,
    )
    _check_fits(model, dataset, data)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if count == 0:
        raise PlifError(f"{data}: split '{split}' has no samples")
    batch = fixed or min(batch or DEFAULT_BATCH, count)
    session = open_session(model, batch)
    confusion = np.zeros((len(model.classes), len(model.classes)), np.int64)
    predictions: list[int] = []
    latency, rates, steps = Latencies(), _RateSum(), 0
    began = time.perf_counter()
    for indices, samples in _batches(dataset, count, batch, workers):
        session.reset()
        votes = _run(session, samples, latency, rates)
        steps = max(steps, *(model.T if model.static else len(sample) for sample in samples))
        for i, row in zip(indices, votes, strict=True):
            predictions.append(int(row.argmax()))
            confusion[dataset.label(i), predictions[-1]] += 1
        if progress:
            progress(len(predictions), count)
    seconds = time.perf_counter() - began
    correct = int(np.trace(confusion))
    return Evaluation(
        accuracy=correct / count,
        samples=count,
        correct=correct,
        T=steps,
        engine=model.engine.name,
        batch=batch,
        latency_ms=latency.to_dict(),
        throughput_per_s=round(count / seconds, 3),
        firing_rates=rates.mean(),
        confusion=confusion.tolist(),
        classes=model.classes,
        data=dataset.name,
        predictions=predictions,
    )


def _check_fits(model: OpenModel, dataset: Dataset, data: str) -> None:
    if dataset.kind != model.card["input"]["kind"]:
        raise PlifError(
            f"{data}: holds {dataset.kind} samples, and {model.path} takes {model.card['input']['kind']} ones"
        )
    if list(dataset.classes) != model.classes:
        raise PlifError(
            f"{data}: its classes are {first_names(dataset.classes)}, and {model.path} answers {first_names(model.classes)}; "
            "the model was trained on other classes, or in another order"
        )


def _batches(dataset: Dataset, count: int, batch: int, workers: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Samples in order, read a batch ahead by `workers` threads."""
    groups = [list(range(i, min(i + batch, count))) for i in range(0, count, batch)]
    with ThreadPoolExecutor(workers) as pool:
        ahead = [pool.submit(dataset.sample, i) for i in groups[0]]
        for group, following in zip(groups, [*groups[1:], []], strict=True):
            current, ahead = ahead, [pool.submit(dataset.sample, i) for i in following]
            yield group, [future.result() for future in current]


def _run(session: Session, samples: list[np.ndarray], latency: Latencies, rates: _RateSum) -> np.ndarray:
    """Votes float64 [samples, classes] of one batch; recordings may have different numbers of frames.

    samples  float32 [T, C, H, W] of each recording, or still images [C, H, W]
    """
    model = session.model
    votes = np.zeros((len(samples), len(model.classes)))
    fixed = model.card.get("batch")
    axis = 1 if model.unrolled and not model.static else 0  # of x that holds the rows

    def call(x: np.ndarray, rows: np.ndarray) -> None:
        """One call of the engine: x holds a frame (or T) for each of `rows`; adds up their votes and their spikes."""
        if fixed:  # a fixed batch always runs whole: rows without a sample get zeros, and their answers are not counted
            whole = np.zeros((*x.shape[:axis], fixed, *x.shape[axis + 1 :]), np.float32)
            whole[(slice(None),) * axis + (rows,)] = x
            x = whole
        everyone = fixed or len(rows) == session.streams
        began = time.perf_counter()
        y = (session.run if model.unrolled else session.step)(x, None if everyone else rows.tolist())
        latency.add(1e3 * (time.perf_counter() - began))
        y = y if model.unrolled else y[None]  # [T, rows, classes]
        kept = rows if fixed else slice(None)
        votes[rows] += whole_votes(y[:, kept], model.voters).sum(axis=0)
        for layer, values in session.last_rates.items():
            rates.add(layer, values.reshape(len(y), -1)[:, kept])

    every = np.arange(len(samples))
    if model.static:
        x = np.stack(samples)
        for _ in range(1 if model.unrolled else model.T):
            call(x, every)
    elif model.unrolled:
        if len({len(sample) for sample in samples}) > 1:
            raise PlifError(
                f"{model.path}: recordings have different numbers of frames; evaluate the step form instead"
            )
        x = np.stack(samples, axis=1)
        if len(x) % model.T:
            raise PlifError(
                f"{model.path}: unrolled over T={model.T}, and the recordings have {len(x)} frames; expected a multiple. "
                "Evaluate the step form, or export again with --T"
            )
        for t in range(0, len(x), model.T):
            call(x[t : t + model.T], every)
    else:  # shorter recordings end first; their rows then keep their state
        for t in range(max(len(sample) for sample in samples)):
            rows = np.array([i for i, sample in enumerate(samples) if t < len(sample)])
            call(np.stack([samples[i][t] for i in rows]), rows)
    return votes


class _RateSum:
    """Mean firing rate per layer over all steps and samples."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, layer: str, values: np.ndarray) -> None:
        """values  float32 [T, rows], the layer's firing rate (0..1) at each step"""
        self._sums[layer] = self._sums.get(layer, 0.0) + float(values.sum(dtype=np.float64))
        self._counts[layer] = self._counts.get(layer, 0) + values.size

    def mean(self) -> dict[str, float]:
        return {layer: self._sums[layer] / self._counts[layer] for layer in self._sums}


def write_results(result: Evaluation, folder: str | Path) -> list[Path]:
    """metrics.json and predictions.csv, and confusion.png where matplotlib is installed; returns what was written."""
    folder = make_folder(Path(folder))
    metrics, predictions = folder / "metrics.json", folder / "predictions.csv"
    content = result.to_dict()
    numbers = content.pop("predictions")
    with whole_or_nothing(metrics, predictions) as (first, second):
        first.write_text(json.dumps(content, indent=2) + "\n")
        names = [cell(name) for name in result.classes]
        with second.open("w", newline="", encoding="utf-8") as table:
            csv.writer(table, lineterminator="\n").writerows(
                [("sample", "predicted"), *((i, names[p]) for i, p in enumerate(numbers))]
            )
    written = [metrics, predictions]
    try:
        from runtime.show.pictures import confusion_picture
    except ImportError:
        return written
    title = f"{result.data}: {100 * result.accuracy:.2f} % of {result.samples}"
    picture = confusion_picture(np.array(result.confusion), result.classes, title, folder / "confusion.png")
    return [*written, picture]
