"""What a network says about recordings whose classes nobody knows: files and folders in, labels out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.api import Model
from runtime.base.errors import PlifError
from runtime.base.options import with_fields
from runtime.commands.predict.options import PredictOptions
from runtime.data import Dataset
from runtime.data.recordings import Unlabelled, find_recordings
from runtime.engines.model import OpenModel
from runtime.events.fit import likeness
from runtime.events.framing import framing_of
from runtime.measure.evaluate.census import Census
from runtime.measure.evaluate.evaluation import scratch
from runtime.measure.evaluate.predictions import Prediction, check_table, write_table
from runtime.measure.evaluate.run import Progress, run, show_notes
from runtime.measure.evaluate.shards import FOLDER, Statistics, read_plan
from runtime.measure.metrics import artifact_identity
from runtime.measure.results import Predicted


@dataclass(frozen=True)
class Recordings:
    """Files of recordings, as a worker opens them."""

    paths: tuple[str, ...]
    sensor: tuple[int, int] | None = None
    csv: str | None = None
    up: str | None = None
    place: str = ""

    def __str__(self) -> str:
        size = None if self.sensor is None else "{}x{}".format(*self.sensor)
        given = [
            f", {option} {said}"
            for option, said in (("--sensor", size), ("--csv", self.csv), ("--up", self.up))
            if said
        ]
        return "".join([f"{len(self.paths)} recordings", *given])

    def open(self, model: OpenModel) -> Dataset:
        """The recordings as frames. Raises PlifError for a model that takes still images."""
        framing = framing_of(model.card)
        if model.static or framing is None:
            raise PlifError(f"{model.path}: takes still images; plif predict reads recordings of events")
        trained = tuple(model.card["sensor"]) if "sensor" in model.card else None
        shape, classes = model.input_shape, model.classes
        return Unlabelled(self.paths, framing, shape, classes, self.sensor, self.csv, trained, self.up)


@with_fields(PredictOptions)
def predict(
    model: Model, places: Sequence[str | Path], *, progress: Progress | None = None, **options: Any
) -> Predicted:
    """Predictions for recordings, in files and in folders.

    options   out=, sensor=, min_margin=, ...: the fields of PredictOptions (options.py). The table `out` is
              written whole or not at all
    progress  hears (done, of, a note) after every batch

    Raises PlifError where there is nothing to read, and where nothing can be read. A recording that cannot be read has a row
    that says why.
    """
    how = PredictOptions(**options)
    out = how.out
    if out is not None:
        check_table(out)
    elif how.resume:
        raise PlifError("--resume goes on with what --out TABLE has begun; name that table")
    samples = Recordings(tuple(find_recordings(places)), how.sensor, how.csv, how.up)
    dataset = samples.open(model)
    elsewhere = how.hear("workers", out)
    began = time.perf_counter()
    kept = "nothing is kept; --out TABLE would keep it" if out is None else "what is done is kept: go on with --resume"
    with _work_folder(out) as folder:
        shards, tally = run(
            model,
            samples,
            dataset,
            len(dataset),
            folder,
            how,
            kept,
            min_margin=how.min_margin,
            progress=progress,
            elsewhere=elsewhere,
        )
        result = Predicted(
            recordings=len(dataset),
            unreadable=0,
            answers=dict.fromkeys(model.classes, 0),
            classes=model.classes,
            engine=model.engine.name,
            batch=shards.plan.batch,
            workers=tally.workers,
            seconds=round(time.perf_counter() - began, 3),
            throughput_per_s=round(len(dataset) / (time.perf_counter() - began), 3),
            artifact=artifact_identity(model.path, model.card),
            out=None if out is None else str(out),
        )
        statistics, census = Statistics(), Census(likeness(model.card), lost=result.lost)
        found = _counted(census.watch(shards.predictions(statistics)), result)
        if out is None:
            result.predictions = list(found)
        else:
            write_table(found, model.classes, out)
    result.unreadable, result.unanswered = census.unreadable["samples"], census.unanswered
    show_notes(statistics)
    census.remark("plif predict", "say it: --sensor WxH", how.sensor)
    result.fit = census.fit.to_dict() if census.fit is not None else {}
    return result


@contextmanager
def _work_folder(out: str | Path | None) -> Iterator[Path]:
    """Where the shards lie until the table is written; a run that is killed leaves them beside it."""
    if out is None:
        with scratch() as folder:
            yield folder / FOLDER
        return
    folder = _beside(out)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _beside(out: str | Path) -> Path:
    return Path(out).with_name(f"{Path(out).name}.{FOLDER}")


def begun_engine(out: str | Path | None) -> str | None:
    """The engine with which the table `out` was begun, to go on with; None where it was not."""
    plan = None if out is None else read_plan(_beside(out))
    return None if plan is None else plan.engine


def _counted(predictions: Iterator[Prediction], result: Predicted) -> Iterator[Prediction]:
    for one in predictions:
        result.first_unreadable = result.first_unreadable or one.error
        if one.predicted is not None:
            result.answers[result.classes[one.predicted]] += 1
        yield one
