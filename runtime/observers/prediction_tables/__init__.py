"""Tables of predictions: those of an evaluation in its folder, or a single table.

    predictions.csv
      sample,path,truth,predicted,score_CLASS...,margin,steps,events,error,why,sensor,sensor_from,events_used,
                       events_lost                                                  one line a sample, in order
    predictions.jsonl  the same as one JSON object a line, with `scores` as a list in the order of the classes
    timing.csv         sample,milliseconds

The first two depend on the artifact and the data alone. They are the same bytes for any batch, any number of workers,
and after a run that was killed and resumed. So measured times are in a file of their own.
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
from runtime.core.base.files import atomic_write, check_replaceable, make_folder, open_regular
from runtime.core.base.grammar import parse_size
from runtime.core.base.text import escape_csv_cell
from runtime.core.measure.evaluate.predictions import Prediction, PredictionRow, to_json_row
from runtime.core.stream.decide import NOT_SURE

PREDICTIONS_CSV, PREDICTIONS_JSONL, TIMING_CSV = "predictions.csv", "predictions.jsonl", "timing.csv"
FILES = (PREDICTIONS_CSV, PREDICTIONS_JSONL, TIMING_CSV)
SCORE = "score_"
_NAMES = tuple(PredictionRow.__annotations__)
BEFORE, BEHIND = (
    _NAMES[: _NAMES.index("scores")],
    _NAMES[_NAMES.index("scores") + 1 :],
)  # the columns before and after the scores


def csv_columns(classes: Sequence[str]) -> list[str]:
    """Return the column names of the table predictions.csv for these classes."""
    return [*BEFORE, *(SCORE + escape_csv_cell(name) for name in classes), *BEHIND]


def csv_row(prediction: Prediction, classes: Sequence[str]) -> list[object]:
    """Return a prediction as a row of predictions.csv, whose numbers are read back as the same float64."""
    row = {
        **to_json_row(prediction, classes),
        "sensor": None if prediction.sensor is None else "{}x{}".format(*prediction.sensor),
    }
    before, behind = (
        [escape_csv_cell(v) if isinstance(v := row[name], str) else v for name in part] for part in (BEFORE, BEHIND)
    )
    return [*before, *(prediction.scores or [""] * len(classes)), *behind]


def _write_csv(predictions: Iterable[Prediction], classes: Sequence[str], file: TextIO) -> None:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(csv_columns(classes))
    rows.writerows(csv_row(prediction, classes) for prediction in predictions)


def write_predictions(predictions: Iterable[Prediction], classes: Sequence[str], folder: Path) -> list[Path]:
    """Write the three files of an evaluation's predictions into `folder`, all or none of them, in one pass."""
    paths = [make_folder(folder) / name for name in FILES]
    with atomic_write(*paths) as parts, ExitStack() as stack:
        table, lines, times = (
            stack.enter_context(part.open("w", newline="", encoding="utf-8", errors="backslashreplace"))
            for part in parts
        )
        rows, timing = (csv.writer(file, lineterminator="\n") for file in (table, times))
        rows.writerow(csv_columns(classes))
        timing.writerow(("sample", "milliseconds"))
        for prediction in predictions:
            rows.writerow(csv_row(prediction, classes))
            lines.write(json.dumps(to_json_row(prediction, classes)) + "\n")
            timing.writerow((prediction.sample, prediction.milliseconds))
    return paths


def check_table(path: Path) -> None:
    """Refuse a path for a prediction table that has no suffix .csv or .jsonl, or cannot be written."""
    if path.suffix not in (".csv", ".jsonl"):
        raise PlifError(f"{path}: expected a name that ends in .csv or .jsonl")
    check_replaceable(path)


def write_table(predictions: Iterable[Prediction], classes: Sequence[str], path: Path) -> None:
    """Write predictions as one table, .csv or .jsonl, completely or not at all."""
    check_table(path)
    with atomic_write(path) as (part,), part.open("w", newline="", encoding="utf-8", errors="replace") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(to_json_row(prediction, classes)) + "\n" for prediction in predictions)
        else:
            _write_csv(predictions, classes, file)


def as_csv(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """Return predictions as the text of a CSV table."""
    text = io.StringIO()
    _write_csv(predictions, classes, text)
    return text.getvalue()


def read_csv(path: str | Path) -> tuple[list[str], Iterator[Prediction]]:
    """Read a predictions.csv line by line, and return (classes, predictions).

    Texts are as printed, for a spreadsheet. Raises PlifError with the file and the line if it is something else.
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
            sample, file, truth, predicted, *scores, _, steps, events, error, _, sensor, source, used, lost = row
            if len(scores) != count:
                raise ValueError
            yield Prediction(
                int(sample),
                file,
                index[truth] if truth else None,
                () if error else tuple(map(float, scores)),
                int(steps),
                int(events) if events else None,
                error=error or None,
                why=None if predicted or error else NOT_SURE,
                sensor=parse_size(str(path), sensor) if sensor else None,
                sensor_from=source or None,
                events_used=int(used) if used else None,
                events_lost=int(lost) if lost else None,
            )
        except (ValueError, KeyError):
            raise PlifError(f"{path}, line {number}: is no line of predictions; evaluate again") from None


def _lines(path: Path) -> Iterator[str]:
    with open_regular(path, "predictions of plif eval --out") as file:
        for line in file:
            yield line.decode("utf-8", "replace")
