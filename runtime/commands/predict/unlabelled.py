"""What a network says about recordings whose classes nobody knows: files and folders in, labels out."""

from __future__ import annotations

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
from runtime.core.events.framing import framing_of
from runtime.core.measure.evaluate.loop import Loop, Progress
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.metrics import artifact_identity
from runtime.core.measure.results import Predicted
from runtime.core.observers import hearing


@dataclass(frozen=True)
class Recordings:
    """Files of recordings, whose classes nobody knows, as a worker opens them. sensor, csv, up: as in ViewOptions."""

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
        request = DatasetSpec(f"{len(self.paths)} recordings", "", "test", model.input_shape, framing)
        found = FileEventSet(request, model.classes, [(i, UNKNOWN, path) for i, path in enumerate(self.paths)])
        found.sensor, found.sensor_from, found.csv, found.up = self.sensor, "asked", self.csv, self.up
        found.trained = tuple(model.card["sensor"]) if "sensor" in model.card else None
        return found


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
    tables = hearing("predictions")
    for part in tables if out is not None else ():
        part.load("check_table")(out)
    if out is not None and not tables:
        raise PlifError(f"--out {out}: nothing writes a table here; leave it out, and take --json")
    samples = Recordings(tuple(find_recordings(places)), how.sensor, how.csv, how.up)
    dataset = samples.open(model)
    keep, kept = kept_in(out), list[Prediction]()
    loop = Loop(
        *(model, samples, dataset, len(dataset), how),
        keep=keep,
        keeper="TABLE",
        min_margin=how.min_margin,
        progress=progress,
    )

    def consume(predictions: Iterator[Prediction]) -> None:
        for part in tables if out is not None else ():
            part.load("write_table")(predictions, model.classes, out)
        kept.extend(predictions)

    loop.run(consume)
    if keep is not None:
        shutil.rmtree(keep, ignore_errors=True)
    census = loop.census
    census.remark("plif predict", "say it: --sensor WxH", how.sensor)
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
        artifact=artifact_identity(model.path, model.card),
        out=None if out is None else str(out),
        predictions=kept,
        first_unreadable=next((each["error"] for each in census.unreadable["first"]), None),
        unanswered=census.unanswered,
        lost=census.lost,
        fit=census.fit.to_dict() if census.fit is not None else {},
    )


def kept_in(out: Path | None) -> Path | None:
    """Where what is done may be kept until the table `out` is written: beside it."""
    return None if out is None else out.with_name(f"{out.name}.shards")
