"""Predictions as tables: those of an evaluation, in its folder, and one table of them.

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
from pathlib import Path
from typing import TextIO

from runtime.core.base.errors import PlifError
from runtime.core.base.files import check_replaceable, make_folder, open_regular, whole_or_nothing
from runtime.core.base.grammar import parse_size
from runtime.core.base.text import cell
from runtime.core.measure.evaluate.predictions import Prediction, PredictionRow, json_row
from runtime.core.stream.decide import NOT_SURE

PREDICTIONS_CSV, PREDICTIONS_JSONL, TIMING_CSV = "predictions.csv", "predictions.jsonl", "timing.csv"
FILES = (PREDICTIONS_CSV, PREDICTIONS_JSONL, TIMING_CSV)
SCORE = "score_"
_NAMES = tuple(PredictionRow.__annotations__)
BEFORE, BEHIND = _NAMES[: _NAMES.index("scores")], _NAMES[_NAMES.index("scores") + 1 :]  # of the scores: columns


def columns(classes: Sequence[str]) -> list[str]:
    """The first line of predictions.csv."""
    return [*BEFORE, *(SCORE + cell(name) for name in classes), *BEHIND]


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


def as_csv(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
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
