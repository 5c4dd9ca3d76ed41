"""Batch evaluation: the accuracy of an artifact (or of a model.pt, through the torch engine) on a data set.

Samples are the rows of a batch. Each row starts from reset, sees its own frames, and its whole spikes are added up; the
prediction is the class with the most, the lowest among equals. A row's answer does not depend on the batch it was in.
"""

from __future__ import annotations

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
from runtime.data import Dataset, open_dataset
from runtime.engines.session import OpenModel, Session

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
    """Accuracy on `NAME:DIR`.

    batch    samples at once, 16 when None
    workers  threads that read samples ahead
    Load the model with rates=True to count spikes.

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
    session = model.session(streams=batch)
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
            f"{data}: its classes are {_some(dataset.classes)}, and {model.path} answers {_some(model.classes)}; "
            "the model was trained on other classes, or in another order"
        )


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _batches(dataset: Dataset, count: int, batch: int, workers: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Samples in order, read a batch ahead by `workers` threads."""
    groups = [list(range(i, min(i + batch, count))) for i in range(0, count, batch)]
    with ThreadPoolExecutor(workers) as pool:
        ahead = [pool.submit(dataset.sample, i) for i in groups[0]]
        for k, group in enumerate(groups):
            current, ahead = (
                ahead,
                [pool.submit(dataset.sample, i) for i in groups[k + 1]] if k + 1 < len(groups) else [],
            )
            yield group, [future.result() for future in current]


def _run(session: Session, samples: list[np.ndarray], latency: Latencies, rates: _RateSum) -> np.ndarray:
    """Votes [samples, classes] of one batch; recordings may have different numbers of frames."""
    model = session.model
    classes, voters = len(model.classes), model.voters
    votes = np.zeros((len(samples), classes))

    axis = 1 if model.unrolled and not model.static else 0  # where x has its rows

    def call(x: np.ndarray, rows: np.ndarray) -> None:
        """One call of the engine: x holds a frame (or T) for each of `rows`; adds up their votes and their spikes."""
        fixed = model.card.get("batch")
        if fixed:  # a fixed batch runs whole: rows without a sample see nothing and count for nothing
            whole = np.zeros((*x.shape[:axis], fixed, *x.shape[axis + 1 :]), np.float32)
            whole[(slice(None),) * axis + (rows,)] = x
            x = whole
        everyone = fixed or len(rows) == session.streams
        began = time.perf_counter()
        y = (session.run if model.unrolled else session.step)(x, None if everyone else rows.tolist())
        latency.add(1e3 * (time.perf_counter() - began))
        y = (y if model.unrolled else y[None]).astype(np.float64)  # [T, rows, classes]
        kept = rows if fixed else slice(None)
        votes[rows] += (np.rint(y[:, kept] * voters) if voters > 1 else y[:, kept]).sum(axis=0)
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
        _check_multiple(model, len(x))
        for t in range(0, len(x), model.T):
            call(x[t : t + model.T], every)
    else:
        for t in range(max(len(sample) for sample in samples)):
            rows = np.array([i for i, sample in enumerate(samples) if t < len(sample)])
            call(np.stack([samples[i][t] for i in rows]), rows)
    return votes


def _check_multiple(model: OpenModel, steps: int) -> None:
    if steps % model.T:
        raise PlifError(
            f"{model.path}: unrolled over T={model.T}, and the recordings have {steps} frames; expected a multiple. "
            "Evaluate the step form, or export again with --T"
        )


class _RateSum:
    """Mean firing rate per layer over all steps and samples."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, layer: str, values: np.ndarray) -> None:
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
        second.write_text("sample,predicted\n" + "".join(f"{i},{result.classes[p]}\n" for i, p in enumerate(numbers)))
    written = [metrics, predictions]
    try:
        from runtime.show.pictures import confusion_picture
    except ImportError:
        return written
    return [*written, confusion_picture(result, folder / "confusion.png")]
