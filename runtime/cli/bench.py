"""`plif bench`: how fast artifacts are, side by side; or how many live streams a Triton server holds.

In Python: runtime.measure.bench.artifacts.bench and runtime.measure.bench.served.served.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.base.errors import PlifError
from runtime.base.progress import Progress
from runtime.base.text import say
from runtime.cli.output import Json, Threads, show

if TYPE_CHECKING:
    from runtime.measure.bench.artifacts import Measurement
    from runtime.measure.bench.served import Served


def bench(
    artifacts: Annotated[list[Path], typer.Argument(help="Artifacts in the step form, or a model.pt beside them.")],
    engine: Annotated[list[str] | None, typer.Option(help="An engine; may be given several times.")] = None,
    data: Annotated[
        str | None, typer.Option(help="NAME:DIR: also accuracy, changed decisions and synaptic operations.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of --data: train or test.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Of --data: only the first so many samples.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for bench.md, bench.csv and bench.json.")] = None,
    streams: Annotated[int, typer.Option(min=1, help="Rows of the batch; of --triton, the most to try.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="For each artifact and engine.")] = 5.0,
    triton: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="How many live streams (at most --streams) does this server hold?"),
    ] = None,
    p99: Annotated[str, typer.Option(help="Of --triton: the latency that 99 of 100 frames keep.")] = "20ms",
    every: Annotated[
        str | None, typer.Option(help="Of --triton: between two frames of a stream; the framing's if not given.")
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Latency, throughput and size side by side in one run, with rates, proof and accuracy beside them."""
    if triton is not None:
        if len(artifacts) > 1 or engine or data or out or threads:
            raise PlifError("--triton: takes one model_triton folder, with --streams, --p99, --every and --seconds")
        return _served(artifacts[0], triton, streams, p99, every, seconds, as_json)
    from runtime.measure.bench.artifacts import bench as run
    from runtime.measure.bench.table import add_data, write_table
    from runtime.measure.evaluate.samples import SplitOf

    engines = engine or ["auto"]
    with Progress("measuring") as progress:
        rows = run(
            artifacts,
            engines=engines,
            streams=streams,
            seconds=seconds,
            threads=threads,
            progress=progress.update,
            check=None if data is None else SplitOf(data, split).open,
        )
    for row in rows:
        if row.engine_reason:
            say(f"plif: {row.artifact}: engine {row.engine}: {row.engine_reason}", err=True)
    if data is not None:
        paths = [path for path in artifacts for _ in engines]
        with Progress("evaluating") as progress:
            add_data(rows, paths, data, split=split, limit=limit, progress=progress.update)
    written = write_table(rows, out) if out else []
    lines = [f"wrote {path}" for path in written]
    show([row.to_dict() for row in rows], lambda _: [*_bench_lines(rows), *lines], as_json)


def _served(
    repository: Path, server: str, streams: int, p99: str, every: str | None, seconds: float, as_json: bool
) -> None:
    from runtime.events.framing import parse_time_us
    from runtime.measure.bench.served import served

    bar_us = parse_time_us("--p99", "the bar", p99)
    every_us = None if every is None else parse_time_us("--every", "the time between two frames", every)
    with Progress("loading") as progress:
        found = served(
            repository,
            server,
            streams=streams,
            bar_us=bar_us,
            every_us=every_us,
            seconds=seconds,
            progress=progress.update,
        )
    show(found.to_dict(), lambda _: _served_lines(found), as_json)


def _served_lines(found: Served) -> Iterator[str]:
    yield f"{'streams':>7}  {'frames':>7}  {'p50 ms':>8}  {'p99 ms':>8}  {'client ms':>9}  held"
    for load in found.loads:
        times = [format(ms, ".3f") if ms is not None else "-" for ms in (load.p50_ms, load.p99_ms, load.late_p99_ms)]
        line = f"{load.streams:7}  {load.frames:7}  {times[0]:>8}  {times[1]:>8}  {times[2]:>9}  "
        yield line + ("yes" if load.held else f"no{': ' + load.problem if load.problem else ''}")
    yield (
        f"{found.server} holds {found.streams} of {found.most} streams of {found.model}: a frame every "
        f"{found.every_ms:g} ms each, 99 of 100 answered within {found.bar_p99_ms:g} ms"
    )


def _bench_lines(rows: list[Measurement]) -> Iterator[str]:
    """A table: one line for each artifact and engine, under a line of headings."""
    from runtime.measure.bench.table import table

    names, lines = table(rows)
    widths = [max(len(line[i]) for line in (names, *lines)) for i in range(len(names))]
    for line in (names, *lines):
        texts = [
            text.ljust(width) if i < 3 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(texts).rstrip()
