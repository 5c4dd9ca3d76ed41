"""The data of an evaluation report: the content of report.html, its CSV files and the model card.

Numbers of all samples are computed from the written predictions. Curves need every step and statistics every neuron,
so they cover the first MAX_TRACES and MAX_WATCHED samples of the set, and say so: a set of a million recordings
costs no more than one of a thousand. `left_out` has the reasons for anything that cannot be measured on an artifact.
"""

from __future__ import annotations

import csv
import heapq
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from runtime.core.api import Model
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.files import read_regular
from runtime.core.base.latency import Latencies
from runtime.core.data import Dataset
from runtime.core.measure.evaluate.batches import MAX_TRACES
from runtime.core.measure.evaluate.evaluation import Evaluation
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.evaluate.samples import DatasetSplit, load_sample
from runtime.core.model.card import Card
from runtime.core.observers import find_observers
from runtime.observers.evaluation_report import curves
from runtime.observers.evaluation_report.activity import Activity, measure_activity, unsupported_reason
from runtime.observers.evaluation_report.curves import Row, exit_curve
from runtime.observers.evaluation_report.trace import trace_samples

_FOLDERS = re.compile(r"(^|[:=,])~?(/[^:=,?]*)?/(?=[^/:=,?])")  # of an absolute path within a word of a command

MAX_WATCHED = 100  # samples in which every neuron is watched
MAX_MISTAKES = 12
MAX_CHANGED = 40  # decisions that differ from --against, on the page


@dataclass(frozen=True)
class Mistake:
    """A wrong answer of the network: the prediction, and its input float32 [C, H, W] as the sum of its frames."""

    prediction: Prediction
    picture: np.ndarray


@dataclass
class EvaluationReport:
    """The data of an evaluation report; each section that has no data, None or empty, is left out.

    The report is meant to be shared, so its paths have no folders.

    result      the evaluation;  card: of the artifact
    traced      samples of the curves by_steps, by_events and exits
    reliability, ece   the accuracy for each score;  times: (edges in ms, samples between them)
    changed     decisions that differ from the other artifact: rows of sample, path, truth, this, other
    stress      rows of runtime.observers.robustness.stress
    left_out    the parts that were not measured, with reasons
    """

    evaluation: Evaluation
    card: Card
    command: str | None = None
    traced: int = 0
    by_steps: list[Row] = field(default_factory=list)
    by_events: list[Row] = field(default_factory=list)
    exits: list[Row] = field(default_factory=list)
    reliability: list[Row] = field(default_factory=list)
    ece: float | None = None
    times: tuple[list[float], list[int]] = ((), ())  # type: ignore[assignment]
    mistakes: list[Mistake] = field(default_factory=list)
    activity: Activity | None = None
    changed: list[Row] = field(default_factory=list)
    stress: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def csv_tables(self) -> dict[str, list[Row]]:
        """The rows of each CSV file that belongs to the evaluation report, {name: rows}."""
        tables = {
            "accuracy-by-steps": self.by_steps,
            "accuracy-by-events": self.by_events,
            "early-exit": self.exits,
            "calibration": self.reliability,
            "latency": [{"from_ms": a, "to_ms": b, "samples": n} for a, b, n in _bins(*self.times)],
            "changed": self.changed,
            "stress": self.stress,
        }
        if self.activity is not None:
            layers = [asdict(layer) for layer in self.activity.layers]
            tables["layers"] = [{k: v for k, v in row.items() if k != "channels"} for row in layers]
            tables["channels"] = [
                {"layer": layer.layer, "channel": i, "rate": rate}
                for layer in self.activity.layers
                for i, rate in enumerate(layer.channels)
            ]
            tables["synaptic-operations"] = [asdict(ops) for ops in self.activity.operations]
        return {name: rows for name, rows in tables.items() if rows}


