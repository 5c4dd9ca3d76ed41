"""The report of an evaluation: what report.html, its CSV files and the model card are made of.

Everything about all samples comes from the predictions that evaluation wrote. Curves need every step and statistics every
neuron, so they are of the first MOST_TRACED and MOST_WATCHED samples of the set, and say so: a set of a million recordings costs
no more than one of a thousand. What cannot be measured on an artifact is left out, and the reason is in `left_out`.
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
from runtime.core.measure.evaluate.batches import MOST_TRACED
from runtime.core.measure.evaluate.evaluation import Evaluation
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.evaluate.samples import SplitOf, read
from runtime.core.model.card import Card
from runtime.core.observers import hearing
from runtime.observers.evaluation_report import curves
from runtime.observers.evaluation_report.activity import Activity, measure_activity, why_not
from runtime.observers.evaluation_report.curves import Row, exit_curve
from runtime.observers.evaluation_report.trace import trace

_FOLDERS = re.compile(r"(^|[:=,])~?(/[^:=,?]*)?/(?=[^/:=,?])")  # of an absolute path within a word of a command

MOST_WATCHED = 100  # samples in which every neuron is watched
MOST_MISTAKES = 12
MOST_CHANGED = 40  # decisions that differ from --against, on the page


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: the prediction, and its input float32 [C, H, W], the sum of its frames."""

    prediction: Prediction
    picture: np.ndarray


@dataclass
class EvaluationReport:
    """All that the page shows; what is None or empty has no section. It is for others, so paths are without folders.

    result      the evaluation;  card: of the artifact
    traced      samples of the curves by_steps, by_events and exits
    reliability, ece   what a score is worth;  times: (edges in ms, samples between them)
    changed     decisions that differ from the other artifact: rows of sample, path, truth, this, other
    stress      rows of runtime.observers.robustness.stress
    left_out    what was not measured, and why
    """

    result: Evaluation
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
    def figures(self) -> dict[str, list[Row]]:
        """{name: rows} of each CSV file."""
        found = {
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
            found["layers"] = [{k: v for k, v in row.items() if k != "channels"} for row in layers]
            found["channels"] = [
                {"layer": layer.layer, "channel": i, "rate": rate}
                for layer in self.activity.layers
                for i, rate in enumerate(layer.channels)
            ]
            found["synaptic-operations"] = [asdict(ops) for ops in self.activity.operations]
        return {name: rows for name, rows in found.items() if rows}


def make_report(
    model: Model,
    result: Evaluation,
    folder: Path,
    *,
    command: str | None = None,
    stress: list[Row] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """The report of an evaluation whose predictions lie in `folder`."""
    dataset = SplitOf(result.data, result.split).open(model)
    report = EvaluationReport(*_for_others(result, model.card, command), stress=stress or [])
    _add_predictions(report, dataset, folder)
    count = min(len(result.predictions), MOST_TRACED)
    traces = result.traces or trace(model, dataset, range(count), progress=progress)
    report.traced = len(traces)
    if traces:
        report.by_steps, report.by_events = curves.by_steps(traces), curves.by_events(traces)
        if not model.unrolled:
            report.exits = exit_curve(traces, model.voters, model.T)
    reason = why_not(model.path, model.card) if "graph" in model.card else "is no exported artifact"
    try:
        if reason is None:
            report.activity = measure_activity(model.path, _inputs(dataset, min(count, MOST_WATCHED)))
    except MissingExtra as error:
        reason = str(error)
    if reason is not None:
        report.left_out.append(f"neurons and synaptic operations: {model.path.name} {reason}")
    return report


def _for_others(result: Evaluation, card: Card, command: str | None) -> tuple[Evaluation, Card, str | None]:
    """The same without the folders of this machine."""
    artifact, against = result.artifact.copy(), result.against and result.against.copy()
    for named in (artifact, against):
        if named and "path" in named:
            named["path"] = without_folders(named["path"])
    provenance = card.get("provenance")
    if isinstance(provenance, dict):
        card = card | {"provenance": {key: without_folders(str(value)) for key, value in provenance.items()}}
    shown = replace(result, data=without_folders(result.data), artifact=artifact, against=against)
    return shown, card, None if command is None else without_folders(command)


def _add_predictions(report: EvaluationReport, dataset: Dataset, folder: Path) -> None:
    """What all predictions say, in one pass over the file for each: times, the worst mistakes, calibration, changes."""
    classes = report.result.classes

    tables = hearing("predictions")
    if not tables:
        report.left_out.append("mistakes, times and what a score is worth: nothing here writes predictions")
        return
    table, _, times = tables[0].load("FILES")

    def read_all(where: Path = folder) -> Iterator[Prediction]:
        predictions: Iterator[Prediction] = tables[0].load("read_csv")(where / table)[1]
        return predictions

    wrong = (one for one in read_all() if one.truth is not None and one.predicted not in (None, one.truth))
    worst = heapq.nlargest(MOST_MISTAKES, wrong, key=lambda one: (one.margin or 0.0, -one.sample))
    for one in worst:
        x = read(dataset, one.sample)[0]
        report.mistakes.append(Mistake(one, x.sum(axis=0) if x.ndim == 4 else x))
    report.reliability, report.ece = curves.reliability(read_all())
    report.times = _times(folder / times)
    other = folder / "against"
    if report.result.against is not None and (other / table).is_file():
        for a, b in zip(read_all(), read_all(other), strict=True):
            if a.predicted != b.predicted and len(report.changed) < MOST_CHANGED:
                names = [None if i is None else classes[i] for i in (a.truth, a.predicted, b.predicted)]
                row = dict(zip(("truth", "this", "other"), names, strict=True))
                report.changed.append({"sample": a.sample, "path": a.path, **row})


def _times(path: Path) -> tuple[list[float], list[int]]:
    """A histogram of the milliseconds in timing.csv; empty where there is none."""
    if not path.is_file():
        return [], []
    found = Latencies()
    for row in csv.reader(read_regular(path).decode("ascii", "replace").splitlines()[1:]):
        try:
            found.add(float(row[1]))
        except (ValueError, IndexError):  # a sample that could not be read
            continue
    return found.histogram(20)


def _inputs(dataset: Dataset, count: int) -> Iterator[np.ndarray]:
    for i in range(count):
        try:
            yield read(dataset, i)[0]
        except PlifError:
            continue  # evaluation has named it


def _bins(edges: list[float], counts: list[int]) -> Iterator[tuple[float, float, int]]:
    return zip(edges, edges[1:], counts, strict=False)


def without_folders(text: str) -> str:
    """A command, path or data set as it may be shown to others: absolute paths lose the folders of this machine, which name its
    user, too: "plif info /home/ann/m.onnx" -> "plif info m.onnx", "nmnist:/data/x" -> "nmnist:x"."""
    try:
        words = shlex.split(text)
    except ValueError:  # it is no command
        return " ".join(_FOLDERS.sub(r"\1", word) for word in text.split())
    shown = [_FOLDERS.sub(r"\1", word) for word in words]
    return text if shown == words else shlex.join(shown)
