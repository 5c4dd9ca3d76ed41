"""Prediction of labels for recordings without labels: files and folders in, labels out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.commands.predict.options import PredictOptions
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.base.options import with_fields
from runtime.core.data import Dataset
from runtime.core.data.dataset import UNKNOWN, DatasetSpec, FileEventSet
from runtime.core.data.recordings import find_recordings
from runtime.core.engines.model import OpenModel
from runtime.core.events.framing import resolve_framing
from runtime.core.measure.evaluate.loop import EvaluationLoop, Progress
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.metrics import identify_artifact
from runtime.core.measure.results import Predicted
from runtime.core.observers import find_observers


@dataclass(frozen=True)
class UnlabelledRecordings:
    """The paths of unlabelled recordings, and how to read them; worker processes open them with `open`.

    sensor, csv and up are those of ViewOptions.
    """

    paths: tuple[str, ...]
    sensor: tuple[int, int] | None = None
    csv: str | None = None
    up: str | None = None
    place: str = ""

    def __str__(self) -> str:
        size = None if self.sensor is None else "{}x{}".format(*self.sensor)
        options = [
            f", {flag} {value}" for flag, value in (("--sensor", size), ("--csv", self.csv), ("--up", self.up)) if value
        ]
        return "".join([f"{len(self.paths)} recordings", *options])

    def open(self, model: OpenModel) -> Dataset:
        """Open the unlabelled recordings as a data set of frames for a model.

        Raises PlifError for a model that takes still images.
        """
        framing = resolve_framing(model.card)
        if model.static or framing is None:
            raise PlifError(f"{model.path}: takes still images; plif predict reads recordings of events")
        request = DatasetSpec(f"{len(self.paths)} recordings", "", "test", model.input_shape, framing)
        dataset = FileEventSet(request, model.classes, [(i, UNKNOWN, path) for i, path in enumerate(self.paths)])
        dataset.sensor, dataset.sensor_from, dataset.csv, dataset.up = self.sensor, "asked", self.csv, self.up
        dataset.trained = tuple(model.card["sensor"]) if "sensor" in model.card else None
        return dataset


@with_fields(PredictOptions)
def predict(
    model: Model, places: Sequence[str | Path], *, progress: Progress | None = None, **options: Any
) -> Predicted:
    """Predict the labels of recordings of events, given as files and folders.

    options   out=, sensor=, min_margin=, ...: the fields of PredictOptions (options.py). The table `out` is
              written completely or not at all
    progress  is called with (samples done, samples in all, note) after every batch

    Raises PlifError if there is no recording, and if none can be read. A recording that cannot be read has a row with
    the reason.
    """
    settings = PredictOptions(**options)
    out = settings.out
    tables = find_observers("predictions")
    for part in tables if out is not None else ():
        part.load("check_table")(out)
    if out is not None and not tables:
        raise PlifError(f"--out {out}: nothing writes a table here; leave it out, and take --json")
    samples = UnlabelledRecordings(find_unlabelled(places, out), settings.sensor, settings.csv, settings.up)
    dataset = samples.open(model)
    shards, collected = shards_folder(out), list[Prediction]()
    loop = EvaluationLoop(
        *(model, samples, dataset, len(dataset), settings),
        keep=shards,
        keeper="TABLE",
        min_margin=settings.min_margin,
        progress=progress,
    )

    def consume(predictions: Iterator[Prediction]) -> None:
        for part in tables if out is not None else ():
            part.load("write_table")(predictions, model.classes, out)
        collected.extend(predictions)

    loop.run(consume)
    if shards is not None:
        shutil.rmtree(shards, ignore_errors=True)
    census = loop.census
    census.warn_about_sensors("plif predict", "say it: --sensor WxH", settings.sensor)
    return Predicted(
        recordings=len(dataset),
        unreadable=census.unreadable["samples"],
        answers={name: census.predictions.count(i) for i, name in enumerate(model.classes)},
        classes=model.classes,
        engine=model.engine.name,
        batch=loop.batch,
        workers=loop.workers,
        seconds=round(loop.seconds, 3),
        throughput_per_s=loop.throughput_per_s,
        artifact=identify_artifact(model.path, model.card),
        out=None if out is None else str(out),
        predictions=collected,
        first_unreadable=next((entry["error"] for entry in census.unreadable["first"]), None),
        unanswered=census.unanswered,
        lost=census.lost,
        fit=census.fit.to_dict() if census.fit is not None else {},
    )


def find_unlabelled(places: Sequence[str | Path], out: Path | None) -> tuple[str, ...]:
    """List the recordings among files and folders, without the table `out` and the shards of a killed run.

    These may lie in the folder of the recordings. Raises PlifError if there is no recording.
    """
    shards = shards_folder(out)
    if out is None or shards is None:
        return tuple(find_recordings(places))
    own = {os.path.realpath(out), os.path.realpath(shards)}

    def is_own(path: str) -> bool:
        return os.path.basename(path) in (out.name, shards.name) and os.path.realpath(path) in own

    others = [place for place in places if not is_own(str(place))]
    paths = tuple(path for path in find_recordings(others) if not (is_own(path) or is_own(os.path.dirname(path))))
    if not paths:
        raise PlifError(f"{out}: no recordings besides this table; name a recording, or a folder of recordings")
    return paths


def shards_folder(out: Path | None) -> Path | None:
    """Return the folder, next to the table `out`, that keeps finished predictions until the table is written."""
    return None if out is None else out.with_name(f"{out.name}.shards")