def make_report(
    model: Model,
    evaluation: Evaluation,
    folder: Path,
    *,
    command: str | None = None,
    stress: list[Row] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Create the report of an evaluation from the predictions that it wrote into `folder`."""
    dataset = DatasetSplit(evaluation.data, evaluation.split).open(model)
    report = EvaluationReport(*_remove_local_paths(evaluation, model.card, command), stress=stress or [])
    _add_predictions(report, dataset, folder)
    count = min(len(evaluation.predictions), MAX_TRACES)
    traces = evaluation.traces or trace_samples(model, dataset, range(count), progress=progress)
    report.traced = len(traces)
    if traces:
        report.by_steps, report.by_events = curves.accuracy_by_steps(traces), curves.accuracy_by_events(traces)
        if not model.unrolled:
            report.exits = exit_curve(traces, model.voters, model.T)
    reason = unsupported_reason(model.path, model.card) if "graph" in model.card else "is no exported artifact"
    try:
        if reason is None:
            report.activity = measure_activity(model.path, _inputs(dataset, min(count, MAX_WATCHED)))
    except MissingExtra as error:
        reason = str(error)
    if reason is not None:
        report.left_out.append(f"neurons and synaptic operations: {model.path.name} {reason}")
    return report


def _remove_local_paths(evaluation: Evaluation, card: Card, command: str | None) -> tuple[Evaluation, Card, str | None]:
    """Return the evaluation, its artifact's card and the command with the folders of this machine's paths removed."""
    artifact, against = evaluation.artifact.copy(), evaluation.against and evaluation.against.copy()
    for named in (artifact, against):
        if named and "path" in named:
            named["path"] = remove_folders(named["path"])
    provenance = card.get("provenance")
    if isinstance(provenance, dict):
        card = card | {"provenance": {key: remove_folders(str(value)) for key, value in provenance.items()}}
    shown = replace(evaluation, data=remove_folders(evaluation.data), artifact=artifact, against=against)
    return shown, card, None if command is None else remove_folders(command)


def _add_predictions(report: EvaluationReport, dataset: Dataset, folder: Path) -> None:
    """Add the times, worst mistakes, calibration and changed decisions to a report, from all its predictions.

    Each is one pass over the file.
    """
    classes = report.evaluation.classes

    tables = find_observers("predictions")
    if not tables:
        report.left_out.append("mistakes, times and what a score is worth: nothing here writes predictions")
        return
    table, _, times = tables[0].load("FILES")

    def read_all(source: Path = folder) -> Iterator[Prediction]:
        predictions: Iterator[Prediction] = tables[0].load("read_csv")(source / table)[1]
        return predictions

    wrong = (
        prediction
        for prediction in read_all()
        if prediction.truth is not None and prediction.predicted not in (None, prediction.truth)
    )
    worst = heapq.nlargest(MAX_MISTAKES, wrong, key=lambda prediction: (prediction.margin or 0.0, -prediction.sample))
    for prediction in worst:
        x = load_sample(dataset, prediction.sample)[0]
        report.mistakes.append(Mistake(prediction, x.sum(axis=0) if x.ndim == 4 else x))
    report.reliability, report.ece = curves.reliability_bins(read_all())
    report.times = _read_times(folder / times)
    other_folder = folder / "against"
    if report.evaluation.against is not None and (other_folder / table).is_file():
        for a, b in zip(read_all(), read_all(other_folder), strict=True):
            if a.predicted != b.predicted and len(report.changed) < MAX_CHANGED:
                names = [None if i is None else classes[i] for i in (a.truth, a.predicted, b.predicted)]
                row = dict(zip(("truth", "this", "other"), names, strict=True))
                report.changed.append({"sample": a.sample, "path": a.path, **row})


def _read_times(path: Path) -> tuple[list[float], list[int]]:
    """Read timing.csv of an evaluation into a histogram of milliseconds, empty if there is no such file."""
    if not path.is_file():
        return [], []
    latencies = Latencies()
    for row in csv.reader(read_regular(path).decode("ascii", "replace").splitlines()[1:]):
        try:
            latencies.add(float(row[1]))
        except (ValueError, IndexError):  # a sample that could not be read
            continue
    return latencies.histogram(20)


def _inputs(dataset: Dataset, count: int) -> Iterator[np.ndarray]:
    for i in range(count):
        try:
            yield load_sample(dataset, i)[0]
        except PlifError:
            continue  # evaluation has named it


def _bins(edges: list[float], counts: list[int]) -> Iterator[tuple[float, float, int]]:
    return zip(edges, edges[1:], counts, strict=False)


def remove_folders(text: str) -> str:
    """Remove the folders from absolute paths in a text (command, path or data set), so that it can be shared.

    The folders would name the user: "plif info /home/ann/m.onnx" -> "plif info m.onnx", "nmnist:/data/x" ->
    "nmnist:x".
    """
    try:
        words = shlex.split(text)
    except ValueError:  # it is no command
        return " ".join(_FOLDERS.sub(r"\1", word) for word in text.split())
    shown = [_FOLDERS.sub(r"\1", word) for word in words]
    return text if shown == words else shlex.join(shown)
