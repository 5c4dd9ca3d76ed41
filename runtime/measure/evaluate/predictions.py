"""What a network said about each sample, and the files that hold it.

    predictions.csv    sample,path,truth,predicted,score_CLASS...,margin,steps,events,error,why,sensor,sensor_from,events_used,
                       events_lost                                                  one line a sample, in order
    predictions.jsonl  the same as one JSON object a line, with `scores` as a list in the order of the classes
    timing.csv         sample,milliseconds

The first two depend on the artifact and the data alone: they are the same bytes for any batch, any number of workers, and
after a run that was killed and resumed. What a clock said is therefore in a file of its own.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypedDict

import numpy as np

from runtime.base.errors import PlifError
from runtime.base.files import check_replaceable, make_folder, open_regular, whole_or_nothing
from runtime.base.grammar import parse_size
from runtime.base.text import cell
from runtime.events.fit import Fate
from runtime.native.rules import answers_of
from runtime.stream.decide import NOT_SURE

PREDICTIONS_CSV, PREDICTIONS_JSONL, TIMING_CSV = "predictions.csv", "predictions.jsonl", "timing.csv"
FILES = (PREDICTIONS_CSV, PREDICTIONS_JSONL, TIMING_CSV)
SCORE = "score_"
NONE = -1  # the answer as a number, where there is none
MUCH = 0.01  # a recording that lost a larger share of its events is no longer what the camera saw


class PredictionRow(TypedDict):
    """A sample in a file of predictions, as Prediction says it, with the names of its classes.

    scores  in the order of the classes;  margin: how far the highest is above the second
    why     why it has no label, or how many of its events were lost
    """

    sample: int
    path: str
    truth: str | None
    predicted: str | None
    scores: list[float]
    margin: float | None
    steps: int
    events: int | None
    error: str | None
    why: str | None
    sensor: tuple[int, int] | None
    sensor_from: str | None
    events_used: int | None
    events_lost: int | None


_NAMES = tuple(PredictionRow.__annotations__)
BEFORE, BEHIND = _NAMES[: _NAMES.index("scores")], _NAMES[_NAMES.index("scores") + 1 :]  # of the scores: columns


@dataclass(frozen=True)
class Prediction:
    """One sample: what it is, and what the network said.

    sample        its number in the split, from 0
    path          where it is
    truth         its class, an index into the classes; None where nobody knows
    scores        of every class: spikes that voted for it, as a share (0..1) of all possible ones, voters x steps. Of a network
                  that does not vote: the mean output. Empty where the sample could not be read
    steps         time-steps that it took
    milliseconds  of the engine: the calls of its batch, divided by the rows in it
    error         why it could not be read; None where it could
    why           why it has no label although it could be read
    events, events_used, events_lost, sensor, sensor_from, frames, polarity, duration_us, events_not_shown   as in Fate
                  (runtime/events/fit.py): None for still images
    """

    sample: int
    path: str
    truth: int | None
    scores: tuple[float, ...] = ()
    steps: int = 0
    events: int | None = None
    milliseconds: float | None = None
    error: str | None = None
    why: str | None = None
    sensor: tuple[int, int] | None = None
    sensor_from: str | None = None
    events_used: int | None = None
    events_lost: int | None = None
    frames: int | None = None
    polarity: float | None = None
    duration_us: int | None = None
    events_not_shown: int | None = None

    @property
    def predicted(self) -> int | None:
        """The class with the highest score, the lowest among equals; None where there is a `why` not, or no score but 0."""
        found = int(answers_of(np.array(self.scores))) if self.scores and self.why is None else -1
        return None if found < 0 else found

    @property
    def fate(self) -> Fate | None:
        """Of its events; None where they are not known."""
        if self.events is None or self.sensor is None:
            return None
        lost, said = self.events_lost or 0, str(self.sensor_from)
        where = (self.events, self.events_used or 0, lost, self.sensor, said)
        return Fate(*where, self.frames or 0, self.polarity, self.duration_us or 0, self.events_not_shown or 0)

    @property
    def lost_much(self) -> bool:
        """Whether it lost more than one event in a hundred."""
        return bool(self.events_lost and self.events and self.events_lost > MUCH * self.events)

    @property
    def remark(self) -> str | None:
        """What a table says of it under `why`."""
        lost = f"{self.events_lost} of {self.events} events were lost" if self.lost_much else None
        return "; ".join(filter(None, (self.why, lost))) or None

    @property
    def margin(self) -> float | None:
        """How far the highest score is above the second."""
        if len(self.scores) < 2:
            return None
        second, first = sorted(self.scores)[-2:]
        return first - second


def columns(classes: Sequence[str]) -> list[str]:
    """The first line of predictions.csv."""
    return [*BEFORE, *(SCORE + cell(name) for name in classes), *BEHIND]


def json_row(one: Prediction, classes: Sequence[str]) -> PredictionRow:
    """A line of predictions.jsonl, with the texts as they are."""
    truth, predicted = (None if i is None else classes[i] for i in (one.truth, one.predicted))
    return {
        "sample": one.sample,
        "path": one.path,
        "truth": truth,
        "predicted": predicted,
        "scores": list(one.scores),
        "margin": one.margin,
        "steps": one.steps,
        "events": one.events,
        "error": one.error,
        "why": one.remark,
        "sensor": one.sensor,
        "sensor_from": one.sensor_from,
        "events_used": one.events_used,
        "events_lost": one.events_lost,
    }


def csv_row(one: Prediction, classes: Sequence[str]) -> list[object]:
    """A line of predictions.csv. Numbers are written so that reading them gives the same float64."""
    row = {**json_row(one, classes), "sensor": None if one.sensor is None else "{}x{}".format(*one.sensor)}
    before, behind = ([cell(v) if isinstance(v := row[name], str) else v for name in part] for part in (BEFORE, BEHIND))
    return [*before, *(one.scores or [""] * len(classes)), *behind]


def _write_csv(predictions: Iterable[Prediction], classes: Sequence[str], file: TextIO) -> None:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(columns(classes))
    rows.writerows(csv_row(one, classes) for one in predictions)


def write_predictions(predictions: Iterable[Prediction], classes: Sequence[str], folder: Path) -> list[Path]:
    """Writes the three files into `folder`, all or none of them, in one pass over any number of predictions."""
    paths = [make_folder(folder) / name for name in FILES]
    with whole_or_nothing(*paths) as parts, ExitStack() as stack:
        table, lines, times = (
            stack.enter_context(part.open("w", newline="", encoding="utf-8", errors="backslashreplace"))
            for part in parts
        )
        rows, timing = (csv.writer(file, lineterminator="\n") for file in (table, times))
        rows.writerow(columns(classes))
        timing.writerow(("sample", "milliseconds"))
        for one in predictions:
            rows.writerow(csv_row(one, classes))
            lines.write(json.dumps(json_row(one, classes)) + "\n")
            timing.writerow((one.sample, one.milliseconds))
    return paths


def check_table(path: Path) -> None:
    """Refuses a name for a table that does not say what it shall be, and a place where no file can be."""
    if path.suffix not in (".csv", ".jsonl"):
        raise PlifError(f"{path}: expected a name that ends in .csv or .jsonl")
    check_replaceable(path)


def write_table(predictions: Iterable[Prediction], classes: Sequence[str], path: Path) -> None:
    """One table, .csv or .jsonl, whole or not at all."""
    check_table(path)
    with whole_or_nothing(path) as (part,), part.open("w", newline="", encoding="utf-8", errors="replace") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(json_row(one, classes)) + "\n" for one in predictions)
        else:
            _write_csv(predictions, classes, file)


def csv_text(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """A table as text, for the standard output."""
    text = io.StringIO()
    _write_csv(predictions, classes, text)
    return text.getvalue()


def read_csv(path: str | Path) -> tuple[list[str], Iterator[Prediction]]:
    """(classes, predictions) of a predictions.csv, read line by line. Texts are as they were printed, for a spreadsheet.

    Raises PlifError with the file and the line where it is something else.
    """
    path = Path(path)
    lines = _lines(path)
    head = next(csv.reader([next(lines, "")]), [])
    names = head[len(BEFORE) : -len(BEHIND)]
    if head != [*BEFORE, *names, *BEHIND] or not names or not all(name.startswith(SCORE) for name in names):
        raise PlifError(f"{path}: its first line is not that of predictions; expected {','.join(BEFORE)},{SCORE}...")
    classes = [name.removeprefix(SCORE) for name in names]
    index = {name: i for i, name in reversed(list(enumerate(classes)))}
    return classes, _read_rows(path, lines, index, len(classes))


def _read_rows(path: Path, lines: Iterator[str], index: dict[str, int], count: int) -> Iterator[Prediction]:
    for number, row in enumerate(csv.reader(lines), 2):
        try:
            sample, where, truth, predicted, *scores, _, steps, events, error, _, sensor, said, used, lost = row
            if len(scores) != count:
                raise ValueError
            yield Prediction(
                int(sample),
                where,
                index[truth] if truth else None,
                () if error else tuple(map(float, scores)),
                int(steps),
                int(events) if events else None,
                error=error or None,
                why=None if predicted or error else NOT_SURE,
                sensor=parse_size(str(path), sensor) if sensor else None,
                sensor_from=said or None,
                events_used=int(used) if used else None,
                events_lost=int(lost) if lost else None,
            )
        except (ValueError, KeyError):
            raise PlifError(f"{path}, line {number}: is no line of predictions; evaluate again") from None


def _lines(path: Path) -> Iterator[str]:
    with open_regular(path, "predictions of plif eval --out") as file:
        for line in file:
            yield line.decode("utf-8", "replace")
