"""`plif predict`: labels for recordings without labels. In Python: runtime.measure.predict.predict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.base.progress import Progress
from runtime.base.text import cell
from runtime.cli.output import (
    Cluster,
    Device,
    EngineName,
    Json,
    Sha256,
    Threads,
    Workers,
    raise_problems,
    say_engine,
    say_unnamed,
    show,
)
from runtime.cli.stream import parse_sensor
from runtime.stream.options import help_of

if TYPE_CHECKING:
    from runtime.measure.predict import Predicted


def predict(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact, or a model.pt (runs in PyTorch).")],
    recordings: Annotated[list[Path], typer.Argument(help="Recordings, and folders of recordings.")],
    out: Annotated[
        Path | None, typer.Option(help="A table to write, .csv or .jsonl; on stdout when not given.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Recordings in one batch; measured when not given.")] = None,
    workers: Workers = None,
    cluster: Cluster = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what --out TABLE has begun.")] = False,
    sensor: Annotated[str | None, typer.Option(help=help_of("sensor"))] = None,
    csv: Annotated[str | None, typer.Option(help=help_of("csv"))] = None,
    min_margin: Annotated[
        float,
        typer.Option(help="No label where it leads the second by less than this share (0..1) of all possible votes."),
    ] = 0.0,
    engine: EngineName = "auto",
    device: Device = None,
    sha256: Sha256 = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Labels for recordings without labels."""
    from runtime.api import load
    from runtime.measure.evaluate.census import problems
    from runtime.measure.predict import begun_engine
    from runtime.measure.predict import predict as run

    if engine == "auto" and resume:
        engine = begun_engine(out) or engine
    model = load(artifact, engine, threads=threads, device=device, sha256=sha256)
    say_unnamed(model.card)
    with Progress("predicting") as progress:
        result = run(
            model,
            recordings,
            out=out,
            sensor=parse_sensor(sensor),
            csv=csv,
            min_margin=min_margin,
            batch=batch,
            workers=workers,
            cluster=cluster,
            resume=resume,
            progress=progress.update,
        )
    say_engine(model)
    show(result.to_dict(), lambda _: _lines(result), as_json)
    raise_problems(problems(result.recordings, result.unreadable, result.first_unreadable, result.lost))


def _lines(result: Predicted) -> Iterator[str]:
    from runtime.measure.evaluate.predictions import csv_text
    from runtime.stream.decide import NOT_SURE

    if result.out is None:
        yield from csv_text(result.predictions, result.classes).splitlines()
        return
    counts = {**{cell(name): n for name, n in result.answers.items()}, NOT_SURE: result.unanswered}
    answers = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
    yield f"{result.recordings - result.unreadable} of {result.recordings} recordings: {answers}"
    yield (
        f"engine {result.engine}, batch {result.batch}, {result.workers} worker{'s' * (result.workers > 1)}: "
        f"{result.throughput_per_s:g} recordings/s"
    )
    yield f"wrote {result.out}"
